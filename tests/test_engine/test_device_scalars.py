"""A hub that is fed through DeviceScalars holds what one holds that was fed at once."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer, MessageHub

from knowswap_mm.engine.log import DeviceHistory, DeviceScalars

_numbers = itertools.count()
KEYS = ('train/loss', 'train/lr', 'train/hits', 'train/learn/raw')
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool]


def new_hub():
    return MessageHub.get_instance(f'device_scalars_{next(_numbers)}')


def state_of(hub):
    """What a checkpoint holds of a hub, in a form that can be compared."""
    state = hub.state_dict()
    for history in state['log_scalars'].values():
        assert type(history) is HistoryBuffer
    scalars = [
        (key, *((part.dtype, part.tolist()) for part in history.data), history.max_length)
        for key, history in state['log_scalars'].items()
    ]
    return repr(scalars), list(state['resumed_keys'].items())


def feed(hub, values, at_once):
    if at_once:
        for key, value in values.items():
            hub.update_scalar(key, value)
    else:
        DeviceScalars.of(hub).add(values)


@st.composite
def steps(draw):
    """Some steps of training: each logs some keys, forgets some, reads some."""
    dtypes = {key: draw(st.sampled_from([*DTYPES, None])) for key in KEYS}

    def value(key):
        number = draw(st.sampled_from([0, 1, 2.5, -3.25, float('nan'), float('inf'), 1 / 3, 7e4]))
        if dtypes[key] is None:
            return number
        if not dtypes[key].is_floating_point:
            number = int(abs(number) < 2)
        shape = draw(st.sampled_from([(), (1,), (1, 1)]))
        return torch.full(shape, number, dtype=dtypes[key])

    keys = st.lists(st.sampled_from(KEYS), unique=True)
    return [
        ({key: value(key) for key in draw(keys)}, draw(keys), draw(keys))
        for _ in range(draw(st.integers(1, 6)))
    ]


@given(steps())
def test_equals_a_hub_that_was_fed_at_once(planned):
    late, early = new_hub(), new_hub()
    for values, forgotten, read in planned:
        for hub in (late, early):
            feed(hub, values, at_once=hub is early)
        for key in set(read) & set(early.log_scalars):
            assert repr(late.get_scalar(key).current()) == repr(early.get_scalar(key).current())
        for hub in (late, early):  # as PhaseHook does where a phase begins
            for key in forgotten:
                hub.log_scalars.pop(key, None)
    assert list(late.log_scalars) == list(early.log_scalars)
    assert state_of(late) == state_of(early)


def test_every_way_of_reading_fetches():
    values = [3.0, 1.0, 2.0, 4.0]
    plain = HistoryBuffer(values, [1] * 4)
    readers = [
        lambda history: [part.tolist() for part in history.data],
        lambda history: history.current(),
        lambda history: (history.mean(), history.mean(2)),
        lambda history: (history.max(), history.max(2)),
        lambda history: (history.min(), history.min(3)),
        lambda history: history.statistics('mean', 3),
        lambda history: [part.tolist() for part in copy.deepcopy(history).data],
        lambda history: [part.tolist() for part in pickle.loads(pickle.dumps(history)).data],
    ]
    for reader in readers:
        hub = new_hub()
        for value in values:
            DeviceScalars.of(hub).add(dict(key=torch.tensor(value)))
        assert reader(hub.get_scalar('key')) == reader(plain)


def test_copies_are_plain_and_their_own():
    hub = new_hub()
    DeviceScalars.of(hub).add(dict(key=torch.tensor(1.0)))
    history = hub.get_scalar('key')
    assert isinstance(history, DeviceHistory)
    for other in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert type(other) is HistoryBuffer
        assert other.__dict__.keys() >= {'max_length', '_log_history', '_count_history'}
        other.update(5.0)
    assert history.data[0].tolist() == [1.0]


def test_a_number_comes_behind_the_values_on_the_device():
    hub = new_hub()
    scalars = DeviceScalars.of(hub)
    scalars.add(dict(key=torch.tensor(1.0)))
    hub.update_scalar('key', 2.0, count=3)
    scalars.add(dict(key=torch.tensor(4.0)))
    log, count = hub.get_scalar('key').data
    assert log.tolist() == [1.0, 2.0, 4.0] and count.tolist() == [1, 3, 1]


def test_goes_on_from_a_resumed_history():
    hub, longest = new_hub(), 3
    state = dict(
        log_scalars=dict(key=HistoryBuffer([1.0, 2.0], [1, 1], longest)),
        runtime_info={},
        resumed_keys=dict(key=True),
    )
    hub.load_state_dict(state)
    for value in (3.0, 4.0):
        DeviceScalars.of(hub).add(dict(key=torch.tensor(value)))
    assert hub.get_scalar('key').data[0].tolist() == [2.0, 3.0, 4.0]


def test_values_are_copied_and_graphs_are_let_go():
    hub = new_hub()
    value = torch.ones((), requires_grad=True) * 2
    scalars = DeviceScalars.of(hub)
    scalars.add(dict(key=value))
    value.data.fill_(9.0)
    assert not any(stack.requires_grad for _, stack in scalars._waiting)
    assert hub.get_scalar('key').current() == 2.0


def test_what_is_no_scalar_is_refused_as_the_hub_does():
    scalars = DeviceScalars.of(new_hub())
    with pytest.raises(AssertionError):
        scalars.add(dict(key=torch.ones(2)))
    scalars.add(dict(key=np.float32(2)))


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(DeviceScalars, 'LIMIT', 4)
    hub = new_hub()
    scalars = DeviceScalars.of(hub)
    for value in range(5):
        scalars.add(dict(a=torch.tensor(float(value)), b=torch.tensor(0.0)))
        assert scalars._count < 4
    assert hub.get_scalar('a').data[0].tolist() == [0, 1, 2, 3, 4]


def test_writers_to_one_hub_share_the_copy():
    hub, other = new_hub(), new_hub()
    assert DeviceScalars.of(hub) is DeviceScalars.of(hub) is not DeviceScalars.of(other)
