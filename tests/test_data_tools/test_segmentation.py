"""Maps of publishers become maps of chosen classes that a role view reads."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.label_trees import MapTree
from knowswap_mm.data_tools.publishers import DeepGlobe, PetMaps, VocMaps

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'segmentation.py'
COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def save(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(values, np.uint8))
    if mode == 'P':
        picture = picture.convert('L')
        picture.putpalette([i for i in range(256) for _ in range(3)])  # becomes mode P
    picture.save(path)


def photo(path):
    save(path, np.full((8, 10, 3), 90))


def write_voc(root):
    """Each image: background, one class on the left, a border beside it."""
    lists = dict(train=[], val=[])
    for number, label in enumerate((3, 8, 12, 3)):  # bird, cat, dog, bird
        values = np.zeros((8, 10))
        values[:, :4], values[:, 4] = label, 255
        photo(root / 'JPEGImages' / f'2007_{number}.jpg')
        save(root / 'SegmentationClass' / f'2007_{number}.png', values, 'P')
        lists['val' if number == 3 else 'train'].append(f'2007_{number}')
    for split, names in lists.items():
        path = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(names) + '\n')
    return root


def write_pet(root):
    (root / 'annotations').mkdir(parents=True)
    for split in ('trainval', 'test'):
        lines = []
        for label, breed in enumerate(('Abyssinian', 'beagle'), 1):
            name = f'{breed}_{split == "test":d}'
            photo(root / 'images' / f'{name}.jpg')
            values = np.full((8, 10), 2)
            values[2:6, 2:6], values[2, 2:6] = 1, 3
            save(root / 'annotations' / 'trimaps' / f'{name}.png', values)
            lines.append(f'{name} {label} 1 {label}')
        (root / 'annotations' / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    return root


def write_deepglobe(root):
    for number in range(10):
        values = np.zeros((8, 10, 3))
        for column, colour in enumerate(COLOURS):
            values[:, column] = colour
        values[0] = 0  # unknown
        values[1, 0] = (20, 200, 140)  # not quite a corner of the cube
        photo(root / 'train' / f'{number}_sat.jpg')
        save(root / 'train' / f'{number}_mask.png', values)
    return root


def ids(path):
    return set(np.unique(np.asarray(Image.open(path))).tolist())


def ids_of(*names, first=0):
    return {name: first + i for i, name in enumerate(names)}


def test_voc(tmp_path):
    source = VocMaps(write_voc(tmp_path / 'voc'))
    out = tmp_path / 'out'
    tree = MapTree(out, source.root)
    chosen = ['dog', 'bird']
    assert tree.write(source.images(), source.classes, ids_of(*chosen, first=150), {})
    maps = {p.relative_to(out).as_posix(): ids(p) for p in out.rglob('*.png')}
    assert maps == {
        'train/annotations/2007_0.png': {151, 255},
        'train/annotations/2007_2.png': {150, 255},
        'val/annotations/2007_3.png': {151, 255},
    }
    assert len(list(out.rglob('2007*.jpg'))) == 3
    assert not tree.write(source.images(), source.classes, ids_of(*chosen, first=150), {})
    (out / 'train' / 'annotations' / '2007_0.png').unlink()
    assert tree.write(source.images(), source.classes, ids_of(*chosen, first=150), {})


def test_pet(tmp_path):
    source = PetMaps(write_pet(tmp_path / 'pet'))
    MapTree(tmp_path / 'out', source.root).write(
        source.images(), source.classes, ids_of(*source.classes), {}
    )
    assert ids(tmp_path / 'out/train/annotations/Abyssinian_0.png') == {0, 255}
    assert ids(tmp_path / 'out/val/annotations/beagle_1.png') == {1, 255}


def test_deepglobe(tmp_path):
    source = DeepGlobe(write_deepglobe(tmp_path / 'land'), val_share=0.3)
    pictures = source.images()
    assert [p.split for p in pictures].count('val') == 3 and pictures == source.images()
    values = pictures[0].read(pictures[0].map_path)
    assert values[2, :6].tolist() == [0, 1, 2, 3, 4, 5]
    assert (values[0] == -1).all() and values[1, 0] == 0 and (values[2, 6:] == -1).all()


def test_what_is_wrong_is_named_and_nothing_written(tmp_path):
    source = VocMaps(write_voc(tmp_path / 'voc'))
    pictures, tree = source.images(), MapTree(tmp_path / 'out', source.root)

    def refused(match, chosen=('bird',), **options):
        with pytest.raises(SourceError, match=match):
            tree.write(pictures, source.classes, ids_of(*chosen, **options), {}, required=chosen)
        assert not (tmp_path / 'out').exists()

    refused("no class 'ox'", ['ox'])
    refused('do not fit into 0 to 254', first=255)
    refused("class 'cow' has no pixel", ['bird', 'cow'])
    save(pictures[0].map_path, np.full((8, 10), 77))
    save(pictures[1].map_path, np.zeros((4, 4)))
    pictures[2].map_path.write_bytes(b'damaged')
    with pytest.raises(SourceError) as caught:
        tree.write(pictures, source.classes, ids_of('bird'), {})
    assert len(caught.value.problems) == 3
    assert 'ids go from 0 to 20' in str(caught.value) and '(4, 4) pixels' in str(caught.value)
    pictures[0].path.unlink()
    with pytest.raises(SourceError, match=r'JPEGImages/2007_0\.jpg is missing'):
        source.images()
    pet = PetMaps(write_pet(tmp_path / 'pet'))
    with pytest.raises(ValueError, match='no trimap'):
        save(tmp_path / 'x.png', np.zeros((3, 3)))
        pet.images()[0].read(tmp_path / 'x.png')
    (tmp_path / 'pet/annotations/trimaps/beagle_0.png').unlink()
    with pytest.raises(SourceError, match=r'trimaps/beagle_0\.png is missing'):
        pet.images()
    land = DeepGlobe(write_deepglobe(tmp_path / 'land'))
    for values, match in ((np.zeros((3, 3)), 'three colours'), ([[[255, 0, 0]]], 'red means no')):
        save(tmp_path / 'y.png', values)
        with pytest.raises(ValueError, match=match):
            land.images()[0].read(tmp_path / 'y.png')
    (tmp_path / 'land/train/3_mask.png').unlink()
    with pytest.raises(SourceError, match='3_mask.png is missing'):
        land.images()
    with pytest.raises(SourceError, match=r'there is no train/\*_sat\.jpg'):
        DeepGlobe(tmp_path).images()


def test_tool_writes_what_a_role_view_reads(tmp_path, monkeypatch, capsys):
    source, out = write_deepglobe(tmp_path / 'land'), tmp_path / 'out'
    arguments = ['deepglobe', '--source', source, '--out', out]
    arguments += ['--layout', 'official']
    monkeypatch.setattr(sys, 'argv', ['segmentation.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'written, 6 classes' in capsys.readouterr().out
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(out),
        data_prefix=dict(img_path='test/images', seg_map_path='test/annotations'),
        img_suffix='_sat.jpg',
        seg_map_suffix='_mask.png',
        metainfo=dict(classes=DeepGlobe.classes),
        pipeline=[*load, dict(type='PackSegInputs')],
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        roles = DATASETS.build(
            dict(
                type='knowswap_mm.RoleDataset',
                view='knowswap_mm.SemanticRoleView',
                roles=dict(
                    learn=dict(dataset=dataset, first_id=150, cache_dir=str(tmp_path / 'cache'))
                ),
                classes=dict(old=['wall'], learn=DeepGlobe.classes),
            )
        )
        labels = set(np.unique(roles[0]['data_samples'].gt_sem_seg.data).tolist())
    assert labels == {1, 2, 3, 4, 5, 6, 255}
    monkeypatch.setattr(sys, 'argv', ['segmentation.py', *map(str, arguments), '--learn', 'sea'])
    with pytest.raises(SystemExit, match="no class 'sea'"):
        runpy.run_path(str(TOOL), run_name='__main__')
