import pytest
import torch

from tests.helpers.tiny_hosts import (
    OLD,
    TOTAL,
    batch,
    build_host,
    build_swapper,
    changed,
    new_swapper,
    snapshot,
    swin_host,
    trainable,
    vit_host,
)

HOSTS = [vit_host(), swin_host()]


def train(swapper, steps=4):
    """AdamW with a decay that would move any parameter it got hold of."""
    # As mmengine does: all parameters go in, frozen ones have no gradient.
    optimizer = torch.optim.AdamW(swapper.parameters(), lr=0.05, weight_decay=0.5)
    swapper.train()
    for seed in range(steps):
        optimizer.zero_grad()
        terms = swapper(*batch(('learn', 'retain'), seed=seed), mode='loss')
        sum(value for key, value in terms.items() if 'loss' in key).backward()
        optimizer.step()


def head_keys(swapper):
    return {f'host.{tensor.name}' for tensor in swapper.class_rows.tensors}


def with_policy(policy, host=None, build=build_swapper):
    return build(host, head=dict(old_classes=OLD, policy=policy, new_rows_init='xavier'))


@pytest.mark.parametrize('host', HOSTS, ids=['vit', 'swin'])
@pytest.mark.parametrize('policy', ['frozen', 'new_rows', 'all'])
def test_what_training_changes(policy, host):
    swapper = with_policy(policy, host)
    adapters = {f'host.{name}' for name in swapper.adapters}
    before = snapshot(swapper)
    train(swapper)
    after = snapshot(swapper)
    heads = head_keys(swapper)
    assert len(heads) == 2
    assert changed(before, after) == adapters | (set() if policy == 'frozen' else heads)
    for key in heads:
        moved = (
            (before[key] != after[key]).flatten(1).any(1)
            if after[key].dim() > 1
            else (before[key] != after[key])
        )
        wanted = {'frozen': [], 'new_rows': range(OLD, TOTAL), 'all': range(TOTAL)}[policy]
        assert moved.nonzero().flatten().tolist() == list(wanted), key


@pytest.mark.parametrize('host', HOSTS, ids=['vit', 'swin'])
def test_trainable_rows(host):
    swapper = with_policy('new_rows', host)
    shapes = {n: tuple(p.shape) for n, p in trainable(swapper).items() if 'lora' not in n}
    assert sorted(shapes.values()) == [(TOTAL - OLD,), (TOTAL - OLD, 32)]
    full = {n: tuple(p.shape) for n, p in trainable(with_policy('all', host)).items()}
    assert {(TOTAL,), (TOTAL, 32)} <= set(full.values())


@pytest.mark.parametrize('host', HOSTS, ids=['vit', 'swin'])
def test_the_state_dict_looks_like_the_one_of_a_frozen_head(host):
    swapper, frozen = with_policy('new_rows', host), with_policy('frozen', host)
    assert not changed(snapshot(swapper), snapshot(frozen))
    for key in head_keys(swapper):
        assert swapper.state_dict()[key].shape[0] == TOTAL
    assert not any('parametrizations' in key for key in swapper.state_dict())


@pytest.mark.parametrize('other', ['frozen', 'new_rows', 'all'])
def test_round_trip_between_policies(other):
    source = with_policy('new_rows')
    train(source)
    state = snapshot(source)
    target = with_policy(other)
    result = target.load_state_dict(state, strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert not changed(state, snapshot(target))
    back = with_policy('new_rows', build=new_swapper)
    back.load_state_dict(target.state_dict())
    assert not changed(state, snapshot(back))
    pictures = batch(['learn'])[0]['learn']
    assert torch.equal(back.eval()(pictures), source.eval()(pictures))


def test_loading_reaches_the_rows_that_train():
    """The optimizer holds the parameters: loading must write into them, not replace them."""
    swapper = with_policy('new_rows', build=new_swapper)
    held = list(swapper.parameters())
    plain = build_host(vit_host(TOTAL), seed=5).state_dict()
    swapper.load_state_dict(plain)
    assert all(a is b for a, b in zip(held, swapper.parameters(), strict=True))
    name = 'host.head.layers.head.parametrizations.weight.original'
    assert torch.equal(
        dict(swapper.named_parameters())[name], plain['head.layers.head.weight'][OLD:]
    )


def test_a_missing_head_is_an_error():
    swapper = with_policy('new_rows')
    state = swapper.state_dict()
    del state['host.head.layers.head.weight']
    with pytest.raises(RuntimeError, match='Missing key'):
        swapper.load_state_dict(state)
