"""A stack on hosts with several class-indexed tensors, and with a row behind the class rows."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.lora import AdapterFile
from knowswap_mm.models import KnowledgeSwapper, unload_all, unload_newest
from tests.helpers.segmentation_configs import host_config as mask2former_host
from tests.helpers.stacks import train
from tests.helpers.tiny_hosts import dino_host

HOSTS = dict(dino=('mmdet', dino_host), mask2former=('mmseg', mask2former_host))
HEAD = dict(policy='new_rows', new_rows_init='host')


@pytest.mark.parametrize('name', HOSTS)
def test_rows_are_passed_on_and_had_back(name, tmp_path):
    scope, host = HOSTS[name]
    with DefaultScope.overwrite_default_scope(scope):
        torch.manual_seed(0)
        model = MODELS.build(host(5))
        model.init_weights()  # what is left unset may be no number, which equals nothing
        base = model.state_dict()
        first = KnowledgeSwapper(host(7), lora=dict(rank=2), head=dict(HEAD, old_classes=5))
        first.load_state_dict(base)
        AdapterFile(tmp_path).save(train(first, 1))
        second = KnowledgeSwapper(host(8), lora=dict(rank=3), head=HEAD, adapters=[tmp_path])
        second.load_state_dict(base)
    ended, began = first.host.state_dict(), second.host.state_dict()
    assert len(second.class_rows.tensors) > 1
    for tensor in second.class_rows.tensors:
        assert torch.equal(began[tensor.name][:7], ended[tensor.name][:7])
        if tensor.tail:
            assert torch.equal(began[tensor.name][8:], ended[tensor.name][7:])
    kept = {key: value.clone() for key, value in began.items() if '.default.' not in key}
    newest = unload_newest(train(second, 2)).state_dict()
    assert newest.keys() == kept.keys()
    assert all(torch.equal(newest[key], value) for key, value in kept.items())
    found = unload_all(second)
    assert found.keys() == base.keys()
    assert all(torch.equal(found[key], value) for key, value in base.items())
