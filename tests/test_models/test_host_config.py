import copy

from mmengine.config import ConfigDict
from tiny_hosts import build_swapper, vit_host

from knowswap_mm.models.host_config import without_pretrained

URL = 'https://nowhere.invalid/weights.pth'
PRETRAINED = dict(type='Pretrained', checkpoint=URL)
CONSTANT = dict(type='Constant', val=0.0, layer='Linear')


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
