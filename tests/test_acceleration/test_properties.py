"""What every acceleration keeps: losses, gradients, saved weights, copies, merging, stacks."""

import copy

import pytest
import torch

from knowswap_mm.acceleration import accelerate
from knowswap_mm.lora import AdapterFile
from knowswap_mm.models import merged_host, original_host, unload_all, unload_newest
from tests.helpers.stacks import TARGETS, first_swap, second_swapper, train
from tests.helpers.steps import EXPAND, JOINT, LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    changed,
    randomise_adapters,
    snapshot,
    swin_host,
    trainable,
    vit_host,
)

HOSTS = dict(vit=vit_host(), swin=swin_host())
PICTURES = batch(['learn'])[0]['learn']
CASES = [
    ['LeanLoRA'],
    ['PackedAttention'],
    ['LinearPatches'],
    ['LeanLoRA', 'PackedAttention', 'LinearPatches'],
    ['FusedWindowAttention'],
    ['LinearPatches', 'FusedWindowAttention', 'LeanLoRA'],
]


@pytest.fixture(params=CASES, ids='+'.join)
def names(request):
    return request.param


def host_for(names):
    """A host on which all of these accelerations change something."""
    return 'swin' if 'FusedWindowAttention' in names else 'vit'


def swapper_of(host, names=(), **settings):
    """A swapper with trained adapters and these accelerations."""
    head = dict(old_classes=5, policy='new_rows', new_rows_init='xavier')
    settings = dict(head=head, accelerations=list(names)) | settings
    return randomise_adapters(build_swapper(HOSTS[host], **settings))


def bf16():
    return torch.autocast('cpu', torch.bfloat16)


def distance(found, wanted):
    """Euclidean, over all gradients."""
    squares = [(found[key] - wanted[key]).float().square().sum() for key in wanted]
    return torch.stack(squares).sum().sqrt()


@pytest.mark.parametrize('phase', [LEARN, JOINT, EXPAND])
@pytest.mark.parametrize('host', HOSTS)
def test_losses_and_gradients_are_equal(names, host, phase):
    data = batch(ROLES[phase], phase)
    swappers = [swapper_of(host), swapper_of(host, names)]
    for swapper in swappers:
        swapper.train()
        swapper.set_trainable(swapper.schedule.phases[phase])
    wanted, found = (step(swapper, *data) for swapper in swappers)
    assert_same(found, wanted, 1e-5)


@pytest.mark.parametrize('host', HOSTS)
def test_autocast_is_no_further_from_fp32_than_before(names, host):
    """The sums are rounded at other places, so what is compared is the distance to fp32."""
    data = batch(ROLES[JOINT], JOINT)
    plain, fast = swapper_of(host), swapper_of(host, names)
    exact = step(plain, *data)
    with bf16():
        wanted, found = step(plain, *data), step(fast, *data)
    error, least = distance(found[1], exact[1]), distance(wanted[1], exact[1])
    assert 0 < error < 1.3 * least
    for key in exact[0]:
        if key.startswith('loss'):
            # Losses near 5 through two blocks with 8 bits.
            torch.testing.assert_close(found[0][key], wanted[0][key], rtol=0.02, atol=0.02)


@pytest.mark.parametrize('host', HOSTS)
def test_what_is_saved_is_the_same(names, host):
    plain, fast = swapper_of(host), swapper_of(host, names)
    before = snapshot(plain)
    with bf16(), torch.no_grad():
        fast(PICTURES)
    assert not changed(before, snapshot(fast))
    assert list(plain.state_dict()) == list(fast.state_dict())
    assert [n for n, _ in plain.named_modules()] == [n for n, _ in fast.named_modules()]
    assert list(trainable(plain)) == list(trainable(fast))
    with bf16(), torch.no_grad():  # what was loaded is what is used
        other = {k: v * 1.5 if v.is_floating_point() else v for k, v in before.items()}
        plain.load_state_dict(other)
        fast.load_state_dict(other)
        torch.testing.assert_close(fast(PICTURES), plain(PICTURES), rtol=0.05, atol=0.05)


def test_a_copy_is_independent(names):
    swapper = swapper_of(host_for(names), names)
    with bf16(), torch.no_grad():
        swapper(PICTURES)  # whatever is kept is kept now
    kept, data = snapshot(swapper), batch(ROLES[LEARN])
    twin = copy.deepcopy(swapper)
    assert_same(step(twin, *data), step(swapper, *data), 0)
    moved = {k: v + 0.1 if v.is_floating_point() else v for k, v in kept.items()}
    twin.load_state_dict(moved)
    torch.optim.AdamW(trainable(twin).values(), lr=0.1).step()
    assert not changed(kept, snapshot(swapper))
    plain = swapper_of(host_for(names))
    plain.load_state_dict(twin.state_dict())
    with bf16(), torch.no_grad():
        torch.testing.assert_close(twin(PICTURES), plain(PICTURES), rtol=0.05, atol=0.05)


@pytest.mark.parametrize('host', HOSTS)
def test_merged_and_original_hosts_are_the_same(names, host):
    plain, fast = swapper_of(host), swapper_of(host, names)
    for make in (merged_host, original_host, unload_newest):
        with bf16(), torch.no_grad():
            fast(PICTURES)
        wanted, found = make(plain), make(fast)
        assert not changed(wanted.state_dict(), found.state_dict())
        assert list(wanted.state_dict()) == list(found.state_dict())
        torch.testing.assert_close(found(PICTURES), wanted(PICTURES), rtol=1e-5, atol=1e-5)
        with bf16(), torch.no_grad():
            torch.testing.assert_close(found(PICTURES), wanted(PICTURES), rtol=0.05, atol=0.05)
    wanted, found = unload_all(plain), unload_all(fast)
    assert not changed(wanted, found)


def test_adapters_of_earlier_swaps_lie_beneath(names, tmp_path):
    AdapterFile(tmp_path / 'plain').save(first_swap(lora=TARGETS))
    AdapterFile(tmp_path / 'fast').save(first_swap(lora=TARGETS, accelerations=names))
    manifests = [(tmp_path / name / 'manifest.json').read_text() for name in ('plain', 'fast')]
    assert manifests[0] == manifests[1]
    data = batch(ROLES[LEARN])
    results = []
    for chosen in ([], names):
        swapper = second_swapper([tmp_path / 'plain'], lora=dict(), accelerations=chosen)
        results.append(step(train(swapper, 3), *data))
        assert set(swapper.adapters) < set(trainable(swapper.host))
        assert not any('.swap1.' in name for name in trainable(swapper))
    assert_same(results[1], results[0], 1e-5)


def test_resumed_equals_uninterrupted(names):
    data = batch(ROLES[LEARN])

    def trained(steps, state=None):
        swapper = swapper_of(host_for(names), names).train()
        optimizer = torch.optim.AdamW(trainable(swapper).values(), lr=0.01)
        if state:
            swapper.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(steps):
            with bf16():
                step(swapper, *data)
            optimizer.step()
        return copy.deepcopy((swapper.state_dict(), optimizer.state_dict()))

    whole, resumed = trained(4), trained(2, trained(2))
    assert not changed(whole[0], resumed[0])


@pytest.fixture
def process_group(tmp_path):
    store = f'file://{tmp_path}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_distributed_training_sees_all_gradients(names, process_group):
    data = batch(ROLES[LEARN])
    swapper = swapper_of(host_for(names), names)
    wanted = step(copy.deepcopy(swapper), *data)
    wrapped = torch.nn.parallel.DistributedDataParallel(swapper)
    for _ in range(2):  # the second step fails if a gradient of the first was not reduced
        terms, gradients = step(wrapped, *data)
    assert_same((terms, {k.removeprefix('module.'): g for k, g in gradients.items()}), wanted)


def test_applying_twice_changes_nothing_more(names):
    swapper = swapper_of(host_for(names), names)
    assert all(swapper.accelerated[name] > 0 for name in names)
    assert not any(accelerate(swapper.host, names).values())
