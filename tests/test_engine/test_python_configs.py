"""Configs that name classes, and swap configs in the hosts' own tools (issue 24)."""

import inspect
import re
import runpy
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, RUNNERS, DefaultScope

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.engine.config import open_config
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import name_types, type_name
from tests.helpers.swap_configs import swap_config

#: Modules of the classes that the config below names.
IMPORTS = """
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from mmengine.dataset import DefaultSampler, default_collate
from mmpretrain.datasets import CustomDataset, LoadImageFromFile, PackInputs, RandomFlip
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier, VisionTransformer, VisionTransformerClsHead
from knowswap_mm.datasets import ClassificationRoleView, RoleDataset, SwapSampler
from knowswap_mm.engine import SwapRunner
from knowswap_mm.engine.hooks.phase import PhaseHook
from knowswap_mm.acceleration import LeanLoRA
from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.models.losses import SwappingLoss
"""


def with_classes(root, work_dir, host):
    """The text of a config whose types are classes wherever there are any."""
    config = swap_config(root, work_dir, host=host)
    config.custom_hooks = [dict(type='knowswap_mm.PhaseHook', evaluate_start=False)]
    config.model.loss = dict(type='knowswap_mm.SwappingLoss')
    config.model.accelerations = [dict(type='knowswap_mm.LeanLoRA')]
    for split in ('train', 'val', 'test'):
        data = config[f'{split}_dataloader'].dataset
        data.view = 'knowswap_mm.ClassificationRoleView'
    names = re.findall(r'\w+(?=[,\n]|$)', ''.join(IMPORTS.split('import ')[1:]))
    lines = [f'{name} = {value!r}' for name, value in config.to_dict().items()]
    text = re.sub(r"'(?:knowswap_mm\.)?(\w+)'", lambda m: m[1] if m[1] in names else m[0],
                  '\n'.join(lines))  # fmt: skip
    text = text.replace("'collate_fn': {'type': default_collate}", "'collate_fn': default_collate")
    assert "type': RoleDataset" in text and 'runner_type = SwapRunner' in text
    return text


def ours(value):
    """Types of ours in a config, as they stand there."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in ('type', 'view', 'runner_type'):
                yield each
            yield from ours(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from ours(each)


@pytest.mark.parametrize('lazy', [False, True])
def test_a_run_of_classes_equals_one_of_names(lazy, picture_tree, host, tmp_path):
    text = with_classes(picture_tree, tmp_path / 'run', host)
    if lazy:
        (tmp_path / 'base.py').write_text(IMPORTS + text)
        text = (
            'from mmengine.config import read_base\nwith read_base():\n    from .base import *\n'
            "model['lora']['rank'] = 2\n"
        )
        (tmp_path / 'config.py').write_text(text)
    else:
        (tmp_path / 'config.py').write_text(IMPORTS + text)
    config = Config.fromfile(str(tmp_path / 'config.py'))
    runner = RUNNERS.build(config)
    runner.train()
    assert runner.iter == 6 and runner.swapper.adapters
    kinds = [type(hook).__name__ for hook in runner.hooks]
    assert kinds.count('PhaseHook') == 1 and 'SwapCheckpointHook' in kinds
    assert (tmp_path / 'run' / 'phase2_forget.pth').is_file()
    # What the run wrote can be read, built and named without the classes.
    (written,) = [p for p in (tmp_path / 'run').glob('*.py')]
    again = open_config(written)
    assert type_name(again.train_dataloader.dataset.type) == 'RoleDataset'
    again.work_dir, again.load_from = (
        str(tmp_path / 'again'),
        str(tmp_path / 'run/phase2_forget.pth'),
    )
    metrics = RUNNERS.build(again).test()
    assert 0 <= metrics['learn/accuracy/top1'] <= 100


def test_names_of_types():
    config = dict(
        type=RoleDataset,
        view='knowswap_mm.datasets.role_view.RoleView',
        other=[dict(type=dict), (RoleDataset, 'knowswap_mm.datasets')],
    )
    named = name_types(config)
    assert named is config and named['type'] == 'knowswap_mm.RoleDataset'
    assert named['view'] == 'knowswap_mm.RoleView' and named['other'][0]['type'] is dict
    assert named['other'][1] == ('knowswap_mm.RoleDataset', 'knowswap_mm.datasets')
    names = [
        type_name(kind) for kind in (RoleDataset, 'knowswap_mm.RoleDataset', 'a.b.RoleDataset')
    ]
    assert set(names) == {'RoleDataset'} and type_name(None) == ''


class TestOutsideOfARun:
    """Tools that build ``train_dataloader.dataset`` and nothing else."""

    @pytest.fixture
    def config_file(self, picture_tree, tmp_path):
        config = swap_config(picture_tree, tmp_path / 'run')
        config.visualizer = dict(type='UniversalVisualizer', vis_backends=[])
        (tmp_path / 'swap.py').write_text(
            '\n'.join(f'{name} = {value!r}' for name, value in config.to_dict().items())
        )
        return tmp_path / 'swap.py'

    def build(self, config_file, **changes):
        config = Config.fromfile(str(config_file)).train_dataloader.dataset
        config.update(changes)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return DATASETS.build(config)

    def test_what_to_do_is_said(self, config_file):
        with pytest.raises(ConfigError) as caught:
            self.build(config_file)
        message = str(caught.value)
        assert message.startswith('swap.classes = None: ')
        assert '--cfg-options train_dataloader.dataset.classes=CONFIG' in message

    def test_the_config_itself_tells_the_classes(self, config_file):
        data = self.build(config_file, classes=str(config_file))
        assert data.role_sizes == dict(learn=24, forget=12, retain=48)
        for wrong in ('nowhere.py', str(config_file.parent)):
            with pytest.raises(ConfigError, match=r'^swap.classes = .*no config with swap.classes'):
                self.build(config_file, classes=wrong)

    def test_a_pipeline_of_ones_own(self, config_file):
        data = self.build(config_file, classes=str(config_file))
        seen, steps = [], data.pipeline
        data.pipeline = lambda record: seen.append(record['img_path']) or steps(record)
        assert data[0]['data_samples'].img_path == seen[0]
        data.views['learn'].dataset['pipeline'] = []
        with pytest.raises(ConfigError, match='the pipelines differ'):
            _ = data.pipeline

    @pytest.mark.parametrize('mode', ['transformed', 'pipeline'])
    def test_browse_dataset_of_mmpretrain(self, mode, config_file, monkeypatch):
        out = config_file.parent / 'shown'
        browse(
            monkeypatch, 'mmpretrain', 'visualization', config_file, '--output-dir', out,
            '--mode', mode, '--show-number', 3, '--cfg-options',
            f'train_dataloader.dataset.classes={config_file}',
        )  # fmt: skip
        assert sorted(path.name for path in out.iterdir()) == ['00.png', '01.png', '02.png']


@pytest.mark.slow
def test_browse_dataset_of_mmdet(tmp_path, monkeypatch):
    from tests.helpers.detection_configs import detection_config, write_scenes

    write_scenes(tmp_path / 'scenes')
    config = detection_config(tmp_path / 'scenes', tmp_path / 'run', tmp_path, [])
    config.visualizer = dict(type='DetLocalVisualizer', vis_backends=[], name='browsed')
    path = tmp_path / 'swap.py'
    path.write_text('\n'.join(f'{name} = {each!r}' for name, each in config.to_dict().items()))
    browse(
        monkeypatch, 'mmdet', 'analysis_tools', path, '--output-dir', tmp_path / 'shown',
        '--cfg-options', f'train_dataloader.dataset.classes={path}',
    )  # fmt: skip
    assert len(list((tmp_path / 'shown').iterdir())) >= 16


def browse(patch, package, folder, config_file, *options):
    """Run a host's ``browse_dataset.py`` in this process."""
    # The tool of mmpretrain was written for a matplotlib whose function took no renderer.
    adjust = import_module('matplotlib._tight_bbox').adjust_bbox
    if 'renderer' in inspect.signature(adjust).parameters:
        name = 'matplotlib._tight_bbox.adjust_bbox'
        patch.setattr(name, lambda figure, box: adjust(figure, box, figure.canvas.get_renderer()))
    tool = Path(find_spec(package).origin).parent / '.mim/tools' / folder / 'browse_dataset.py'
    words = [str(tool), config_file, '--not-show', *options]
    patch.setattr(sys, 'argv', list(map(str, words)))
    with DefaultScope.overwrite_default_scope('mmengine'):
        runpy.run_path(str(tool), run_name='__main__')
