import json

import peft
import pytest
import torch
from peft.functional import inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora import AdapterFile, AdapterManifest
from knowswap_mm.models import unload_all
from tests.helpers.tiny_hosts import (
    OLD,
    SIZE,
    batch,
    build_host,
    build_swapper,
    changed,
    randomise_adapters,
    snapshot,
    swin_host,
    vit_backbone,
    vit_host,
)

ADAPTER, ROWS, MANIFEST = 'adapter_model.safetensors', 'class_rows.safetensors', 'manifest.json'
START, CONFIG = 'start_rows.safetensors', 'adapter_config.json'
SLOT_IN = vit_host(backbone=dict(type='knowswap_mm.LoRABackbone', backbone=vit_backbone()))


def trained(**settings):
    """A swapper whose adapter and new rows differ from those of a fresh one."""
    swapper = randomise_adapters(build_swapper(**settings))
    with torch.no_grad():
        state = swapper.host.state_dict()
        for tensor in swapper.class_rows.tensors:
            state[tensor.name][OLD:] += 1
        swapper.host.load_state_dict(state)
    return swapper


@pytest.fixture
def saved(tmp_path):
    AdapterFile(tmp_path).save(trained(), dict(learn=['a', 'b', 'c']))
    return tmp_path


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(host=swin_host()),
        dict(lora=dict(adapter_name='swap', rank=2, alpha=3)),
        dict(head=dict(old_classes=OLD, policy='new_rows')),
        dict(host=SLOT_IN, lora=None),
    ],
    ids=['vit', 'swin', 'other settings', 'new rows', 'backbone with adapters'],
)
def test_round_trip_is_bit_exact(tmp_path, settings):
    source, target = trained(**settings), build_swapper(**settings)
    before = changed(snapshot(source), snapshot(target))
    assert any('lora_B' in key for key in before) and any('head' in key for key in before)
    AdapterFile(tmp_path).save(source)
    AdapterFile(tmp_path).load(target)
    assert not changed(snapshot(source), snapshot(target))
    pictures = batch(['learn'])[0]['learn']
    source.eval(), target.eval()
    assert torch.equal(source(pictures), target(pictures))


def test_the_head_policy_may_differ(saved):
    target = build_swapper(head=dict(old_classes=OLD, policy='new_rows'))
    AdapterFile(saved).load(target)
    assert not changed(snapshot(trained().host), snapshot(target.host))


def test_manifest(saved):
    manifest = AdapterManifest.read(saved / MANIFEST)
    assert manifest.rank == 8 and manifest.alpha == 1 and manifest.old_classes == OLD
    assert manifest.targets == [
        f'backbone.layers.{i}.ffn.layers.{j}' for i in (0, 1) for j in ('0.0', '1')
    ]
    assert manifest.class_rows == {'head.layers.head.weight': [8, 32], 'head.layers.head.bias': [8]}
    assert manifest.class_roles == dict(learn=['a', 'b', 'c'])
    assert manifest.versions['torch'] == torch.__version__
    assert manifest.versions['peft'] == peft.__version__
    assert len(manifest.base_sha256) == 64


def test_peft_reads_the_folder(saved):
    config = peft.LoraConfig.from_pretrained(str(saved))
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 1, 0)
    host = build_host(vit_host())  # the same backbone as that of `trained`, another head
    inject_adapter_in_model(config, host)
    assert not set_peft_model_state_dict(host, load_file(saved / ADAPTER)).unexpected_keys
    host.load_state_dict(load_file(saved / ROWS), strict=False)
    pictures = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(host(pictures), trained().eval()(pictures))


def refuse(folder, swapper, match):
    """Loading must fail with our error and leave every bit as it was."""
    before = snapshot(swapper)
    with pytest.raises(CheckpointError, match=match):
        AdapterFile(folder).load(swapper)
    assert not changed(before, snapshot(swapper))


def test_other_base_weights_are_refused(saved):
    swapper = build_swapper()
    with torch.no_grad():
        bias = swapper.host.backbone.ln1.bias
        bias[0] = torch.nextafter(bias[0], torch.tensor(10.0))
    refuse(saved, swapper, "'base_sha256'")


def test_all_problems_are_listed_at_once(saved):
    matrices, rows = load_file(saved / ADAPTER), load_file(saved / ROWS)
    rename(matrices), not_a_number(rows)
    save_file(matrices, saved / ADAPTER), save_file(rows, saved / ROWS)
    swapper = build_swapper(lora=dict(alpha=3), seed=4)  # of another base, too
    lines = ["'base_sha256'", "'alpha' is 1 instead of 3", f'{ADAPTER}: missing', 'unexpected x']
    lines += [f'{ROWS}: .* is not finite', 'has other rows in the model']
    for line in lines:
        refuse(saved, swapper, line)


def test_the_base_comes_back_from_the_folder(saved):
    start = trained()
    wanted = unload_all(build_swapper())
    AdapterFile(saved).save(start)
    target = build_swapper()
    AdapterFile(saved).load(target)
    found = unload_all(target)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_other_old_rows_do_not_change_the_base(saved):
    swapper = build_swapper()
    with torch.no_grad():
        swapper.host.head.layers.head.weight[0] += 1
    AdapterFile(saved).load(swapper)
    assert not changed(snapshot(trained()), snapshot(swapper))


@pytest.mark.parametrize(
    'settings, match',
    [
        (dict(lora=dict(rank=4)), "'rank'"),
        (dict(lora=dict(alpha=2)), "'alpha'"),
        (dict(lora=dict(targets=r'.*ffn\.layers\.1')), "'targets'"),
        (dict(head=dict(old_classes=OLD - 1)), "'old_classes'"),
        (dict(host=vit_host(layers=1)), "'base_sha256'.*'targets'"),
        (dict(host=vit_host(9)), 'instead of'),
    ],
    ids=['rank', 'alpha', 'targets', 'old classes', 'depth', 'classes'],
)
def test_another_model_is_refused(saved, settings, match):
    refuse(saved, build_swapper(**settings), match)


def first(tensors):
    return sorted(tensors)[0]


def drop(tensors):
    del tensors[first(tensors)]


def add(tensors):
    tensors['backbone.layers.9.ffn.layers.1.lora_A.weight'] = torch.zeros(8, 48)


def reshape(tensors):
    tensors[first(tensors)] = tensors[first(tensors)].unsqueeze(0)


def not_a_number(tensors):
    tensors[first(tensors)].view(-1)[-1] = torch.nan


def infinite(tensors):
    tensors[first(tensors)].view(-1)[0] = -torch.inf


def rename(tensors):
    tensors['x' + first(tensors)] = tensors.pop(first(tensors))


@pytest.mark.parametrize('file', [ADAPTER, ROWS, START])
@pytest.mark.parametrize(
    'spoil, match',
    [
        (drop, 'missing'),
        (add, r'unexpected backbone\.layers\.9'),
        (reshape, r'has shape \(.*\) instead of \('),
        (not_a_number, 'not finite'),
        (infinite, 'not finite'),
        (rename, 'missing .*unexpected x'),
    ],
)
def test_spoiled_tensors_are_refused(saved, file, spoil, match):
    tensors = load_file(saved / file)
    spoil(tensors)
    save_file(tensors, saved / file)
    refuse(saved, build_swapper(), match)


@pytest.mark.parametrize('file', [ADAPTER, ROWS, START, CONFIG, MANIFEST])
@pytest.mark.parametrize('content', [None, b'', b'{', b'\xff\xfe\x00', b'[1, 2]', 'half'])
def test_broken_files_are_refused(saved, file, content):
    path = saved / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(
            path.read_bytes()[: path.stat().st_size // 2] if content == 'half' else content
        )
    refuse(saved, build_swapper(), file)


@pytest.mark.parametrize(
    'change, match',
    [
        (dict(format=1), 'format 1, this version reads 2'),
        (dict(format=None), 'format None'),
        (dict(extra=1), 'extra'),
        (dict(rank='8'), "'rank'"),
        (dict(targets=5), "'targets' is 5, no list"),
        (dict(parents=None, history={}), "'parents' is a NoneType, .*'history' is a dict"),
        (dict(parents=['x']), "'parents' is"),
        (dict(rank=4), "'rank' is 4 instead of 8"),
        (dict(adapter_sha256='x'), "'adapter_sha256'"),
    ],
)
def test_spoiled_manifests_are_refused(saved, change, match):
    content = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(content | change))
    refuse(saved, build_swapper(), match)


def test_another_type_of_number_is_refused(saved):
    matrices = {key: tensor.double() for key, tensor in load_file(saved / ADAPTER).items()}
    save_file(matrices, saved / ADAPTER)
    refuse(saved, build_swapper(), 'has type torch.float64 instead of torch.float32')


def test_a_manifest_with_a_missing_field_is_refused(saved):
    content = json.loads((saved / MANIFEST).read_text())
    del content['total_classes']
    (saved / MANIFEST).write_text(json.dumps(content))
    refuse(saved, build_swapper(), 'should hold')


def test_a_missing_folder_is_refused(tmp_path):
    refuse(tmp_path / 'nowhere', build_swapper(), 'manifest')
