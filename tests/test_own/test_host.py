"""What a config and a checkpoint tell of a host."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.errors import ConfigError
from knowswap_mm.own.host import read_host
from tests.helpers.swap_configs import host_config

CIFAR = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


def write(folder, meta=None, classes=10, **changes):
    """A host of ten classes, whose data set is one that knows their names."""
    model = host_config(classes)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(model).state_dict()
    torch.save(dict(state_dict=state, meta=meta or {}), folder / 'host.pth')
    model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='https://elsewhere/vit.pth')
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    data = dict(type='CIFAR10', data_root=str(folder / 'nowhere'), pipeline=steps)
    loader = dict(batch_size=7, dataset=dict(type='RepeatDataset', times=3, dataset=data))
    config = dict(default_scope='mmpretrain', model=model, train_dataloader=loader) | changes
    Config(config).dump(folder / 'host.py')
    return str(folder / 'host.py'), str(folder / 'host.pth')


def test_names_of_classes_come_from_what_knows_them_best(tmp_path):
    """As many as the head has: those that are given, of the checkpoint, of the data set."""
    paths = write(tmp_path)
    assert read_host(*paths, None)[0].classes == list(CIFAR)
    stored = [f'stored {number}' for number in range(10)]
    write(tmp_path, dict(dataset_meta=dict(classes=stored)))
    assert read_host(*paths, None)[0].classes == stored
    given = [f'given {number}' for number in range(10)]
    assert read_host(*paths, given)[0].classes == given
    write(tmp_path, dict(dataset_meta=dict(classes=stored[:9])))  # of another head
    assert read_host(*paths, None)[0].classes == list(CIFAR)
    write(tmp_path, classes=9)
    with pytest.raises(ConfigError, match='the head has 9 classes .*names 10'):
        read_host(*paths, None)


def test_what_else_a_config_tells(tmp_path):
    """Its batch, the data set within a wrapper, one pipeline for both; no weights of elsewhere."""
    host, module = read_host(*write(tmp_path), None)
    assert host.batch_size == 7 and host.name == 'host'
    assert host.data['train']['dataset']['type'] == 'CIFAR10'
    assert host.pipelines['train'] == host.pipelines['test']
    assert 'elsewhere' not in str(host.model)
    state = torch.load(tmp_path / 'host.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(default_scope='mmpose'), 'default_scope is'),
        (dict(train_dataloader=None), 'no pipeline for images'),
    ],
)
def test_configs_that_tell_too_little(changes, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        read_host(*write(tmp_path, **changes), list(CIFAR))
