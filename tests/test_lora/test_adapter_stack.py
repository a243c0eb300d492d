"""Adapters of earlier swaps beneath the one that trains."""

import copy
import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.exporting import ExportedHost
from knowswap_mm.lora import AdapterFile, AdapterManifest
from knowswap_mm.lora.tensors import is_adapter_key
from knowswap_mm.models import original_host, unload_all, unload_newest
from tests.helpers.stacks import (
    FIRST,
    SECOND,
    TARGETS,
    base,
    first_swap,
    second_swapper,
    train,
    two_swaps,
)
from tests.helpers.tiny_hosts import (
    OLD,
    SIZE,
    batch,
    build_host,
    changed,
    snapshot,
    trainable,
    vit_host,
)

PICTURES = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
POLICIES = ['frozen', 'new_rows', 'all']


@pytest.fixture(params=POLICIES)
def ends(request, tmp_path):
    return (*two_swaps(tmp_path, request.param), tmp_path)


@pytest.fixture
def folder(tmp_path):
    two_swaps(tmp_path)
    return tmp_path


def test_a_swap_starts_where_the_one_before_ended(tmp_path):
    first = first_swap()
    AdapterFile(tmp_path).save(first)
    second = second_swapper([tmp_path])
    # A larger head is another matrix product: its sums may round otherwise.
    torch.testing.assert_close(second(PICTURES)[:, :FIRST], first(PICTURES))


def test_only_the_new_adapter_trains_and_is_in_groups(tmp_path):
    AdapterFile(tmp_path).save(first_swap())
    swapper = second_swapper([tmp_path], policy='frozen')
    assert set(trainable(swapper.host)) == set(swapper.adapters)
    assert all('.default.' in name and 'layers.1.' in name for name in swapper.adapters)
    grouped = {id(p) for p in swapper.swapping_loss.sparsity.groups.parameters}
    assert grouped == {id(p) for p in swapper.adapters.values()}


def test_training_moves_nothing_beneath(tmp_path):
    AdapterFile(tmp_path).save(first_swap())
    swapper = second_swapper([tmp_path], policy='new_rows')
    before = snapshot(swapper.host)
    optimizer = torch.optim.AdamW([p for p in swapper.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        losses = swapper.loss(*batch(['learn', 'retain']))
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        optimizer.step()
    moved = changed(before, snapshot(swapper.host))
    rows = {name for name in moved if name.startswith('head')}
    assert moved - rows == set(swapper.adapters) and rows
    for name in rows:
        assert torch.equal(swapper.host.state_dict()[name][:FIRST], before[name][:FIRST])


def test_merged_equals_unmerged(ends):
    _, second, _ = ends
    wanted = second(PICTURES)
    exported = ExportedHost(copy.deepcopy(second), vit_host(SECOND), list('abcdefghi'))
    plain = build_host(exported.config)
    plain.load_state_dict(exported.state_dict())
    torch.testing.assert_close(plain.eval()(PICTURES), wanted, rtol=1e-4, atol=1e-5)


def test_the_newest_may_have_targets_that_those_beneath_lack(tmp_path):
    first = first_swap(lora=TARGETS)
    AdapterFile(tmp_path).save(first)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        second = train(second_swapper([tmp_path], lora=dict(), policy='frozen'), 3)
    assert len(second.adapters) == 8 and len(first.adapters) == 4
    exported = ExportedHost(copy.deepcopy(second), vit_host(SECOND), list('abcdefghi'))
    plain = build_host(exported.config)
    plain.load_state_dict(exported.state_dict())
    torch.testing.assert_close(plain(PICTURES), second(PICTURES), rtol=1e-4, atol=1e-5)
    original = original_host(second)
    torch.testing.assert_close(original(PICTURES)[:, :FIRST], first(PICTURES), rtol=1e-4, atol=1e-5)
    assert_base(unload_all(second))


def test_two_folders_give_the_same_model(ends):
    _, second, folder = ends
    again = second_swapper([folder / 'swap1'], seed=9, policy=second.head_policy)
    AdapterFile(folder / 'swap2').load(again)
    assert not changed(snapshot(second), snapshot(again))
    assert torch.equal(again(PICTURES), second(PICTURES))


def test_a_third_swap_lies_on_both(ends):
    _, second, folder = ends
    names = [folder / 'swap1', folder / 'swap2']
    third = second_swapper(names, host=vit_host(SECOND + 1))
    torch.testing.assert_close(third(PICTURES)[:, :SECOND], second(PICTURES))
    AdapterFile(folder / 'swap3').save(train(third, 4))
    manifests = [AdapterManifest.read(folder / f'swap{i}' / 'manifest.json') for i in (1, 2, 3)]
    hashes = [manifest.adapter_sha256 for manifest in manifests]
    assert [manifest.parents for manifest in manifests] == [[], hashes[:1], hashes[:2]]
    assert_base(unload_all(third))


def test_its_checkpoint_loads(ends):
    _, second, folder = ends
    again = second_swapper([folder / 'swap1'], seed=9, policy=second.head_policy)
    again.load_state_dict(second.state_dict(), strict=True)
    assert not changed(snapshot(second), snapshot(again))


def assert_base(found):
    wanted = base()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_all_unloaded_is_the_base(ends):
    first, second, _ = ends
    assert_base(unload_all(first))
    assert_base(unload_all(second))


def test_the_newest_unloaded_is_the_start(tmp_path):
    AdapterFile(tmp_path).save(first_swap())
    swapper = second_swapper([tmp_path])
    kept = copy.deepcopy(swapper.host)
    start = {k: v for k, v in kept.state_dict().items() if '.default.' not in k}
    found = unload_newest(train(swapper, 3))
    assert not trainable(found)
    assert not changed(start, found.state_dict())
    assert torch.equal(found.eval()(PICTURES), kept.eval()(PICTURES))


def test_an_adapter_folder_unloads_to_the_base(ends):
    """Not only the checkpoint: the folder remembers the rows with which its swap began."""
    _, second, folder = ends
    again = second_swapper([folder / 'swap1'], seed=9)
    AdapterFile(folder / 'swap2').load(again)
    assert_base(unload_all(again))
    wanted = unload_newest(second).state_dict()
    assert not changed(wanted, unload_newest(again).state_dict())


def test_the_original_of_the_second_swap_is_the_end_of_the_first(ends):
    first, second, _ = ends
    original = original_host(second)
    assert not any(is_adapter_key(key) for key in original.state_dict())
    torch.testing.assert_close(original(PICTURES)[:, :FIRST], first(PICTURES), rtol=1e-4, atol=1e-5)


def refuse(match, adapters, **settings):
    with pytest.raises(CheckpointError, match=match):
        second_swapper(adapters, **settings)


def test_another_base_is_refused(folder):
    weights = base()
    weights['backbone.ln1.bias'] = weights['backbone.ln1.bias'] + 1
    refuse("swap1: 'base_sha256'", [folder / 'swap1'], weights=weights)


def test_other_rows_of_the_base_are_refused(folder):
    weights = base()
    weights['head.layers.head.bias'] = weights['head.layers.head.bias'] + 1
    weights['backbone.ln1.bias'] = weights['backbone.ln1.bias'] + 1
    match = "'base_sha256'.*head.layers.head.bias of the base is not what"
    refuse(match, [folder / 'swap1'], weights=weights)
    weights = build_host(vit_host(OLD + 1)).state_dict()
    refuse(r'has shape \(6, 32\) instead of \(5, 32\)', [folder / 'swap1'], weights=weights)


def test_a_base_file_in_half_precision_is_the_same_base(tmp_path):
    half = {key: value.half() for key, value in base().items()}
    first = first_swap(weights=half)
    AdapterFile(tmp_path).save(first)
    second = second_swapper([tmp_path], weights=half)
    found = unload_all(train(second, 3))
    assert all(torch.equal(found[key], value.float()) for key, value in half.items())


def test_nothing_is_loaded_when_the_base_is_refused(folder):
    swapper = second_swapper([folder / 'swap1'])
    before = snapshot(swapper)
    with pytest.raises(CheckpointError):
        swapper.load_state_dict(base(seed=8))
    assert not changed(before, snapshot(swapper))


def test_a_checkpoint_with_another_adapter_beneath_is_refused(folder):
    swapper = second_swapper([folder / 'swap1'])
    state = dict(swapper.state_dict())
    keys = [key for key in state if '.swap1.' in key][:2]
    for key in keys:
        state[key] = state[key] + 1
    with pytest.raises(CheckpointError, match='of the checkpoint is not that of.*swap1; .*swap1'):
        swapper.load_state_dict(state)


def test_a_wrong_order_is_refused(folder):
    refuse("swap2: 'parents' are", [folder / 'swap2', folder / 'swap1'])
    refuse("swap2: 'parents' are", [folder / 'swap2'])
    refuse("swap1: 'parents' are", [folder / 'swap1', folder / 'swap1'])


def test_an_adapter_of_another_first_swap_is_refused(folder):
    AdapterFile(folder / 'other').save(first_swap(seed=7))
    refuse("swap2: 'parents' are", [folder / 'other', folder / 'swap2'])
    swapper = second_swapper([folder / 'other'])
    with pytest.raises(CheckpointError, match="'parents' is"):
        AdapterFile(folder / 'swap2').load(swapper)


def test_all_problems_are_listed(folder):
    path = folder / 'swap1' / 'adapter_model.safetensors'
    matrices = load_file(path)
    matrices[sorted(matrices)[0]][0] = torch.nan
    save_file(matrices, path)
    config = folder / 'swap1' / 'adapter_config.json'
    config.write_text(json.dumps(json.loads(config.read_text()) | dict(r=3)))
    match = r'r = 3, the manifest 8.*is not finite.*swap2'
    shutil.copytree(folder / 'swap2', folder / 'broken swap2')
    manifest = folder / 'broken swap2' / 'manifest.json'
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | dict(alpha=9)))
    refuse(match, [folder / 'swap1', folder / 'broken swap2'])


@pytest.mark.parametrize('field', ['rank', 'alpha', 'total_classes', 'old_classes'])
def test_a_changed_manifest_is_refused(folder, field):
    path = folder / 'swap1' / 'manifest.json'
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {field: manifest[field] + 1}))
    refuse('adapter_sha256|the manifest', [folder / 'swap1'])


def test_a_host_of_another_depth_is_refused(folder):
    refuse('the host has no backbone.layers.1', [folder / 'swap1'], host=vit_host(SECOND, layers=1))


def test_wrong_settings_name_their_key(folder, raises_config_error):
    path = str(folder / 'swap1')
    with raises_config_error('model.lora.adapter_name', 'swap1', 'an earlier adapter'):
        second_swapper([path], lora=dict(TARGETS, adapter_name='swap1'))
    with raises_config_error('model.head.old_classes', 6, 'ended with 7 classes'):
        second_swapper([path], head=dict(old_classes=6))
    with raises_config_error('model.adapters', path, 'not a list of folders'):
        second_swapper(path)
    with pytest.raises(ConfigError, match=r'model\.adapters'):
        second_swapper([path], lora=None)
