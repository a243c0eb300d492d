import copy
import warnings

import pytest
import torch
from torch._dynamo import register_backend

from knowswap_mm.acceleration import CompiledBlocks
from knowswap_mm.acceleration.compiled_blocks import CompiledBlock
from knowswap_mm.models import merged_host
from tests.helpers.steps import EXPAND, LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    changed,
    randomise_adapters,
    snapshot,
    swin_host,
    vit_backbone,
    vit_host,
)

DATA = batch(ROLES[LEARN])
PICTURES = DATA[0]['learn']
compiled_graphs = []


@register_backend
def counting_test(graph, inputs):
    compiled_graphs.append(graph)
    return graph.forward


@register_backend
def failing_test(graph, inputs):
    raise RuntimeError('no compiler')


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    compiled_graphs.clear()
    yield
    torch._dynamo.reset()


def swapper_of(host=None, accelerations=(), **settings):
    """A swapper with trained adapters; ``settings`` are those of its compiled blocks, if any."""
    chosen = list(accelerations)
    if settings:
        chosen.append(dict(type='knowswap_mm.CompiledBlocks', **settings))
    return randomise_adapters(build_swapper(host or vit_host(), accelerations=chosen))


OTHERS = ['LeanLoRA', 'PackedAttention', 'FusedWindowAttention']


@pytest.mark.slow
@pytest.mark.parametrize(
    'host, others, backend',
    [
        (vit_host(), [], 'aot_eager'),
        (vit_host(), OTHERS, 'aot_eager'),
        (swin_host(), OTHERS, 'eager'),
    ],
    ids=['vit', 'vit with others', 'swin with others'],
)
def test_losses_gradients_and_outputs_are_equal(host, others, backend):
    plain = swapper_of(host, others)
    fast = swapper_of(host, others, backend=backend, fullgraph=True)
    for swapper in (plain, fast):
        swapper.train()
    assert_same(step(fast, *DATA), step(plain, *DATA), 1e-5)
    with torch.autocast('cpu', torch.bfloat16):
        found, wanted = step(fast, *DATA), step(plain, *DATA)
    for key in wanted[0]:
        # Decomposed operations round at other places.
        torch.testing.assert_close(found[0][key], wanted[0][key], rtol=0.02, atol=0.02)
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(PICTURES), plain.eval()(PICTURES))


def test_evaluation_is_not_compiled_unless_asked_for():
    swapper = swapper_of(backend='counting_test')
    with torch.no_grad():
        swapper.eval()(PICTURES)
    assert not compiled_graphs
    step(swapper.train(), *DATA)
    assert compiled_graphs


def test_equal_blocks_share_what_was_compiled():
    swapper = swapper_of(vit_host(layers=6), backend='counting_test', evaluation=True)
    with torch.no_grad():
        swapper.eval()(PICTURES)
        assert len(compiled_graphs) == 1
        swapper(PICTURES)
    assert len(compiled_graphs) == 1
    # In training the first block differs: its input has no gradient.
    swapper.train()
    for _ in range(2):
        step(swapper, *DATA)
    assert len(compiled_graphs) == 3


def test_drop_rates_are_no_reason_to_end_a_graph():
    backbone = vit_backbone(4) | dict(drop_path_rate=0.2, drop_rate=0.1)
    swapper = swapper_of(vit_host(backbone=backbone), backend='counting_test', fullgraph=True)
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.*cannot be compiled')
        step(swapper.train(), *DATA)
    assert len(compiled_graphs) == 4, 'each block has another rate'


def test_frozen_adapters_are_noticed():
    head = dict(old_classes=5, policy='new_rows', new_rows_init='xavier')
    accelerations = [dict(type='knowswap_mm.CompiledBlocks', backend='aot_eager')]
    swapper = randomise_adapters(build_swapper(head=head, accelerations=accelerations))
    twin = copy.deepcopy(swapper)
    for phase in (LEARN, EXPAND, LEARN):
        for each in (swapper, twin):
            each.set_trainable(each.schedule.phases[phase])
        data = batch(ROLES[phase], phase)
        assert_same(step(swapper, *data), step(twin, *data), 1e-5)


def test_names_and_weights_stay_and_copies_run_without():
    plain, fast = swapper_of(), swapper_of(backend='counting_test')
    assert not changed(snapshot(plain), snapshot(fast))
    assert [n for n, _ in plain.named_modules()] == [n for n, _ in fast.named_modules()]
    step(fast, *DATA)
    before = len(compiled_graphs)
    twin = copy.deepcopy(fast)
    assert all(block._compiled for block in fast.host.backbone.layers), 'the original stays'
    assert_same(step(twin, *DATA), step(plain, *DATA), 1e-5)
    torch.testing.assert_close(merged_host(fast)(PICTURES), merged_host(plain)(PICTURES))
    assert len(compiled_graphs) == before
    state = {key: -value for key, value in plain.state_dict().items()}
    for swapper in (plain, fast):
        swapper.load_state_dict(state)
    assert_same(step(fast, *DATA), step(plain, *DATA), 1e-5)


def test_a_block_that_cannot_be_compiled_runs_as_before():
    plain, fast = swapper_of(), swapper_of(backend='failing_test')
    with pytest.warns(UserWarning, match='TransformerEncoderLayer cannot be compiled.*Fix: leave'):
        found = step(fast, *DATA)
    assert_same(found, step(plain, *DATA), 0)
    with warnings.catch_warnings():  # it says so once
        warnings.filterwarnings('error', '.*cannot be compiled')
        assert_same(step(fast, *DATA), step(plain, *DATA), 0)


def test_errors_of_the_input_are_those_of_the_block():
    swapper = swapper_of(backend='eager')
    block = swapper.host.backbone.layers[0]
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match='normalized_shape'):
        warnings.simplefilter('ignore')
        block(torch.randn(2, 5, 31))


def test_only_named_blocks_are_compiled():
    assert CompiledBlocks(['SwinBlock']).apply(swapper_of().host) == 0
    host = swapper_of(swin_host()).host
    assert CompiledBlocks(['SwinBlock'], backend='eager').apply(host) == 3
    assert sum(isinstance(module, CompiledBlock) for module in host.modules()) == 3


@pytest.mark.parametrize(
    'settings, field',
    [
        (dict(blocks='SwinBlock'), 'blocks'),
        (dict(blocks=[1]), 'blocks'),
        (dict(backend='fast'), 'backend'),
        (dict(mode='fast'), 'mode'),
        (dict(mode='default', backend='eager'), 'mode'),
        (dict(limit=0), 'limit'),
        (dict(limit=True), 'limit'),
    ],
)
def test_bad_settings_name_their_key(settings, field, raises_config_error):
    with raises_config_error(f'model.accelerations.CompiledBlocks.{field}', settings[field]):
        CompiledBlocks(**settings)
