import collections
import itertools
import json
import multiprocessing

import pytest
import torch.distributed
from hypothesis import given
from hypothesis import strategies as st
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from torch.utils.data import DataLoader

from knowswap_mm.datasets import SampleAddress, SwapSampler
from knowswap_mm.roles import LEARN, RETAIN, ROLES
from knowswap_mm.schedule import PHASE_KINDS, SwapSchedule
from knowswap_mm.schedule.shares import role_counts

SIZES = dict(learn=7, forget=5, retain=11)


def schedule_of(phases, sizes=SIZES, batch_size=8, world_size=1):
    return SwapSchedule.from_config(dict(phases=phases), sizes, batch_size, world_size)


def stream(schedule, count, seed=0, **options) -> list[SampleAddress]:
    return list(itertools.islice(iter(SwapSampler(None, schedule, seed, **options)), count))


def serve_half(rank, folder):
    """What one of two gloo processes draws, without being told its rank."""
    store = f'file://{folder / "store"}'
    torch.distributed.init_process_group('gloo', store, rank=rank, world_size=2)
    schedule = schedule_of([dict(kind='learn', iters=3)], batch_size=4, world_size=2)
    served = list(itertools.islice(SwapSampler(None, schedule), 12))
    (folder / f'rank{rank}.json').write_text(json.dumps(served))
    torch.distributed.destroy_process_group()


@st.composite
def phase_configs(draw, batch_size, world_size=1):
    kind = draw(st.sampled_from(sorted(PHASE_KINDS)))
    primary = PHASE_KINDS[kind][:-1]
    split, left = {}, batch_size
    for position, role in enumerate(primary):
        others = len(primary) - position - 1
        split[role] = draw(st.integers(world_size, left - others * world_size))
        left -= split[role]
    if 0 < left < world_size:  # each process needs one
        split[primary[-1]], left = split[primary[-1]] + left, 0
    split[RETAIN] = left
    # The parser refuses a share that no batch could hold.
    shares = st.floats(0, 0.99).filter(lambda share: not share or round(share * left))
    return dict(
        kind=kind,
        iters=draw(st.integers(1, 6)),
        split=split,
        bound=1.0,
        merge_learned=draw(st.booleans()),
        merged_share=draw(st.none() | st.just(0.0) | shares),
    )


@st.composite
def shared_schedules(draw, world_sizes):
    """The same phases for one process and for several."""
    world_size = draw(world_sizes)
    batch_size = draw(st.integers(2, 7))
    total = batch_size * world_size
    phases = draw(st.lists(phase_configs(total, world_size), min_size=1, max_size=4))
    sizes = {role: draw(st.integers(1, 9)) for role in ROLES}
    return schedule_of(phases, sizes, total), schedule_of(phases, sizes, batch_size, world_size)


def schedules():
    return shared_schedules(st.just(1)).map(lambda pair: pair[0])


def batches(addresses, size):
    assert len(addresses) % size == 0
    return [addresses[i : i + size] for i in range(0, len(addresses), size)]


def pool_of(schedule, address):
    """What the draws of an address are counted in: its role, and the views it may come from."""
    phase = schedule.phases[address.phase]
    if address.role == RETAIN and phase.merge_learned and phase.merged_share is None:
        return RETAIN, (RETAIN, LEARN)
    return address.role, (address.source,)


def by_pool(schedule, addresses):
    pools = collections.defaultdict(list)
    for address in addresses:
        pools[pool_of(schedule, address)].append(address)
    return pools


class TestSplit:
    @given(schedules(), st.integers(0, 3))
    def test_every_batch_has_the_split_of_its_phase(self, schedule, beyond):
        size = schedule.batch_size
        served = stream(schedule, (schedule.total + beyond) * size)
        for iteration, batch in enumerate(batches(served, size)):
            phase = schedule.phase_at(iteration)
            roles = [role for role in ROLES for _ in range(phase.split[role])]
            assert [address.role for address in batch] == roles  # contiguous and in order
            assert {address.phase for address in batch} == {phase.index}
            for address in batch:
                assert 0 <= address.index < schedule.role_sizes[address.source]

    @given(schedules())
    def test_only_retain_slots_hold_another_source_and_only_when_merging(self, schedule):
        for address in stream(schedule, schedule.total * schedule.batch_size):
            if address.source != address.role:
                assert (address.role, address.source) == (RETAIN, LEARN)
                assert schedule.phases[address.phase].merge_learned

    def test_length_is_that_of_the_run(self):
        phases = [dict(kind='learn', iters=3), dict(kind='expand', iters=4)]
        assert len(SwapSampler(None, schedule_of(phases))) == 7 * 8


class TestSkip:
    @given(schedules(), st.data())
    def test_is_dropping_the_first_samples(self, schedule, data):
        run = schedule.total * schedule.batch_size
        skipped = data.draw(st.integers(0, run + 10))
        sampler = SwapSampler(None, schedule)
        sampler.skip(skipped)
        served = list(itertools.islice(iter(sampler), 15))
        assert served == stream(schedule, skipped + 15)[skipped:]

    @given(schedules(), st.integers(0, 20), st.integers(0, 20))
    def test_adds_up_and_holds_for_one_pass_only(self, schedule, first, second):
        sampler = SwapSampler(None, schedule)
        sampler.skip(first)
        sampler.skip(second)
        whole = stream(schedule, first + second + 9)
        assert list(itertools.islice(iter(sampler), 9)) == whole[first + second :]
        assert list(itertools.islice(iter(sampler), 9)) == whole[:9]

    def test_skips_a_very_long_way_at_once(self):
        schedule = schedule_of([dict(kind='learn', iters=10**9)])
        sampler = SwapSampler(None, schedule)
        sampler.skip(8 * (10**9 - 1))
        last = list(itertools.islice(iter(sampler), 8))
        assert [a.draw for a in last] == [*range(4 * 10**9 - 4, 4 * 10**9)] * 2

    @given(schedules(), st.randoms(use_true_random=False))
    def test_a_batch_does_not_depend_on_the_batches_asked_for_before(self, schedule, rng):
        in_order = batches(
            stream(schedule, schedule.total * schedule.batch_size), schedule.batch_size
        )
        sampler = SwapSampler(None, schedule)
        iterations = list(range(schedule.total)) * 2
        rng.shuffle(iterations)
        for iteration in iterations:
            assert sampler.batch(iteration) == in_order[iteration]


class TestRanks:
    @given(shared_schedules(st.integers(2, 4)))
    def test_together_see_what_one_process_sees(self, pair):
        """Also where a role cannot be shared evenly; all processes have equally many samples."""
        one, several = pair
        size, world_size = several.batch_size, several.world_size
        assert one.total == several.total and one.batch_size == size * world_size
        expected = batches(stream(one, one.total * size * world_size), size * world_size)
        ranks = [
            batches(stream(several, one.total * size, rank=rank, world_size=world_size), size)
            for rank in range(world_size)
        ]
        for iteration, whole in enumerate(expected):
            phase = several.phase_at(iteration)
            together = [address for rank in ranks for address in rank[iteration]]
            assert sorted(together) == sorted(whole)
            draws = [(pool_of(one, address), address.draw) for address in together]
            assert len(set(draws)) == len(draws)
            for rank, served in enumerate(ranks):
                counts = collections.Counter(address.role for address in served[iteration])
                assert counts == role_counts(phase, rank, world_size)
                for role, count in phase.split.items():
                    assert counts[role] in (count // world_size, -(-count // world_size))

    def test_even_shares_are_neighbours(self):
        """As they always were: a run of two processes repeats its numbers."""
        phases = [dict(kind='learn', iters=2, split=dict(learn=2, retain=2))]
        schedule = schedule_of(phases, dict(learn=20, retain=20), 4, world_size=2)
        draws = [[a.draw for a in stream(schedule, 8, rank=r, world_size=2)] for r in (0, 1)]
        assert draws == [[0, 1, 0, 1, 4, 5, 4, 5], [2, 3, 2, 3, 6, 7, 6, 7]]

    def test_see_disjoint_samples_within_an_epoch(self):
        phases = [dict(kind='learn', iters=5, split=dict(learn=2, retain=2))]
        schedule = schedule_of(phases, dict(learn=20, retain=20), 4, world_size=2)
        seen = [
            {a[:3] for a in stream(schedule, 5 * 4, rank=rank, world_size=2)} for rank in (0, 1)
        ]
        assert len(seen[0]) == len(seen[1]) == 20
        assert not seen[0] & seen[1]
        assert seen[0] | seen[1] == {(r, r, i) for r in (LEARN, RETAIN) for i in range(20)}

    def test_epochs_have_the_same_end_in_one_process_and_in_two(self):
        one = schedule_of([dict(kind='learn', epochs=3)], batch_size=8)
        two = schedule_of([dict(kind='learn', epochs=3)], batch_size=4, world_size=2)
        assert one.total == two.total
        ranks = [stream(two, two.total * 4, rank=rank, world_size=2) for rank in (0, 1)]
        assert sorted(ranks[0] + ranks[1]) == sorted(stream(one, one.total * 8))

    @pytest.mark.distributed
    def test_asks_the_process_group(self, tmp_path):
        """Two real gloo processes serve the two halves without being told their rank."""
        fork = multiprocessing.get_context('fork')
        ranks = [fork.Process(target=serve_half, args=(rank, tmp_path)) for rank in (0, 1)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(120)
        assert [process.exitcode for process in ranks] == [0, 0]
        schedule = schedule_of([dict(kind='learn', iters=3)], batch_size=4, world_size=2)
        for rank in (0, 1):
            expected = stream(schedule, 12, rank=rank, world_size=2)
            served = json.loads((tmp_path / f'rank{rank}.json').read_text())
            assert [SampleAddress(*address) for address in served] == expected


class TestPools:
    @given(shared_schedules(st.integers(1, 2)))
    def test_every_sample_comes_once_an_epoch(self, pair):
        schedule = pair[1]
        world_size = schedule.world_size
        count = schedule.total * schedule.batch_size
        served = [
            address
            for rank in range(world_size)
            for address in stream(schedule, count, rank=rank, world_size=world_size)
        ]
        for (_, sources), addresses in by_pool(schedule, served).items():
            addresses.sort(key=lambda a: a.draw)
            assert [a.draw for a in addresses] == list(range(len(addresses)))
            everything = {(s, i) for s in sources for i in range(schedule.role_sizes[s])}
            size = len(everything)
            for begin in range(0, len(addresses), size):
                epoch = [(a.source, a.index) for a in addresses[begin : begin + size]]
                assert len(set(epoch)) == len(epoch)
                if len(epoch) == size:
                    assert set(epoch) == everything

    def test_a_pool_goes_on_where_the_phase_before_left_it(self):
        phases = [
            dict(kind='learn', iters=1, split=dict(learn=5, retain=3)),
            dict(kind='forget', iters=2, bound=1.0),
            dict(kind='learn', iters=1),
        ]
        schedule = schedule_of(phases)
        pools = by_pool(schedule, stream(schedule, 4 * 8))
        assert [a.draw for a in pools[(RETAIN, (RETAIN,))]] == list(range(3 + 4 + 4 + 4))
        assert [a.draw for a in pools[(LEARN, (LEARN,))]] == list(range(5 + 4))

    def test_epochs_are_shuffled_differently(self):
        schedule = schedule_of([dict(kind='learn', iters=50)], dict(learn=50, retain=50))
        order = [a.index for a in stream(schedule, 50 * 8) if a.role == LEARN]
        epochs = [order[i : i + 50] for i in range(0, 200, 50)]
        assert len({tuple(epoch) for epoch in epochs}) == 4
        assert sorted(epochs[0]) == list(range(50)) != epochs[0]

    def test_roles_are_shuffled_differently(self):
        schedule = schedule_of([dict(kind='learn', iters=20)], dict(learn=80, retain=80))
        orders = collections.defaultdict(list)
        for address in stream(schedule, 20 * 8):
            orders[address.role].append(address.index)
        assert orders[LEARN] != orders[RETAIN]


class TestMerging:
    merged = dict(kind='forget', bound=1.0, split=dict(forget=2, retain=6), merge_learned=True)

    def test_draws_in_proportion_to_the_sizes(self):
        schedule = schedule_of([dict(self.merged, epochs=4)], dict(learn=12, forget=3, retain=30))
        assert schedule.total == 4 * 7
        served = [a for a in stream(schedule, 28 * 8) if a.role == RETAIN]
        for begin in range(0, 42 * 4, 42):
            sources = collections.Counter(a.source for a in served[begin : begin + 42])
            assert sources == dict(learn=12, retain=30)

    @pytest.mark.parametrize(('share', 'learned'), [(0, 0), (0.3, 2), (0.5, 3), (0.9, 5)])
    def test_fixed_share_holds_in_every_batch(self, share, learned):
        schedule = schedule_of([dict(self.merged, iters=9, merged_share=share)])
        for batch in batches(stream(schedule, 9 * 8), 8):
            assert [a.role for a in batch] == ['forget'] * 2 + [RETAIN] * 6
            assert [a.source for a in batch[2:]].count(LEARN) == learned

    def test_without_merging_a_share_means_nothing(self):
        plain = dict(self.merged, iters=9, merge_learned=False)
        schedules = [schedule_of([dict(plain, merged_share=s)]) for s in (None, 0.5)]
        assert stream(schedules[0], 72) == stream(schedules[1], 72)
        assert {a.source for a in stream(schedules[0], 72)} == {'forget', RETAIN}


class TestSeed:
    schedule = schedule_of([dict(kind='learn', iters=9)], dict(learn=50, retain=50))

    def test_fixes_the_stream(self):
        assert stream(self.schedule, 72, seed=3) == stream(self.schedule, 72, seed=3)
        assert stream(self.schedule, 72, seed=3) != stream(self.schedule, 72, seed=4)

    def test_none_is_zero(self):
        assert stream(self.schedule, 72, seed=None) == stream(self.schedule, 72, seed=0)

    def test_is_the_same_on_every_machine(self):
        """A change of these numbers would give every resumed run another data order."""
        served = stream(self.schedule, 16, seed=3)
        assert [a.index for a in served if a.role == LEARN] == [11, 17, 0, 34, 36, 5, 22, 13]


def test_is_registered_and_needs_a_schedule(raises_config_error):
    sampler_type = 'knowswap_mm.SwapSampler'
    schedule = schedule_of([dict(kind='learn', iters=1)])
    built = MMENGINE_DATA_SAMPLERS.build(dict(type=sampler_type, schedule=schedule, dataset=[]))
    assert type(built) is SwapSampler
    key = 'train_dataloader.sampler.schedule'
    with raises_config_error(key, None, 'no schedule', 'knowswap_mm.SwapRunner'):
        SwapSampler([])


class Addresses:
    """Hands the address itself back, through the loader's real worker processes."""

    def __getitem__(self, address):
        assert isinstance(address, SampleAddress)
        return address


@pytest.mark.parametrize('skipped', [0, 11])
def test_data_loader_workers_keep_the_order(skipped):
    phases = [dict(kind='learn', iters=4), dict(kind='forget', iters=4, bound=1.0)]
    schedule = schedule_of(phases)
    orders = []
    for options in ({}, dict(num_workers=2, prefetch_factor=4)):
        sampler = SwapSampler(None, schedule)
        sampler.skip(skipped)
        loader = DataLoader(Addresses(), 8, sampler=sampler, collate_fn=list, **options)
        orders.append(list(itertools.chain.from_iterable(itertools.islice(loader, 9))))
    assert orders[0] == orders[1] == stream(schedule, skipped + 72)[skipped:]
