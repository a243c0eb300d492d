"""What is exported works in stock tools, without this package."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import load_file

from knowswap_mm.errors import ConfigError
from knowswap_mm.exporting import plain_host_config
from tests.swap_configs import (
    FORGOTTEN,
    NEW,
    OLD,
    pretrain_host,
    swap_config,
    train,
    write_config,
)

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'export.py'
STOCK = """
import json, sys
class Refuse:
    def find_spec(self, name, *rest):
        if name.split('.')[0] == 'knowswap_mm':
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from mmpretrain import ImageClassificationInferencer
folder, *pictures = sys.argv[1:]
tool = ImageClassificationInferencer(folder + '/config.py', pretrained=folder + '/model.pth')
found = [tool(picture)[0] for picture in pictures]
assert not [name for name in sys.modules if name.startswith('knowswap_mm')]
scores = [each['pred_scores'].tolist() for each in found]
print('found', json.dumps([scores, [each['pred_class'] for each in found]]))
"""


@pytest.fixture(scope='module')
def run(picture_tree, tmp_path_factory):
    """A finished swap: its config file and its folder."""
    folder = tmp_path_factory.mktemp('export')
    host = pretrain_host(picture_tree, folder / 'host.pth')
    runner, _ = train(swap_config(picture_tree, folder / 'run', host=host))
    return runner, write_config(runner.cfg, folder / 'config.py'), folder / 'run'


def export(monkeypatch, run, out, *options):
    _, config, folder = run
    arguments = [config, folder / 'phase2_forget.pth', '--out', out, *options]
    monkeypatch.setattr(sys, 'argv', ['export.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def stock(folder, pictures):
    command = [sys.executable, '-c', STOCK, str(folder), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    # The inferencer draws a progress bar before it.
    text = done.stdout.rpartition('found ')[2].splitlines()[0]
    scores, names = json.loads(text)
    return torch.tensor(scores), names


def own_scores(run):
    """Scores of the swapped, unmerged model, and the pictures."""
    runner, *_ = run
    data = runner.test_dataloader.dataset
    model = runner.model.eval()
    batch = [data[i] for i in range(0, len(data), max(len(data) // 6, 1))]
    paths = [each['data_samples'].img_path for each in batch]
    with torch.no_grad():
        found = [
            model.host.test_step(dict(inputs=[b['inputs']], data_samples=[b['data_samples']]))
            for b in batch
        ]
    return torch.stack([each[0].pred_score for each in found]), paths


@pytest.mark.slow
def test_the_inferencer_gives_the_same_scores(run, tmp_path, monkeypatch):
    wanted, paths = own_scores(run)
    export(monkeypatch, run, tmp_path / 'all', '--safetensors')
    found, names = stock(tmp_path / 'all', paths)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    classes = [*OLD, *NEW]
    assert names == [classes[i] for i in wanted.argmax(1)]
    text = (tmp_path / 'all' / 'config.py').read_text()
    assert 'knowswap' not in text and 'lora' not in text
    state = torch.load(tmp_path / 'all' / 'model.pth', weights_only=True)['state_dict']
    assert not any('lora' in key or 'base_layer' in key for key in state)
    same = load_file(tmp_path / 'all' / 'model.safetensors')
    assert set(same) == set(state) and all(torch.equal(same[key], state[key]) for key in state)


@pytest.mark.slow
def test_forgotten_classes_may_lose_their_rows(run, tmp_path, monkeypatch):
    wanted, paths = own_scores(run)
    export(monkeypatch, run, tmp_path / 'fewer', '--drop', 'forgotten')
    found, _ = stock(tmp_path / 'fewer', paths)
    classes = [*OLD, *NEW]
    kept = [i for i, name in enumerate(classes) if name != FORGOTTEN]
    rest = wanted[:, kept]
    torch.testing.assert_close(found, rest / rest.sum(1, keepdim=True), rtol=1e-4, atol=1e-5)
    labels = json.loads((tmp_path / 'fewer' / 'classes.json').read_text())
    assert labels == dict(classes=[classes[i] for i in kept], old_labels=kept)


def test_half_precision(run, tmp_path, monkeypatch):
    export(monkeypatch, run, tmp_path / 'half', '--half')
    state = torch.load(tmp_path / 'half' / 'model.pth', weights_only=True)['state_dict']
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.half}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(tmp_path / 'half' / 'config.py').model)
    model.load_state_dict(state, strict=True)


def test_what_cannot_be_exported(run, tmp_path, monkeypatch):
    (tmp_path / 'there').mkdir()
    for out, options, problem in (
        ('there', [], 'is there already'),
        ('new', ['--drop', 'nobody'], 'is no class of the model'),
        ('new', ['--drop', *OLD, *NEW], 'no class is left'),
    ):
        with pytest.raises(SystemExit, match=problem):
            export(monkeypatch, run, tmp_path / out, *options)
        assert not list(tmp_path.glob('*/model.pth'))
    runner, config, folder = run
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    monkeypatch.setattr(sys, 'argv', ['x', str(config), str(tmp_path / 'bare.pth'), '--out', 'o'])
    with pytest.raises(SystemExit, match='does not name its classes'):
        runpy.run_path(str(TOOL), run_name='__main__')


def test_our_types_become_those_of_the_host():
    __import__('knowswap_mm.models.heads')
    found = plain_host_config(
        dict(decode_head=dict(type='knowswap_mm.LabelledPointsMask2FormerHead', num_classes=3))
    )
    assert found == dict(decode_head=dict(type='mmseg.Mask2FormerHead', num_classes=3))
    with pytest.raises(ConfigError, match='has no counterpart'):
        plain_host_config(dict(loss=dict(type='knowswap_mm.SwappingLoss')))
