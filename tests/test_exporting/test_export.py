"""The tool: its options, what it writes, and what it refuses."""

import copy
import hashlib
import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import load_file

from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.exporting import ExportedHost
from tests.helpers.exports import export, save_swapped
from tests.helpers.swap_configs import FORGOTTEN, NEW, OLD, host_config, pretrain_host, swap_config
from tests.helpers.swap_configs import write_config as write_swap

CLASSES = [*OLD, *NEW]


def weights(folder):
    return torch.load(folder / 'model.pth', weights_only=True)['state_dict']


def test_what_is_written(classifier, tmp_path):
    _, config, checkpoint = classifier
    record = export(config, checkpoint, tmp_path / 'out', '--safetensors')
    files = {path.name for path in (tmp_path / 'out').iterdir()}
    models = {'model.pth', 'model.safetensors'}
    others = {'config.py', 'classes.json', 'classes.txt', 'export.json', 'README.md'}
    assert files == models | others
    text = (tmp_path / 'out' / 'config.py').read_text()
    assert 'knowswap' not in text and 'lora' not in text
    state, same = weights(tmp_path / 'out'), load_file(tmp_path / 'out' / 'model.safetensors')
    assert not any('lora' in key or 'base_layer' in key for key in state)
    assert set(same) == set(state) and all(torch.equal(same[key], state[key]) for key in state)
    assert read_class_names('x', str(tmp_path / 'out' / 'classes.txt')) == CLASSES
    assert record['checkpoint'] == 'phase2_forget.pth' and record['precision'] == 'float32'
    for name in models:
        content = (tmp_path / 'out' / name).read_bytes()
        assert record['sha256'][name] == hashlib.sha256(content).hexdigest()
    assert record['check']['pictures'] == 8
    assert set(record['check']['deviations']) == {'layers', 'features', 'predictions'}
    # Merged in double precision and rounded once: some units in the last of 24 bits.
    assert 0 < max(record['check']['deviations'].values()) < 1e-5


def test_fewer_classes(classifier, tmp_path):
    _, config, checkpoint = classifier
    record = export(config, checkpoint, tmp_path / 'out', '--drop', 'forgotten', '--check', '0')
    kept = [i for i, name in enumerate(CLASSES) if name != FORGOTTEN]
    labels = json.loads((tmp_path / 'out' / 'classes.json').read_text())
    assert labels == dict(classes=[CLASSES[i] for i in kept], old_labels=kept)
    assert record['label_map'] == {str(old): new for new, old in enumerate(kept)}
    assert record['check'] is None


def test_half_precision(classifier, tmp_path):
    _, config, checkpoint = classifier
    record = export(config, checkpoint, tmp_path / 'half', '--half')
    state = weights(tmp_path / 'half')
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.half}
    assert 1e-5 < record['check']['deviations']['layers'] < 1e-2  # weights have 11 bits


def test_spare_rows_get_names_or_go(classifier, tmp_path):
    """Stock tools want a name for every row of the head."""
    config = copy.deepcopy(classifier[0])
    config.model.host.head.num_classes = len(CLASSES) + 2
    checkpoint = save_swapped(config, CLASSES, tmp_path / 'spare.pth')
    path = write_swap(config, tmp_path / 'config.py')
    export(path, checkpoint, tmp_path / 'all', '--test-data')
    labels = json.loads((tmp_path / 'all' / 'classes.json').read_text())
    assert labels['classes'] == [*CLASSES, 'spare_7', 'spare_8']
    assert labels['old_labels'] == [*range(7), None, None]
    pictures = json.loads((tmp_path / 'all' / 'test_learn' / 'pictures.json').read_text())
    assert pictures['metainfo']['classes'] == labels['classes']
    export(path, checkpoint, tmp_path / 'fewer', '--drop', FORGOTTEN)
    assert len(weights(tmp_path / 'fewer')['head.layers.head.weight']) == len(CLASSES) - 1


def test_a_backbone_with_adapters_becomes_the_plain_one(picture_tree, tmp_path):
    host = pretrain_host(picture_tree, tmp_path / 'host.pth')
    config = swap_config(picture_tree, tmp_path / 'run', host=host)
    inner = config.model.host.backbone.to_dict()
    config.model.host.backbone = dict(
        type='knowswap_mm.LoRABackbone', backbone=inner, lora=dict(rank=2)
    )
    config.model.lora = None
    checkpoint = save_swapped(config, CLASSES, tmp_path / 'swap.pth')
    record = export(write_swap(config, tmp_path / 'c.py'), checkpoint, tmp_path / 'out')
    assert record['check']['deviations']['layers'] < 1e-5
    assert Config.fromfile(tmp_path / 'out' / 'config.py').model.backbone.to_dict() == inner
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        plain = MODELS.build(host_config(len(CLASSES)))
    plain.load_state_dict(weights(tmp_path / 'out'), strict=True)


def test_a_data_preprocessor_beside_the_host_is_not_lost(classifier, tmp_path):
    config = copy.deepcopy(classifier[0])
    config.data_preprocessor = config.model.host.pop('data_preprocessor')
    checkpoint = save_swapped(classifier[0], CLASSES, tmp_path / 'swap.pth')
    export(write_swap(config, tmp_path / 'config.py'), checkpoint, tmp_path / 'out')
    written = Config.fromfile(tmp_path / 'out' / 'config.py').model
    assert written.data_preprocessor == config.data_preprocessor


def test_a_wrong_merge_is_refused(classifier, tmp_path, monkeypatch):
    _, config, checkpoint = classifier
    right = ExportedHost.state_dict

    def wrong(*args):
        state = right(*args)
        state['backbone.layers.1.ffn.layers.1.weight'][3, 5] += 0.1
        return state

    monkeypatch.setattr(ExportedHost, 'state_dict', wrong)
    with pytest.raises(SystemExit, match=r'layers deviate by .* more than 1e-04'):
        export(config, checkpoint, tmp_path / 'new' / 'out')
    assert not list(tmp_path.iterdir())


def test_missing_data_are_told(classifier, tmp_path):
    config, checkpoint = copy.deepcopy(classifier[0]), classifier[2]
    for role in config.test_dataloader.dataset.roles.values():
        role.dataset.data_root = 'nowhere'
    path = write_swap(config, tmp_path / 'config.py')
    for options, key in (([], '--check = 8'), (['--check', '0', '--test-data'], '--test-data')):
        with pytest.raises(SystemExit, match=f'{key}.* the test data cannot be read .*--check 0'):
            export(path, checkpoint, tmp_path / 'out', *options)
    assert not (tmp_path / 'out').exists()
    export(path, checkpoint, tmp_path / 'out', '--check', '0')


def test_what_cannot_be_exported(classifier, tmp_path):
    _, config, checkpoint = classifier
    torch.save(dict(state_dict={}), tmp_path / 'bare.pth')
    (tmp_path / 'there').mkdir()
    for out, file, options, problem in (
        ('there', checkpoint, [], 'is there already'),
        ('new', checkpoint, ['--drop', 'nobody'], 'is no class of the model'),
        ('new', checkpoint, ['--drop', *CLASSES], 'no class is left'),
        ('new', checkpoint, ['--check', '-1'], '--check = -1: no number of images'),
        ('new', tmp_path / 'bare.pth', [], 'does not name its classes'),
    ):
        with pytest.raises(SystemExit, match=re.escape(problem)):
            export(config, file, tmp_path / out, *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bare.pth', 'there']
    assert not list((tmp_path / 'there').iterdir())
