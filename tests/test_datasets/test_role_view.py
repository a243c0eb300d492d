import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from knowswap_mm.datasets import ClassificationRoleView, ClassRoles
from knowswap_mm.errors import SampleError

# Unlike the alphabetical order of the folders, in which the host numbers them.
CLASSES = ClassRoles(['d', 'b', 'a', 'e', 'c'], ['y', 'x'], ['e', 'a'])


def make_view(dataset, role='retain', classes=CLASSES, **options):
    view = ClassificationRoleView(dataset, role, **options)
    view.bind(classes)
    return view


def folder_of(sample):
    return Path(sample['data_samples'].img_path).parent.name


def label_of(sample):
    return int(sample['data_samples'].gt_label)


def broken_copy(tree, tmp_path, *names):
    """A copy of the training images in which these images cannot be decoded."""
    root = shutil.copytree(tree / 'train', tmp_path / 'broken')
    for name in names:
        (root / name).write_bytes(b'no image at all')
    return root


class TestLabels:
    @pytest.mark.parametrize(
        ('role', 'folders'), [('learn', 'xy'), ('forget', 'ae'), ('retain', 'bcd')]
    )
    def test_pictures_of_the_role_with_the_labels_of_the_swap(
        self, role, folders, picture_tree, host
    ):
        view = make_view(host(picture_tree / 'train'), role)
        assert len(view) == 12 * len(folders)
        samples = [view.load(i) for i in range(len(view))]
        assert {folder_of(sample) for sample in samples} == set(folders)
        for position, sample in enumerate(samples):
            assert label_of(sample) == CLASSES.names.index(folder_of(sample))
            assert sample['data_samples'].role == role
            assert sample['data_samples'].sample_index == position
            assert tuple(sample['inputs'].shape) == (3, 16, 16)
        assert len({sample['data_samples'].img_path for sample in samples}) == len(view)

    def test_host_keeps_its_own_labels(self, picture_tree, host):
        view = make_view(host(picture_tree / 'train'))
        before = [view.host.get_data_info(i)['gt_label'] for i in range(84)]
        for _ in range(2):
            assert label_of(view.load(0)) == 1  # b
        assert [view.host.get_data_info(i)['gt_label'] for i in range(84)] == before

    def test_host_that_shares_its_memory_keeps_its_own_labels(self, picture_tree, host):
        view = make_view(host(picture_tree / 'train', serialize_data=False))
        assert [label_of(view.load(0)) for _ in range(3)] == [1, 1, 1]

    @pytest.mark.parametrize('load', ['LoadImageFromFile', 'mmcv.LoadImageFromFile'])
    def test_transforms_are_found_in_the_scope_of_the_host(self, load, picture_tree, host):
        view = make_view(host(picture_tree / 'train', load=dict(type=load)))
        assert view.load(0)['inputs'].shape[0] == 3

    def test_annotation_file_instead_of_folders(self, picture_tree, host, tmp_path):
        lines = ['a/00.png 2', 'b/00.png 0', 'x/00.png 1', 'b/01.png 0']
        (tmp_path / 'ann.txt').write_text('\n'.join(lines))
        metainfo = dict(classes=('b', 'x', 'a'))
        dataset = host(
            picture_tree / 'train', ann_file=str(tmp_path / 'ann.txt'), metainfo=metainfo
        )
        view = make_view(dataset, classes=ClassRoles(['a', 'b'], ['x'], ['a']))
        assert view.indices.tolist() == [1, 3]
        assert [label_of(view.load(i)) for i in (0, 1)] == [1, 1]

    def test_label_map(self, picture_tree, host):
        classes = ClassRoles(['dog', 'bee', 'c', 'ant', 'e'], ['x', 'y'], ['bee'])
        label_map = dict(a='ant', b='bee', d='dog', unused='c')
        view = make_view(host(picture_tree / 'train'), 'forget', classes, label_map=label_map)
        assert view.class_names == ['ant', 'bee', 'c', 'dog', 'e', 'x', 'y']
        assert {(folder_of(view.load(i)), label_of(view.load(i))) for i in range(12)} == {('b', 1)}

    def test_label_map_joins_host_classes(self, picture_tree, host):
        classes = ClassRoles(['a', 'b', 'c', 'd', 'e'], ['z'])
        label_map = dict(x='z', y='z')
        view = make_view(host(picture_tree / 'train'), 'learn', classes, label_map=label_map)
        samples = [view.load(i) for i in range(len(view))]
        assert [folder_of(s) for s in samples] == ['x'] * 12 + ['y'] * 12
        assert {label_of(sample) for sample in samples} == {5}

    def test_extra_metainfo(self, picture_tree, host):
        view = make_view(host(picture_tree / 'train'), 'learn')
        data_sample = view.load(3, role='retain', phase=2)['data_samples']
        assert (data_sample.role, data_sample.phase, data_sample.sample_index) == ('retain', 2, 3)

    def test_is_registered(self, picture_tree, host):
        config = dict(
            type='knowswap_mm.ClassificationRoleView',
            dataset=host(picture_tree / 'val'),
            role='learn',
        )
        assert type(MMENGINE_DATASETS.build(config)) is ClassificationRoleView


class TestFraction:
    def draw(self, picture_tree, host, **options):
        return make_view(host(picture_tree / 'train'), **options).indices

    def counts(self, indices):
        """Images by folder; the host lists 12 of each folder in alphabetical order."""
        return np.bincount(indices // 12, minlength=7).tolist()

    def test_everything(self, picture_tree, host):
        assert self.draw(picture_tree, host).tolist() == list(range(12, 48))

    @pytest.mark.parametrize('fraction_by', ['set', 'class'])
    def test_is_fixed_by_the_seed(self, fraction_by, picture_tree, host):
        options = dict(fraction=0.5, fraction_by=fraction_by)
        drawn = [self.draw(picture_tree, host, seed=s, **options).tolist() for s in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]
        for indices in drawn:
            assert indices == sorted(set(indices))
            assert set(indices) <= set(range(12, 48))

    def test_set_draws_from_all_alike(self, picture_tree, host):
        drawn = [
            self.counts(self.draw(picture_tree, host, fraction=0.25, seed=s)) for s in range(8)
        ]
        assert all(sum(counts) == 9 for counts in drawn)
        assert any(counts != [0, 3, 3, 3, 0, 0, 0] for counts in drawn)

    def test_class_draws_from_every_class(self, picture_tree, host):
        for seed in range(3):
            indices = self.draw(picture_tree, host, fraction=0.25, fraction_by='class', seed=seed)
            assert self.counts(indices) == [0, 3, 3, 3, 0, 0, 0]

    def test_roles_draw_differently(self, picture_tree, host):
        forget = self.draw(picture_tree, host, role='forget', fraction=0.5)
        learn = self.draw(picture_tree, host, role='learn', fraction=0.5)
        places = [np.flatnonzero(np.isin(range(start, start + 12), indices)).tolist()
                  for start, indices in ((0, forget), (60, learn))]  # fmt: skip
        assert places[0] != places[1]

    def test_keeps_at_least_one(self, picture_tree, host):
        assert len(self.draw(picture_tree, host, fraction=1e-6)) == 1
        by_class = self.draw(picture_tree, host, fraction=1e-6, fraction_by='class')
        assert self.counts(by_class) == [0, 1, 1, 1, 0, 0, 0]

    def test_drawn_pictures_keep_their_labels(self, picture_tree, host):
        view = make_view(host(picture_tree / 'train'), fraction=0.3, seed=5)
        for i in range(len(view)):
            sample = view.load(i)
            assert sample['data_samples'].sample_idx == view.indices[i]
            assert label_of(sample) == CLASSES.names.index(folder_of(sample))

    @pytest.mark.parametrize('fraction', [0, -0.1, 1.1, float('nan'), '0.1', None])
    def test_bad_fraction(self, fraction, picture_tree, host, raises_config_error):
        with raises_config_error('dataset.roles.forget.fraction', fraction, '(0, 1]', '0.1'):
            ClassificationRoleView(host(picture_tree / 'train'), 'forget', fraction=fraction)

    def test_bad_way_to_draw(self, picture_tree, host, raises_config_error):
        with raises_config_error('dataset.roles.forget.fraction_by', 'role', "('set', 'class')"):
            ClassificationRoleView(host(picture_tree / 'train'), 'forget', fraction_by='role')


class TestBind:
    def test_class_without_pictures_in_the_data(self, picture_tree, host, raises_config_error):
        classes = ClassRoles(['a', 'b'], ['x', 'zebra'])
        with raises_config_error(
            'dataset.roles.learn', 'zebra', 'not in the data', 'swap.classes.learn'
        ):
            make_view(host(picture_tree / 'train'), 'learn', classes)

    def test_role_without_classes(self, picture_tree, host, raises_config_error):
        classes = ClassRoles(['a', 'b', 'c', 'd', 'e'], ['x'])
        with raises_config_error('dataset.roles.forget', 'forget', 'no sample', 'swap.classes'):
            make_view(host(picture_tree / 'train'), 'forget', classes)

    @pytest.mark.parametrize('fraction', [1.0, 0.5])
    @pytest.mark.parametrize('fraction_by', ['set', 'class'])
    def test_class_with_an_empty_folder(
        self, fraction, fraction_by, picture_tree, host, tmp_path, raises_config_error
    ):
        root = shutil.copytree(picture_tree / 'val', tmp_path / 'val')
        (root / 'z').mkdir()
        with raises_config_error('dataset.roles.learn', 'learn', 'no sample', 'folder'):
            make_view(
                host(root),
                'learn',
                ClassRoles(['a'], ['z']),
                fraction=fraction,
                fraction_by=fraction_by,
            )

    def test_classes_of_other_roles_may_be_absent(self, picture_tree, host):
        classes = ClassRoles(['nowhere', 'a'], ['nor here'], ['a'])
        view = make_view(host(picture_tree / 'train'), 'forget', classes)
        assert {label_of(view.load(i)) for i in range(len(view))} == {1}


class TestBadPictures:
    def test_raise_names_the_picture_and_the_fix(self, picture_tree, host, tmp_path):
        root = broken_copy(picture_tree, tmp_path, 'b/01.png')
        view = make_view(host(root))
        assert folder_of(view.load(0)) == 'b'
        with pytest.raises(SampleError) as caught:
            view.load(1)
        message = str(caught.value)
        assert str(root / 'b' / '01.png') in message
        assert message.startswith('dataset.roles.retain: ')
        assert "dataset.roles.retain.on_bad_sample='skip'" in message
        assert caught.value.__cause__ is not None

    def test_missing_picture(self, picture_tree, host, tmp_path):
        root = broken_copy(picture_tree, tmp_path)
        view = make_view(host(root))
        (root / 'b' / '02.png').unlink()
        with pytest.raises(SampleError, match=r'02\.png'):
            view.load(2)

    def test_transform_that_drops_the_picture(self, picture_tree, host, tmp_path):
        root = broken_copy(picture_tree, tmp_path)
        view = make_view(host(root, load=dict(type='LoadImageFromFile', ignore_empty=True)))
        (root / 'b' / '02.png').unlink()
        # The pipeline has no use for it, as for an empty crop: the next one comes instead.
        assert view.load(2)['data_samples'].sample_index == 3
        for path in root.rglob('*.png'):
            path.unlink()
        with pytest.raises(SampleError, match='cannot be loaded'):
            view.load(2)

    def test_skip_takes_the_next_one_with_its_own_label(self, picture_tree, host, tmp_path):
        root = broken_copy(picture_tree, tmp_path, 'b/10.png', 'b/11.png', 'd/11.png')
        view = make_view(host(root), on_bad_sample='skip')
        for _ in range(2):
            sample = view.load(10)  # the last two of b; then c begins
            assert (folder_of(sample), label_of(sample)) == ('c', CLASSES.names.index('c'))
            assert sample['data_samples'].sample_index == 12
        wrapped = view.load(35)  # the last one of the view
        assert (folder_of(wrapped), label_of(wrapped)) == ('b', CLASSES.names.index('b'))
        assert wrapped['data_samples'].sample_index == 0
        good = view.load(9)
        assert good['data_samples'].sample_index == 9

    def test_skip_stays_in_the_drawn_fraction(self, picture_tree, host, tmp_path):
        root = broken_copy(picture_tree, tmp_path)
        options = dict(fraction=0.2, on_bad_sample='skip')
        view = make_view(host(root), **options)
        first, second = (view.load(i)['data_samples'].img_path for i in (0, 1))
        Path(first).write_bytes(b'')
        assert view.load(0)['data_samples'].img_path == second

    @pytest.mark.parametrize('choice', ['raise', 'skip'])
    def test_no_good_picture_at_all(self, choice, picture_tree, host, tmp_path):
        names = [f'{name}/{number:02d}.png' for name in 'xy' for number in range(12)]
        root = broken_copy(picture_tree, tmp_path, *names)
        view = make_view(host(root), 'learn', on_bad_sample=choice)
        with pytest.raises(SampleError, match=r'(x|y)/\d\d\.png cannot be loaded'):
            view.load(0)

    def test_unknown_choice(self, picture_tree, host, raises_config_error):
        key = 'dataset.roles.learn.on_bad_sample'
        with raises_config_error(key, 'ignore', 'unknown choice', "'skip'"):
            ClassificationRoleView(host(picture_tree / 'train'), 'learn', on_bad_sample='ignore')


class TestForStockTools:
    def test_written_pictures_have_the_labels_that_are_asked_for(
        self, picture_tree, host, tmp_path
    ):
        view = make_view(host(picture_tree / 'train'), 'retain')
        numbers = {CLASSES.names.index('d'): 4, CLASSES.names.index('b'): 0}
        names = ['b', '', '', '', 'd']
        config, metainfo = view.write_plain(tmp_path / 'new', numbers, names)
        assert metainfo == {}
        data = MMENGINE_DATASETS.build(config)
        assert data.metainfo['classes'] == names
        assert len(data) == 24
        for sample in (data[i] for i in range(len(data))):
            assert names[label_of(sample)] == folder_of(sample)

    def test_nothing_is_written_if_nothing_is_left(
        self, picture_tree, host, tmp_path, raises_config_error
    ):
        view = make_view(host(picture_tree / 'train'), 'retain')
        with raises_config_error('dataset.roles.retain', 'retain', 'no sample has a class'):
            view.write_plain(tmp_path / 'new', {}, [])
        assert not list(tmp_path.iterdir())

    def test_a_view_of_another_task_may_not_know_how(
        self, picture_tree, host, tmp_path, raises_config_error, monkeypatch
    ):
        view = make_view(host(picture_tree / 'train'))
        monkeypatch.delattr(ClassificationRoleView, 'write_plain')
        key, name = 'dataset.roles.retain', 'ClassificationRoleView'
        with raises_config_error(key, name, 'writes no data for stock tools'):
            view.write_plain(tmp_path / 'new', {}, [])
