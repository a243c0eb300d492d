import copy
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from knowswap_mm.models import host_config
from knowswap_mm.models.host_config import without_pretrained
from tests.helpers.tiny_hosts import build_swapper, vit_host

URL = 'https://nowhere.invalid/weights.pth'
PRETRAINED = dict(type='Pretrained', checkpoint=URL)
CONSTANT = dict(type='Constant', val=0.0, layer='Linear')


class OtherInit(PretrainedInit):
    """An initialisation from a file under a name that says nothing."""


WEIGHT_INITIALIZERS.register_module(name='Other', module=OtherInit, force=True)
SPELLINGS = {
    'no type': dict(checkpoint=URL),
    'class': dict(type=PretrainedInit, checkpoint=URL),
    'path of the class': dict(type='mmengine.model.weight_init.PretrainedInit', checkpoint=URL),
    'of mmseg': dict(type='Pretrained_Part', checkpoint=URL),
    'subclass': dict(type='Other'),
    'list': [dict(type='Pretrained', checkpoint=URL)],
    'text': URL,
    'path': Path('weights.pth'),
}


def test_only_pretrained_files_are_taken_out():
    config = dict(
        init_cfg=PRETRAINED,
        parts=[
            dict(init_cfg=CONSTANT),
            dict(init_cfg=dict(PRETRAINED, type='mmengine.Pretrained')),
        ],
        pair=(dict(init_cfg=[CONSTANT]), 3),
    )
    before = copy.deepcopy(config)
    assert without_pretrained(config) == dict(
        init_cfg=None,
        parts=[dict(init_cfg=CONSTANT), dict(init_cfg=None)],
        pair=(dict(init_cfg=[CONSTANT]), 3),
    )
    assert config == before


def test_attribute_access_stays():
    found = without_pretrained(ConfigDict(train_cfg=dict(assigner=dict(type='A'))))
    assert found.train_cfg.assigner.type == 'A'


def test_a_swapper_fetches_nothing():
    """Building the host would otherwise try to download the file."""
    host = vit_host()
    host['backbone'] = dict(host['backbone'], init_cfg=PRETRAINED)
    assert build_swapper(host).host.backbone.init_cfg is None


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_every_spelling_of_a_pretrained_init_cfg(spelling):
    found = without_pretrained([dict(init_cfg=SPELLINGS[spelling])])
    assert found == [dict(init_cfg=None)]


def test_other_initialisations_beside_a_file_stay():
    override = dict(name='head', **PRETRAINED)
    mixed = [CONSTANT, dict(checkpoint=URL), dict(CONSTANT, override=[override, CONSTANT])]
    found = without_pretrained(dict(init_cfg=mixed))
    assert found == dict(init_cfg=[CONSTANT, dict(CONSTANT, override=[CONSTANT])])


def test_keys_that_name_weights_and_keys_that_do_not():
    named = dict(pretrained=URL, checkpoint=URL, teacher_ckpt='x.pth', checkpoint_file=Path('x'))
    other = dict(
        use_checkpoint=True, pretrained_window_sizes=[8, 8], class_weight=[1.0], with_cp=False
    )
    found = without_pretrained(dict(named, **other, inner=dict(pretrained=True)))
    assert found == dict.fromkeys(named) | other | dict(inner=dict(pretrained=False))


def test_one_line_says_what_was_set_aside(monkeypatch):
    host, lines = vit_host(pretrained=URL), []
    host['backbone'] = dict(host['backbone'], init_cfg=[CONSTANT, dict(checkpoint=URL)])
    monkeypatch.setattr(host_config, 'print_log', lambda line, **_: lines.append(line))
    swapper = build_swapper(host)
    (line,) = lines
    assert 'model.host.backbone.init_cfg.1, model.host.pretrained. ' in line
    assert 'load_from' in line
    assert swapper.host.backbone.init_cfg == [CONSTANT]
