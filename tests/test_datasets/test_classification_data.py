"""Shapes of classification data that users have: each works, or is refused by name (issue 24)."""

import json
import os
import shutil
import unicodedata

import mmengine.dataset  # noqa: F401
import numpy as np
import pytest
from PIL import Image

from knowswap_mm.datasets import ClassificationRoleView, ClassRoles, RoleDataset
from knowswap_mm.datasets.host_config import inner_config, is_wrapper, set_pipeline
from knowswap_mm.datasets.images import SUFFIXES, host_name, is_junk
from knowswap_mm.errors import ConfigError

LOAD = dict(type='mmpretrain.LoadImageFromFile')
PACK = dict(type='mmpretrain.PackInputs')
OLD = ClassRoles(['a', 'b', 'c', 'd', 'e'], ['x', 'y'], ['b'])


def view_of(dataset, role='retain', classes=OLD, **options):
    view = ClassificationRoleView(dataset, role, **options)
    view.bind(classes)
    return view


def labels_of(view):
    return [int(view.load(i)['data_samples'].gt_label) for i in range(len(view))]


class TestWrappers:
    """``RepeatDataset`` and its like around the data of a role."""

    @pytest.fixture
    def plain(self, host, picture_tree):
        return host(picture_tree / 'train')

    def test_repeat(self, plain):
        view = view_of(dict(type='RepeatDataset', times=2, dataset=plain), 'forget')
        assert len(view) == 24 and set(labels_of(view)) == {1}
        paths = [view.load(i)['data_samples'].img_path for i in range(24)]
        assert paths[:12] == paths[12:] and len(set(paths)) == 12

    def test_concat(self, plain, host, picture_tree):
        second = host(picture_tree / 'val')
        view = view_of(dict(type='ConcatDataset', datasets=[plain, second]), 'learn')
        assert len(view) == 2 * (12 + 6)
        assert labels_of(view) == [5] * 12 + [6] * 12 + [5] * 6 + [6] * 6

    def test_each_part_of_a_concat_has_its_own_pipeline(self, plain, host, picture_tree):
        small = host(picture_tree / 'val', dict(type='mmpretrain.Resize', scale=8))
        view = view_of(dict(type='ConcatDataset', datasets=[plain, small]), 'forget')
        shapes = [tuple(view.load(i)['inputs'].shape[1:]) for i in (0, len(view) - 1)]
        assert shapes == [(16, 16), (8, 8)]

    def test_class_balanced(self, picture_tree, host, tmp_path):
        root = shutil.copytree(picture_tree / 'train', tmp_path / 'train')
        for number in range(1, 12):
            (root / 'a' / f'{number:02d}.png').unlink()
        wrapped = dict(type='ClassBalancedDataset', oversample_thr=0.15, dataset=host(root))
        view = view_of(wrapped)
        counts = view.count_classes(view.indices)
        assert counts['a'] > 1 and counts['c'] >= 12
        folders = [
            view.load(i)['data_samples'].img_path.split(os.sep)[-2] for i in range(len(view))
        ]
        assert [OLD.names.index(name) for name in folders] == labels_of(view)

    def test_folds(self, plain):
        views = [
            view_of(dict(type='mmpretrain.KFoldDataset', num_splits=3, fold=1, test_mode=test,
                         seed=0, dataset=plain))
            for test in (False, True)
        ]  # fmt: skip
        paths = [{v.load(i)['data_samples'].img_path for i in range(len(v))} for v in views]
        assert len(paths[0] | paths[1]) == 48 and not paths[0] & paths[1]

    def test_wrappers_in_one_another(self, plain):
        inner = dict(type='RepeatDataset', times=2, dataset=plain)
        view = view_of(dict(type='ConcatDataset', datasets=[inner, plain]), 'forget')
        assert labels_of(view) == [1] * 36

    def test_a_role_dataset_of_wrappers_and_a_cache(self, plain):
        wrapped = dict(type='RepeatDataset', times=2, dataset=plain)
        data = RoleDataset(
            dict(forget=dict(dataset=wrapped)), OLD.to_dict(), cache=dict(size='1MB')
        )
        assert data.role_sizes == dict(forget=24)
        assert int(data[3]['data_samples'].gt_label) == 1


def annotated(root, names, labels, **metainfo):
    """The json of OpenMMLab 2.0."""
    items = [dict(img_path=n, gt_label=label) for n, label in zip(names, labels, strict=True)]
    content = dict(metainfo=metainfo or dict(classes=['a', 'b', 'x']), data_list=items)
    (root / 'ann.json').write_text(json.dumps(content))
    return str(root / 'ann.json')


class TestLabels:
    CLASSES = ClassRoles(['a', 'b'], ['x'], ['b'])

    def config(self, picture_tree, ann_file, kind='BaseDataset', **options):
        return dict(
            type=f'mmpretrain.{kind}', data_prefix=str(picture_tree / 'train'), ann_file=ann_file,
            pipeline=[LOAD, PACK], **options,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ('kind', 'labels'),
        [
            ('BaseDataset', [0, 1, 2, 1]),
            ('BaseDataset', ['a', 'b', 'x', 'b']),
            ('BaseDataset', [0.0, 1.0, 2.0, 1.0]),
            ('BaseDataset', [[0], [1], [2], [1]]),
            ('MultiLabelDataset', [[0], [1], [2], [1]]),
        ],
    )
    def test_numbers_names_and_lists_of_one(self, kind, labels, picture_tree, tmp_path):
        ann = annotated(tmp_path, ['a/00.png', 'b/00.png', 'x/00.png', 'b/01.png'], labels)
        config = self.config(picture_tree, ann, kind)
        view = view_of(config, 'forget', self.CLASSES)
        assert view.indices.tolist() == [1, 3] and labels_of(view) == [1, 1]
        assert labels_of(view_of(config, 'learn', self.CLASSES)) == [2]

    @pytest.mark.parametrize(
        ('bad', 'problem', 'fix'),
        [
            ([0, 1], 'has 2 labels', 'one label'),
            ([], 'has 0 labels', 'one label'),
            (3, 'has the label 3, which is no class', 'labels are 0 to 2'),
            (-1, 'has the label -1', 'labels are 0 to 2'),
            ('cat', "has the label 'cat'", 'or its names'),
            (0.5, 'has the label 0.5', 'labels are 0 to 2'),
            (None, 'has no label', 'with_label=True'),
        ],
    )
    @pytest.mark.parametrize('kind', ['BaseDataset', 'MultiLabelDataset'])
    def test_labels_that_are_none(self, kind, bad, problem, fix, picture_tree, tmp_path):
        ann = annotated(tmp_path, ['a/00.png', 'b/00.png'], [0, bad])
        with pytest.raises(ConfigError) as caught:
            view_of(self.config(picture_tree, ann, kind), 'forget', self.CLASSES)
        message = str(caught.value)
        assert message.startswith('dataset.roles.forget.dataset = ') and 'b/00.png' in message
        assert problem in message and fix in message.split('Fix: ')[1], message

    def test_without_labels(self, picture_tree):
        config = self.config(picture_tree, '', 'CustomDataset', with_label=False)
        config['metainfo'] = dict(classes=['a', 'b', 'x'])
        with pytest.raises(ConfigError, match='has no label .*with_label=True'):
            view_of(config, 'forget', self.CLASSES)

    def test_without_class_names(self, picture_tree, tmp_path):
        (tmp_path / 'ann.txt').write_text('a/00.png 0\n')
        with pytest.raises(ConfigError, match=r'dataset.metainfo.classes = None: .*no class names'):
            view_of(self.config(picture_tree, str(tmp_path / 'ann.txt'), 'CustomDataset'))

    @pytest.mark.parametrize(
        ('content', 'words'),
        [
            (b'a/00.png a\n', ["line 1 ends with no label: 'a/00.png a'", 'IMAGE LABEL']),
            (b'a/00.png 0\nb/00.png\n', ["line 2 ends with no label: 'b/00.png'"]),
            (b'a/00.png\t0\n', ['line 1 ends with no label']),
            (b'a/00.png 0\n\nb/00.png 1\n', ["line 2 ends with no label: ''"]),
            (b'b\xe4r/00.png 0\n', ['no text in UTF-8 (line 1)']),
            ('a/00.png 0\n'.encode('utf-16'), ['UTF-16', 'save it as UTF-8']),
            (b'\xef\xbb\xbfa/00.png 0\n', ['byte order mark', 'without the mark']),
        ],
    )
    def test_lists_that_the_host_cannot_read(self, content, words, picture_tree, tmp_path):
        (tmp_path / 'ann.txt').write_bytes(content)
        config = self.config(picture_tree, str(tmp_path / 'ann.txt'), 'CustomDataset')
        config['metainfo'] = dict(classes=['a', 'b', 'x'])
        with pytest.raises(ConfigError) as caught:
            view_of(config, 'forget', self.CLASSES)
        message = str(caught.value)
        assert message.startswith('dataset.roles.forget.dataset.ann_file = '), message
        assert all(word in message for word in words), message

    def test_spaces_in_names_and_ends_of_lines_of_windows(self, picture_tree, tmp_path):
        (tmp_path / 'my images').mkdir()
        shutil.copy(picture_tree / 'train/b/00.png', tmp_path / 'my images/1 b.png')
        (tmp_path / 'ann.txt').write_bytes(b'my images/1 b.png 1\r\n')
        config = self.config(picture_tree, str(tmp_path / 'ann.txt'), 'CustomDataset')
        config.update(data_prefix=str(tmp_path), metainfo=dict(classes=['a', 'b', 'x']))
        assert labels_of(view_of(config, 'forget', self.CLASSES)) == [1]

    def test_a_mark_in_the_names_of_the_classes(self, picture_tree, tmp_path):
        (tmp_path / 'names.txt').write_bytes(b'\xef\xbb\xbfa\nb\nx\n')
        ann = annotated(tmp_path, ['a/00.png'], [0], other=1)
        config = self.config(picture_tree, ann, classes=str(tmp_path / 'names.txt'))
        with pytest.raises(ConfigError, match=r"'\\ufeffa': a class name has a byte order mark"):
            view_of(config, 'forget', self.CLASSES)

    def test_a_pipeline_that_packs_nothing(self, picture_tree, tmp_path):
        ann = annotated(tmp_path, ['b/00.png'], [1])
        config = self.config(picture_tree, ann) | dict(pipeline=[LOAD])
        with pytest.raises(ConfigError, match=r'dataset.pipeline = .*PackInputs'):
            view_of(config, 'forget', self.CLASSES).load(0)


class TestFiles:
    """What lies in class folders."""

    @pytest.fixture
    def root(self, picture_tree, tmp_path):
        return shutil.copytree(picture_tree / 'train', tmp_path / 'train')

    @pytest.mark.parametrize('ending', [*SUFFIXES, '.JPG', '.WebP'])
    def test_every_ending_that_converters_take_is_read(self, ending, root, host):
        for path in (root / 'b').iterdir():
            path.unlink()
        kinds = dict(webp='WEBP', tif='TIFF', tiff='TIFF', bmp='BMP', dib='BMP', png='PNG')
        kind = kinds.get(ending[1:].lower(), 'PPM' if ending[1:4] in ('ppm', 'pgm', 'pbm', 'pnm')
                         else 'JPEG')  # fmt: skip
        Image.new('RGB', (16, 16), (200, 10, 10)).save(root / 'b' / f'1{ending}', kind)
        view = view_of(host(root), 'forget')
        assert len(view) == 1
        pixel = view.load(0)['inputs'][:, 8, 8].tolist()  # BGR
        assert np.allclose(pixel, [10, 10, 200], atol=12)

    def test_what_a_config_says_of_endings_holds(self, root, host, told):
        Image.new('RGB', (16, 16)).save(root / 'b' / 'a.webp')
        assert len(view_of(host(root, extensions=('.png',)), 'forget')) == 12
        assert "1 images in the classes ['b'] are not read by the host data set" in ''.join(told)

    def test_images_that_no_host_reads_are_counted(self, root, host, told):
        for name in ('1.heic', '2.HEIC', '3.gif', 'Thumbs.db', '._4.gif', 'notes.txt'):
            (root / 'b' / name).write_bytes(b'x')
        (root / 'c' / '1.avif').write_bytes(b'x')  # of another role
        assert len(view_of(host(root), 'forget')) == 12
        told = ''.join(told)
        assert "dataset.roles.forget: 3 images in the classes ['b'] are not read" in told
        assert '2 .heic' in told and '1 .gif' in told and 'avif' not in told

    def test_what_an_operating_system_leaves_is_no_class_and_no_image(self, root, host):
        (root / '.ipynb_checkpoints').mkdir()
        (root / '__MACOSX').mkdir()
        (root / 'b' / '._00.png').write_bytes(b'\0\5\x16\7')
        data = RoleDataset(
            dict(learn=dict(dataset=host(root)), forget=dict(dataset=host(root))),
            dict(old=list('abcde'), forget=['b'], learn=None) | dict(learn=['x', 'y']),
        )
        assert data.role_sizes == dict(learn=24, forget=12)
        assert data.views['learn'].occurring_classes == list('abcdexy')

    def test_images_in_folders_below_a_class(self, root, host):
        (root / 'b' / 'more').mkdir()
        shutil.copy(root / 'b' / '00.png', root / 'b' / 'more' / '00.png')
        assert len(view_of(host(root), 'forget')) == 13

    def test_an_empty_file_is_named_once(self, root, host, told):
        (root / 'b' / '03.png').write_bytes(b'')
        view = view_of(host(root), 'forget', on_bad_sample='skip')
        for _ in range(2):
            assert view.load(3)['data_samples'].img_path.endswith('04.png')
        told = ''.join(told)
        assert told.count('03.png cannot be loaded') == 1 and 'next image is used' in told

    def test_unicode_forms_of_a_folder(self, root, host):
        name = 'caf\xe9'
        (root / 'b').rename(root / unicodedata.normalize('NFD', name))
        classes = ClassRoles([name, 'a', 'c', 'd', 'e'], ['x'], [name])
        assert labels_of(view_of(host(root), 'forget', classes)) == [0] * 12
        mapped = view_of(host(root), 'forget', OLD, label_map={name: 'b'})
        assert labels_of(mapped) == [1] * 12


def test_names_for_the_host():
    assert [host_name(f'x/a{s}') for s in ('.JFIF', '.tiff', '.webp', '.png', '.JPEG')] == [
        'x/a.jpg', 'x/a.tif', 'x/a.png', 'x/a.png', 'x/a.JPEG',
    ]  # fmt: skip
    assert all(map(is_junk, ['._a.jpg', '.DS_Store', 'Thumbs.db', 'desktop.ini']))
    assert not is_junk('a.jpg')


def test_pipelines_within_wrappers():
    leaves = [dict(type='A', pipeline=[dict(type='x')]), dict(type='B', pipeline=[])]
    config = dict(type='R', times=2, dataset=dict(type='C', datasets=leaves))
    assert inner_config(config) is leaves[0] and is_wrapper(config) and not is_wrapper(leaves[0])
    assert is_wrapper(dict(type='mmengine.RepeatDataset')), 'known by its type alone'
    assert is_wrapper(dict(type='Mine', datasets=tuple(leaves)))
    assert not is_wrapper(dict(type='Mine', dataset='cifar', pipeline=[])), 'an option of its own'
    set_pipeline(config, [dict(type='y')])
    assert [leaf['pipeline'] for leaf in leaves] == [[dict(type='y')]] * 2
    assert leaves[0]['pipeline'][0] is not leaves[1]['pipeline'][0]
