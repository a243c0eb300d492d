import gc
import itertools
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset

from knowswap_mm.datasets import RoleDataset, SampleAddress, SwapSampler
from knowswap_mm.errors import ConfigError, SampleError
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.schedule import SwapSchedule

CLASSES = dict(old=['d', 'b', 'a', 'e', 'c'], learn=['y', 'x'], forget=['e', 'a'])
NAMES = [*CLASSES['old'], *CLASSES['learn']]
FOLDERS = dict(learn={'x', 'y'}, forget={'a', 'e'}, retain={'b', 'c', 'd'})


@pytest.fixture(scope='module')
def plain(picture_tree, host):
    """All roles over one data set and class lists."""
    dataset = host(picture_tree / 'train')
    return RoleDataset({role: dict(dataset=dataset) for role in ROLES}, CLASSES)


def test_roles_of_one_data_set_read_it_once(picture_tree, host, augmentation, monkeypatch):
    dataset, other = host(picture_tree / 'train'), host(picture_tree / 'train', *augmentation)
    read, kind = [], CustomDataset.load_data_list
    monkeypatch.setattr(CustomDataset, 'load_data_list', lambda d: read.append(d) or kind(d))
    roles = dict(learn=dataset, forget=dataset, retain=other)
    views = RoleDataset({role: dict(dataset=dataset) for role in roles}, CLASSES).views
    assert len(read) == 1
    learn, forget = views['learn'].host, views['forget'].host
    assert learn.data_bytes is forget.data_bytes and learn.pipeline is not forget.pipeline
    assert learn.pipeline.transforms[0] is not forget.pipeline.transforms[0]
    forget._metainfo['classes'] = ()
    forget.get_subset_([0])
    assert len(learn) > 1 and learn.metainfo['classes']
    read.clear()
    views = RoleDataset({role: dict(dataset=each) for role, each in roles.items()}, CLASSES).views
    assert len(read) == 2, 'another pipeline is another data set'
    read.clear()
    RoleDataset(dict(learn=dict(dataset=dataset)), CLASSES)
    assert len(read) == 1, 'nothing is kept from one role data set to the next'


@pytest.fixture(scope='module')
def augmented(picture_tree, host, augmentation):
    dataset = host(picture_tree / 'train', *augmentation)
    return RoleDataset({role: dict(dataset=dataset) for role in ROLES}, CLASSES)


def folder_of(sample):
    return Path(sample['data_samples'].img_path).parent.name


def rng_state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


class TestOneDataSetAndClassLists:
    def test_every_picture_comes_once_with_its_role_and_label(self, plain):
        assert plain.role_sizes == dict(learn=24, forget=24, retain=36)
        samples = [plain[i] for i in range(len(plain))]
        assert len({sample['data_samples'].img_path for sample in samples}) == 84
        for sample in samples:
            folder, data_sample = folder_of(sample), sample['data_samples']
            assert folder in FOLDERS[data_sample.role]
            assert int(data_sample.gt_label) == NAMES.index(folder)
        # One role after the other, so that a report can tell them apart.
        order = [role for role, _ in itertools.groupby(s['data_samples'].role for s in samples)]
        assert order == [LEARN, FORGET, RETAIN]

    def test_metainfo_holds_the_union(self, plain):
        assert plain.metainfo == dict(
            classes=('d', 'b', 'a', 'e', 'c', 'y', 'x'),
            class_roles=dict(learn=('y', 'x'), forget=('e', 'a'), retain=('d', 'b', 'c')),
            role_metainfo=dict(learn={}, forget={}, retain={}),
        )

    def test_is_built_from_a_config(self, picture_tree, host):
        role = dict(dataset=host(picture_tree / 'val'))
        config = dict(
            type='knowswap_mm.RoleDataset', roles=dict(learn=role, retain=role), classes=CLASSES
        )
        dataset = MMENGINE_DATASETS.build(config)
        assert type(dataset) is RoleDataset
        assert dataset.role_sizes == dict(learn=12, retain=18)

    def test_roles_are_in_their_order_whatever_the_config_has(self, picture_tree, host):
        role = dict(dataset=host(picture_tree / 'val'))
        dataset = RoleDataset({r: role for r in reversed(ROLES)}, CLASSES)
        assert list(dataset.views) == list(dataset.role_sizes) == list(ROLES)


class TestOfficialThreeFolders:
    numbers = dict(d=0, b=1, a=2, e=3, c=10, p=4, q=5, r=6, s=7, t=8, u=9)

    @pytest.fixture(scope='class')
    @classmethod
    def root(cls, picture_tree, tmp_path_factory):
        """``<role>/train/<k>_<wnid>`` with the classes of the swap, and fillers for 4 to 9."""
        root = tmp_path_factory.mktemp('official')
        for name in 'xy':
            shutil.copytree(picture_tree / 'val' / name, root / LEARN / 'train' / f'n_{name}')
        for name, number in cls.numbers.items():
            role = FORGET if name in 'ae' else RETAIN
            source = picture_tree / 'val' / (name if name in 'abcde' else 'b')
            shutil.copytree(source, root / role / 'train' / f'{number}_n{name}')
        return root

    def make(self, root, host):
        roles = {role: dict(dataset=host(root / role / 'train')) for role in ROLES}
        return RoleDataset(roles, dict(old='leading_integer'))

    def test_label_is_the_leading_number(self, root, host):
        dataset = self.make(root, host)
        assert dataset.role_sizes == dict(learn=12, forget=12, retain=54)
        assert len(dataset.classes.old) == 11
        for i in range(len(dataset)):
            sample = dataset[i]
            folder, label = folder_of(sample), int(sample['data_samples'].gt_label)
            if sample['data_samples'].role == LEARN:
                assert label == {'n_x': 11, 'n_y': 12}[folder]
            else:
                assert label == int(folder.split('_')[0])
        assert dataset.metainfo['classes'][10] == '10_nc'

    def test_gap(self, root, host, tmp_path, raises_config_error):
        copy = shutil.copytree(root, tmp_path / 'gap')
        shutil.rmtree(copy / RETAIN / 'train' / '4_np')
        with raises_config_error('swap.classes.old', 'leading_integer', 'no folder for [4]'):
            self.make(copy, host)


class TestConfigErrors:
    def test_unknown_role(self, picture_tree, host, raises_config_error):
        with raises_config_error('dataset.roles', 'keep', 'unknown role', 'retain'):
            RoleDataset(dict(keep=dict(dataset=host(picture_tree / 'val'))), CLASSES)

    @pytest.mark.parametrize('role', [dict(fraction=0.1), None, 'train'])
    def test_role_without_data_set(self, role, raises_config_error):
        with raises_config_error('dataset.roles.learn', role, 'no data set', 'learn.dataset'):
            RoleDataset(dict(learn=role), CLASSES)

    def test_class_that_the_data_lacks(self, picture_tree, host, raises_config_error):
        role = dict(dataset=host(picture_tree / 'val'))
        with raises_config_error('dataset.roles.learn', 'zebra', 'not in the data'):
            RoleDataset(dict(learn=role), CLASSES | dict(learn=['x', 'zebra']))

    def test_role_without_samples(self, picture_tree, host, raises_config_error):
        role = dict(dataset=host(picture_tree / 'val'))
        with raises_config_error('dataset.roles.retain', 'retain', 'no sample'):
            RoleDataset(dict(retain=role), CLASSES | dict(forget=CLASSES['old']))

    def test_unknown_class(self, picture_tree, host, raises_config_error):
        role = dict(dataset=host(picture_tree / 'val'))
        with raises_config_error('swap.classes.forget', 'z', 'unknown class'):
            RoleDataset(dict(retain=role), CLASSES | dict(forget=['z']))


class TestDrawnIndices:
    def make(self, picture_tree, host, seed):
        role = dict(dataset=host(picture_tree / 'train'))
        tenth = dict(role, fraction=0.25, seed=seed)
        roles = dict(learn=role, forget=tenth, retain=dict(tenth, fraction_by='class'))
        return RoleDataset(roles, CLASSES)

    def test_tell_which_pictures_are_used(self, picture_tree, host):
        dataset = self.make(picture_tree, host, 7)
        drawn = dataset.drawn_indices
        assert json.loads(json.dumps(drawn)) == drawn
        assert {role: len(indices) for role, indices in drawn.items()} == dict(forget=6, retain=9)
        assert dataset.role_sizes == dict(learn=24, forget=6, retain=9)
        host_pictures = sorted((picture_tree / 'train').glob('*/*.png'))
        for role, indices in drawn.items():
            expected = {str(host_pictures[i]) for i in indices}
            view = dataset.views[role]
            assert {view.load(i)['data_samples'].img_path for i in range(len(view))} == expected

    def test_are_fixed_by_the_seed(self, picture_tree, host):
        drawn = [self.make(picture_tree, host, seed).drawn_indices for seed in (7, 7, 8)]
        assert drawn[0] == drawn[1] != drawn[2]


class TestPlainIndex:
    def test_negative(self, plain):
        for i in (1, 36, 37, 84):
            path = plain[-i]['data_samples'].img_path
            assert path == plain[len(plain) - i]['data_samples'].img_path

    def test_numpy_integer(self, plain):
        assert plain[np.int64(30)]['data_samples'].img_path == plain[30]['data_samples'].img_path

    @pytest.mark.parametrize('index', [84, 1000, -85, -1000])
    def test_out_of_range(self, index, plain):
        with pytest.raises(IndexError, match=f'sample {index} of 84'):
            plain[index]

    def test_no_roles_at_all(self):
        empty = RoleDataset({}, CLASSES)
        assert len(empty) == 0
        with pytest.raises(IndexError):
            empty[0]

    def test_iteration_ends(self, plain):
        assert sum(1 for _ in plain) == 84

    def test_random_pipeline_is_fixed_for_evaluation(self, augmented):
        first = [augmented[i]['inputs'] for i in range(10)]
        random.seed(99), np.random.seed(99)
        assert all(torch.equal(augmented[i]['inputs'], first[i]) for i in reversed(range(10)))


class TestAddress:
    def test_learned_sample_in_the_role_of_retain(self, plain):
        sample = plain[SampleAddress(RETAIN, LEARN, 13, draw=5, phase=1)]
        data_sample = sample['data_samples']
        assert (data_sample.role, data_sample.phase, data_sample.sample_index) == (RETAIN, 1, 13)
        assert folder_of(sample) == 'y'
        assert int(data_sample.gt_label) == NAMES.index('y')

    def test_sample_without_a_view(self, plain, picture_tree, host):
        only = RoleDataset(dict(learn=dict(dataset=host(picture_tree / 'val'))), CLASSES)
        with pytest.raises(KeyError, match='forget'):
            only[SampleAddress(FORGET, FORGET, 0, 0, 0)]


class TestAugmentation:
    def crops(self, dataset, draws, role=RETAIN, source=RETAIN, index=0):
        """The image once per number of the draw."""
        return [dataset[SampleAddress(role, source, index, d, 0)]['inputs'] for d in draws]

    def test_is_a_function_of_the_draw(self, augmented):
        first = self.crops(augmented, range(12))
        again = self.crops(augmented, reversed(range(12)))[::-1]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert len({crop.numpy().tobytes() for crop in first}) > 6

    def test_differs_between_the_roles_of_a_sample(self, augmented):
        as_learn = self.crops(augmented, range(8), LEARN, LEARN)
        as_retain = self.crops(augmented, range(8), RETAIN, LEARN)
        assert any(not torch.equal(a, b) for a, b in zip(as_learn, as_retain, strict=True))

    def test_depends_on_the_seed(self, augmented, picture_tree, host, augmentation):
        role = dict(dataset=host(picture_tree / 'train', *augmentation))
        crops = []
        for seed in (0, 0, 1):
            dataset = RoleDataset(dict(retain=role), CLASSES, seed=seed)
            crops.append(torch.stack(self.crops(dataset, range(8))))
        assert torch.equal(crops[0], crops[1])
        assert not torch.equal(crops[0], crops[2])
        assert torch.equal(crops[0], torch.stack(self.crops(augmented, range(8))))

    def test_leaves_the_random_state_of_the_process_alone(self, augmented, plain):
        before = rng_state()
        self.crops(augmented, range(3))
        assert augmented[5] is not None
        assert rng_state() == before

    def test_leaves_it_alone_when_a_picture_is_broken(
        self, picture_tree, host, augmentation, tmp_path
    ):
        root = shutil.copytree(picture_tree / 'val', tmp_path / 'val')
        (root / 'b' / '00.png').write_bytes(b'')
        role = dict(dataset=host(root, *augmentation))
        dataset = RoleDataset(dict(retain=role), CLASSES)
        before = rng_state()
        with pytest.raises(SampleError):
            dataset[SampleAddress(RETAIN, RETAIN, 0, 0, 0)]
        assert rng_state() == before


def training_loader(dataset, **options):
    """A training loader built as mmengine's runner builds it."""
    phases = [
        dict(kind='learn', iters=3, split=dict(learn=3, retain=5)),
        dict(kind='forget', iters=3, bound=1.0, merge_learned=True),
    ]
    schedule = SwapSchedule.from_config(dict(phases=phases), dataset.role_sizes, 8)
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            sampler=dict(type='knowswap_mm.SwapSampler', schedule=schedule),
            batch_size=8,
            collate_fn=dict(type='default_collate'),
            **options,
        ),
        seed=3,
    )
    assert isinstance(loader.sampler, SwapSampler)
    return loader


def batches(dataset, count, skipped=0, **options):
    loader = training_loader(dataset, **options)
    loader.sampler.skip(skipped * 8)
    return list(itertools.islice(loader, count))


def same(one, other):
    if not torch.equal(one['inputs'], other['inputs']):
        return False
    facts = [
        [
            (s.img_path, s.role, s.phase, s.sample_index, s.flip, int(s.gt_label))
            for s in batch['data_samples']
        ]
        for batch in (one, other)
    ]
    return facts[0] == facts[1]


class TestLoader:
    @pytest.fixture(scope='class')
    @classmethod
    def served(cls, augmented):
        return batches(augmented, 6, num_workers=0)

    def test_batches_carry_role_phase_and_label(self, served):
        for iteration, batch in enumerate(served):
            data_samples = batch['data_samples']
            expected = [LEARN] * 3 + [RETAIN] * 5 if iteration < 3 else [FORGET] * 4 + [RETAIN] * 4
            assert [s.role for s in data_samples] == expected
            assert {s.phase for s in data_samples} == {0 if iteration < 3 else 1}
            for s in data_samples:
                folder = Path(s.img_path).parent.name
                assert int(s.gt_label) == NAMES.index(folder)
                allowed = FOLDERS[s.role]
                if s.role == RETAIN and iteration >= 3:
                    allowed = allowed | FOLDERS[LEARN]
                assert folder in allowed
        merged = [s for batch in served[3:] for s in batch['data_samples'] if s.role == RETAIN]
        assert any(Path(s.img_path).parent.name in FOLDERS[LEARN] for s in merged)

    def test_workers_change_nothing(self, augmented, served):
        random.seed(123), np.random.seed(123), torch.manual_seed(123)
        by_workers = batches(
            augmented, 6, num_workers=2, prefetch_factor=3, persistent_workers=False
        )
        assert all(same(a, b) for a, b in zip(served, by_workers, strict=True))

    @pytest.mark.parametrize('skipped', [2, 3, 4])
    def test_resumed_run_sees_the_rest(self, skipped, augmented, served):
        rest = batches(augmented, 6 - skipped, skipped, num_workers=0)
        assert all(same(a, b) for a, b in zip(served[skipped:], rest, strict=True))

    @pytest.mark.parametrize('workers', [0, 1])
    def test_broken_picture(self, workers, picture_tree, host, tmp_path):
        root = shutil.copytree(picture_tree / 'val', tmp_path / 'val')
        for path in root.glob('[bcd]/*.png'):
            path.write_bytes(b'')
        role = dict(dataset=host(root))
        dataset = RoleDataset(dict(learn=role, forget=role, retain=role), CLASSES)
        iterator = iter(training_loader(dataset, num_workers=workers))
        with pytest.raises(SampleError, match=r'val/[bcd]/0\d\.png cannot be loaded'):
            next(iterator)
        gc.collect()  # the error holds the loader, whose worker would take 5 s to be given up

    def test_skipping_is_the_same_with_and_without_workers(self, picture_tree, host, tmp_path):
        root = shutil.copytree(picture_tree / 'val', tmp_path / 'val')
        for name in ('b/00.png', 'b/01.png', 'x/05.png', 'e/03.png'):
            (root / name).write_bytes(b'')
        role = dict(dataset=host(root), on_bad_sample='skip')
        dataset = RoleDataset({r: role for r in ROLES}, CLASSES)
        alone, by_workers = (batches(dataset, 6, num_workers=n) for n in (0, 2))
        for one, other in zip(alone, by_workers, strict=True):
            paths = [[s.img_path for s in batch['data_samples']] for batch in (one, other)]
            assert paths[0] == paths[1]
            assert torch.equal(one['inputs'], other['inputs'])


class TestOptions:
    def test_unknown_option_of_a_role_is_named(self, picture_tree, host):
        roles = {role: dict(dataset=host(picture_tree / 'train')) for role in ROLES}
        roles[FORGET]['fractoin'] = 0.1
        with pytest.raises(ConfigError, match=r'dataset\.roles\.forget\.fractoin = 0\.1: unknown'):
            RoleDataset(roles, CLASSES)

    def test_a_host_that_reads_late_is_read(self, picture_tree, host):
        roles = {RETAIN: dict(dataset=dict(host(picture_tree / 'train'), lazy_init=True))}
        assert RoleDataset(roles, CLASSES).role_sizes == dict(retain=36)


def test_a_draw_tells_from_which_view_it_came(plain):
    sample = plain[SampleAddress(RETAIN, LEARN, 0, 0, 1)]['data_samples']
    assert (sample.role, sample.source, sample.phase) == (RETAIN, LEARN, 1)
