"""Roles over semantic maps: which images, which pixels, which labels."""

import json

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from knowswap_mm.datasets.semantic_index import SemanticIndex
from knowswap_mm.errors import ConfigError
from tests.helpers.segmentation_configs import NEW, OLD
from tests.helpers.segmentation_configs import scenes as scenes_config

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
# Ids 1, 2, 3 are a, b, c; 0 is unlabelled. The two rows of an image are alike.
MAPS = dict(a=[1, 1, 0], ab=[1, 2, 2], b=[2, 2, 2], c=[3, 0, 0], none=[0, 0, 0], bc=[2, 3, 3])


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def write_maps(root, maps, mode='L'):
    for folder in ('pictures', 'maps'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, values in maps.items():
        Image.new('RGB', (len(values), 2)).save(root / 'pictures' / f'{name}.png')
        picture = Image.fromarray(np.array([values, values], np.uint8))
        picture.convert(mode).save(root / 'maps' / f'{name}.png')
    return root


def host(root, classes=('a', 'b', 'c'), **options):
    options = dict(reduce_zero_label=True) | options
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='pictures', seg_map_path='maps'),
        img_suffix='.png',
        metainfo=dict(classes=list(classes)),
        pipeline=LOAD,
        **options,
    )


def roles(root, forget=None, classes=None, names=('a', 'b', 'c'), **data):
    """A data set with the forget view over the maps; `forget` holds its options."""
    options = dict(cache_dir=str(root / 'cache')) | (forget or {})
    return DATASETS.build(
        dict(
            type='knowswap_mm.RoleDataset',
            view='knowswap_mm.SemanticRoleView',
            roles=dict(forget=dict(dataset=host(root, names, **data), **options)),
            classes=dict(old=['a', 'b', 'c'], learn=[], forget=['b']) | (classes or {}),
        )
    )


def found(dataset):
    """Labels of all samples by image name."""
    samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
    return {
        sample.img_path.rsplit('/', 1)[1][:-4]: sample.gt_sem_seg.data[0, 0].tolist()
        for sample in samples
    }


def test_pixels_of_others_are_unlabelled_stay_or_drop_the_picture(tmp_path):
    root = write_maps(tmp_path, MAPS)
    assert found(roles(root)) == dict(ab=[255, 1, 1], b=[1, 1, 1], bc=[1, 255, 255])
    kept = dict(ab=[0, 1, 1], b=[1, 1, 1], bc=[1, 2, 2])
    assert found(roles(root, dict(mixed='keep'))) == kept
    assert found(roles(root, dict(mixed='drop_image'))) == dict(b=[1, 1, 1])
    # A class outside of the swap is unlabelled even if pixels of others stay.
    two = roles(root, dict(mixed='keep'), dict(old=['a', 'b']))
    assert found(two) == dict(ab=[0, 1, 1], b=[1, 1, 1], bc=[1, 255, 255])


def test_few_pixels_do_not_count(tmp_path):
    root = write_maps(tmp_path, MAPS)
    assert set(found(roles(root, dict(min_pixels=3)))) == {'ab', 'b'}
    # Neither do they drop an image.
    options = dict(min_pixels=3, mixed='drop_image')
    assert found(roles(root, options)) == dict(ab=[255, 1, 1], b=[1, 1, 1])


def test_ids_from_150_on(tmp_path):
    """The official learn sets have their classes there."""
    root = write_maps(tmp_path, dict(x=[150, 151, 255], y=[255, 255, 255]))
    options = dict(first_id=150)
    learnt = dict(names=('a', 'b'), reduce_zero_label=False)
    assert found(roles(root, options, dict(old=['z', 'b', 'a']), **learnt)) == dict(x=[255, 1, 255])
    with pytest.raises(ConfigError, match=r'maps/x\.png.*id 150, which is no class'):
        roles(root, **learnt)


def test_a_palette_picture_is_a_map(tmp_path):
    assert set(found(roles(write_maps(tmp_path, dict(b=[2, 2, 0]), mode='P')))) == {'b'}


def test_label_map_of_the_host_and_of_the_role(tmp_path):
    """mmseg takes a part of the classes of a data set by their names."""
    root = write_maps(tmp_path, {k: v * 2 for k, v in MAPS.items()})
    data = dict(type='ADE20KDataset', classes=('building', 'sky'))
    config = host(root) | dict(type=data['type'], metainfo=dict(classes=data['classes']))
    view = dict(dataset=config, cache_dir=str(root / 'cache'), label_map=dict(sky='air'))
    dataset = DATASETS.build(
        dict(
            type='knowswap_mm.RoleDataset',
            view='knowswap_mm.SemanticRoleView',
            roles=dict(forget=dict(**view, mixed='keep')),
            classes=dict(old=['air', 'building'], forget=['air']),
        )
    )
    # In ADE20K 1 is wall (left out), 2 building, 3 sky.
    assert found(dataset) == dict(c=[0, 255, 255] * 2, bc=[1, 0, 0] * 2)


def test_numbers_of_the_classes_order_the_head(tmp_path):
    dataset = roles(write_maps(tmp_path, MAPS), None, dict(old='category_id'))
    assert dataset.classes.names == ['a', 'b', 'c']


@pytest.mark.parametrize('by', ['set', 'class'])
def test_fraction(tmp_path, by):
    maps = {f'b{i}': [2, 2] for i in range(20)} | {f'c{i}': [3, 3] for i in range(4)}
    options = dict(fraction=0.5, fraction_by=by)
    names = found(roles(write_maps(tmp_path, maps), options, dict(forget=['b', 'c'])))
    assert len(names) == 12
    if by == 'class':
        assert sum(name.startswith('c') for name in names) == 2


def test_bad_maps(tmp_path):
    root = write_maps(tmp_path, MAPS)
    with pytest.raises(ConfigError, match=r'c\.png.*the id 3, which is no class'):
        roles(root, classes=dict(old=['a', 'b']), names=('a', 'b'))
    with pytest.raises(ConfigError, match='all 1 images of the role hold other classes'):
        only = write_maps(tmp_path / 'mixed', dict(ab=[1, 2]))
        roles(only, dict(mixed='drop_image'))
    with pytest.raises(ConfigError, match='the role has no sample'):
        roles(write_maps(tmp_path / 'empty', dict(a=[1, 1])))
    with pytest.raises(ConfigError, match='no class names'):
        roles(root, names=())
    config = host(root)
    del config['data_prefix']['seg_map_path']
    with pytest.raises(ConfigError, match='there are no maps'):
        DATASETS.build(dict(type='knowswap_mm.SemanticRoleView', role='forget', dataset=config))


def index(folder, *names):
    paths = [str(folder / name) for name in names]
    return SemanticIndex(paths, folder / 'cache', 'key').counts


def test_index_is_read_once_and_follows_the_files(tmp_path, monkeypatch):
    root = write_maps(tmp_path, MAPS) / 'maps'
    counts = index(root, 'ab.png', 'none.png')
    assert counts.shape == (2, 256)
    assert counts[0, 1] == 2 and counts[0, 2] == 4 and counts[1, 0] == 6 and counts.sum() == 12
    reads = []
    real = SemanticIndex._count
    monkeypatch.setattr(SemanticIndex, '_count', lambda s, p: reads.append(p) or real(s, p))
    np.testing.assert_array_equal(index(root, 'ab.png', 'none.png'), counts)
    assert not reads
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(root / 'none.png')
    assert index(root, 'ab.png', 'none.png')[1, 7] == 81 and len(reads) == 2
    for file in (root / 'cache').iterdir():  # a damaged cache is no obstacle
        file.write_bytes(b'damaged')
    assert index(root, 'ab.png', 'none.png')[1, 7] == 81


def test_index_names_the_file_that_is_no_map(tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    Image.new('RGB', (2, 2), (1, 2, 3)).save(tmp_path / 'colour.png')
    Image.fromarray(np.full((2, 2), 300, np.uint16)).save(tmp_path / 'deep.png')
    for name, problem in (
        ('text', 'no image'),
        ('colour', '3 dimensions'),
        ('deep', 'the id 300'),
        ('missing', 'cannot be read'),
    ):
        with pytest.raises(ConfigError, match=problem) as caught:
            index(tmp_path, f'{name}.png')
        assert caught.value.key == 'key' and f'{name}.png' in str(caught.value)


def test_scenes_by_role(scenes):
    """The generated scenes: a forget image keeps the pixels of its shape alone."""
    dataset = DATASETS.build(
        dict(
            type='knowswap_mm.RoleDataset',
            view='knowswap_mm.SemanticRoleView',
            roles={
                role: dict(
                    dataset=scenes_config(scenes, role, 'val', LOAD, True),
                    cache_dir=str(scenes / 'cache'),
                )
                for role in ('learn', 'forget', 'retain')
            },
            classes=dict(old=list(OLD), learn=list(NEW), forget=['star']),
        )
    )
    seen = {}
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples']
        seen.setdefault(sample.role, set()).update(np.unique(sample.gt_sem_seg.data))
    labels = {name: i for i, name in enumerate((*OLD, *NEW))}
    assert seen['forget'] - {255} == {labels['star']}
    assert seen['learn'] - {255} == {labels[name] for name in NEW}
    assert seen['retain'] - {255} <= {labels[n] for n in OLD} - {labels['star']}
    counts = json.loads((scenes / 'old' / 'manifest.json').read_text())['counts']
    assert dataset.role_sizes['retain'] <= counts['val']
