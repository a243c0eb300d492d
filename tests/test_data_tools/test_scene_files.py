"""Scenes as images with COCO annotations and semantic maps."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from knowswap_mm.data_tools.generators.scenes import STUFF, read_scene_manifest, write_shape_scenes

CLASSES, SPLITS = ('disc', 'star', 'bar'), dict(train=30, val=8)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes') / 'made'
    assert write_shape_scenes(folder, CLASSES, SPLITS, 64, seed=3)
    return folder


def objects(root, split):
    content = json.loads((root / 'annotations' / f'instances_{split}.json').read_text())
    by_picture = {image['id']: (image, []) for image in content['images']}
    for item in content['annotations']:
        by_picture[item['image_id']][1].append(item)
    return list(by_picture.values())


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob('*.*'))}


@pytest.mark.parametrize('split', SPLITS)
def test_boxes_masks_and_maps_agree(root, split):
    found = objects(root, split)
    assert len(found) == SPLITS[split]
    for image, items in found:
        assert 1 <= len(items) <= 4
        values = np.asarray(Image.open(root / 'semantic' / split / image['file_name']))
        assert Image.open(root / split / image['file_name']).size == values.shape[::-1] == (64, 64)
        shapes = np.zeros((64, 64), bool)
        for item in items:
            size = item['segmentation']['size']
            mask = rle.decode(rle.frPyObjects(item['segmentation'], *size)).astype(bool)
            y, x = mask.nonzero()
            left, top, width, height = item['bbox']
            assert [left, top] == [x.min(), y.min()] and item['area'] == mask.sum()
            assert [width, height] == [np.ptp(x) + 1, np.ptp(y) + 1]
            assert (values[mask] == item['category_id']).all() and not (shapes & mask).any()
            shapes |= mask
        background = set(np.unique(values[~shapes]).tolist())
        assert len(background) == 1 and background <= {0, *range(4, 4 + len(STUFF))}


def test_some_backgrounds_are_unlabelled_and_all_kinds_occur(root):
    maps = [np.asarray(Image.open(path)) for path in (root / 'semantic').rglob('*.png')]
    kinds = set(np.unique(np.stack(maps)).tolist())
    assert kinds == set(range(1 + len(CLASSES) + len(STUFF)))


def test_as_many_processes_as_one_likes(root, tmp_path):
    write_shape_scenes(tmp_path / 'again', CLASSES, SPLITS, 64, seed=3, workers=2)
    assert contents(tmp_path / 'again') == contents(root)
    write_shape_scenes(tmp_path / 'other', CLASSES, SPLITS, 64, seed=4)
    assert contents(tmp_path / 'other') != contents(root)


def test_a_damaged_tree_is_written_again(tmp_path):
    folder, splits = tmp_path / 'scenes', dict(train=3)
    assert write_shape_scenes(folder, CLASSES, splits, 32)
    before = contents(folder)
    assert not write_shape_scenes(folder, CLASSES, splits, 32)
    for lost in ('semantic/train/00001.png', 'train/00002.png', 'annotations/instances_train.json'):
        (folder / lost).unlink()
        assert read_scene_manifest(folder) is None
        assert write_shape_scenes(folder, CLASSES, splits, 32) and contents(folder) == before


@pytest.mark.parametrize(
    'changes',
    [
        dict(classes=('disc', 'cloud')),
        dict(classes=()),
        dict(splits=dict(train=0)),
        dict(size=8),
        dict(workers=0),
    ],
    ids=['class', 'no class', 'no scene', 'size', 'workers'],
)
def test_bad_settings(changes, tmp_path):
    settings = dict(classes=CLASSES, splits=dict(train=2), size=64) | changes
    with pytest.raises(ValueError):
        write_shape_scenes(tmp_path / 'scenes', **settings)
    assert not (tmp_path / 'scenes').exists()
