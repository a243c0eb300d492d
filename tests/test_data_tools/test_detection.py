"""Boxes of publishers become COCO json that a role view reads."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from scipy.io import savemat

from knowswap_mm.data_tools.images import BoxedImage, BoxedObject, SourceError
from knowswap_mm.data_tools.label_trees import CocoTree
from knowswap_mm.data_tools.publishers import CubBoxes, StanfordDogs

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'detection.py'
DOGS = ('n02085620-Chihuahua', 'n02085782-Japanese_spaniel')
IDS = {name: number for number, name in enumerate(DOGS, 1)}
XML = """<annotation><folder>x</folder><size><width>{}</width><height>{}</height></size>{}
</annotation>"""
OBJECT = """<object><name>dog</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def draw(path, seed=0, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def write_dogs(root, listed=True):
    training = []
    for breed in DOGS:
        for number in range(4):
            name = f'{breed.split("-")[0]}_{number}'
            draw(root / 'Images' / breed / f'{name}.jpg', number)
            objects = OBJECT.format(1, 1, 20, 10) + (OBJECT.format(5, 6, 60, 30) if number else '')
            path = root / 'Annotation' / breed / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(XML.format(40, 30, objects))
            if number < 3:
                training.append(f'{breed}/{name}.jpg')
    if listed:
        cells = np.empty((len(training), 1), dtype=object)
        cells[:, 0] = training
        savemat(root / 'train_list.mat', dict(file_list=cells))
    return root


def write_cub(root):
    lists = dict(images=[], image_class_labels=[], train_test_split=[], bounding_boxes=[])
    for number in (1, 2, 3):
        name = f'001.Black_footed_Albatross/bird_{number}.jpg'
        draw(root / 'images' / name, number)
        lists['images'].append(f'{number} {name}')
        lists['image_class_labels'].append(f'{number} 1')
        lists['train_test_split'].append(f'{number} {int(number < 3)}')
        lists['bounding_boxes'].append(f'{number} 3.0 4.0 20.0 15.0')
    lists['classes'] = ['1 001.Black_footed_Albatross']
    for name, lines in lists.items():
        (root / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return root


def test_dogs(tmp_path):
    pictures = StanfordDogs(write_dogs(tmp_path)).images()
    assert [p.split for p in pictures].count('train') == 6 and len(pictures) == 8
    both = next(p for p in pictures if p.path.stem == 'n02085620_2')
    # Pixels 1 to 20 of the publisher are the first twenty.
    assert [o.box for o in both.objects] == [(0, 0, 20, 10), (4, 5, 56, 25)]
    assert both.class_names == (DOGS[0],)
    drawn = StanfordDogs(write_dogs(tmp_path / 'b', listed=False), val_share=0.5).images()
    assert [p.split for p in drawn].count('val') == 4


def test_cub(tmp_path):
    pictures = CubBoxes(write_cub(tmp_path)).images()
    assert [p.split for p in pictures] == ['train', 'train', 'val']
    assert pictures[0].objects == (
        BoxedObject('001.Black_footed_Albatross', (3.0, 4.0, 20.0, 15.0)),
    )


def test_damaged_sources(tmp_path):
    dogs = write_dogs(tmp_path / 'dogs')
    folder = dogs / 'Annotation' / DOGS[1]
    (folder / 'n02085782_0').unlink()
    (folder / 'n02085782_1').write_text('<annotation>')
    (folder / 'n02085782_2').write_text(XML.format(4, 4, ''))
    (folder / 'n02085782_3').write_text(XML.format(4, 4, '<object></object>'))
    with pytest.raises(SourceError) as caught:
        StanfordDogs(dogs).images()
    assert len(caught.value.problems) == 3 and 'has no bndbox' in str(caught.value)
    (dogs / 'train_list.mat').write_bytes(b'no list')
    with pytest.raises(SourceError, match=r'train_list\.mat cannot be read'):
        StanfordDogs(dogs).images()
    cub = write_cub(tmp_path / 'cub')
    (cub / 'bounding_boxes.txt').write_text('1 3 4 20 15\n2 3 4 x 15\n')
    with pytest.raises(SourceError) as caught:
        CubBoxes(cub).images()
    assert [p.split('image ')[1][0] for p in caught.value.problems] == ['2', '3']


def test_tree_clips_boxes_and_refuses_what_is_wrong(tmp_path):
    pictures = StanfordDogs(write_dogs(tmp_path / 'dogs')).images()
    tree = CocoTree(tmp_path / 'out', tmp_path / 'dogs')
    assert tree.write(pictures, IDS, dict(seed=0)) and not tree.write(pictures, IDS, dict(seed=0))
    content = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert [c['name'] for c in content['categories']] == list(DOGS)
    assert [4, 5, 36, 25] in [item['bbox'] for item in content['annotations']]
    (tmp_path / 'out/train' / pictures[0].path.name).unlink()
    assert tree.write(pictures, IDS, dict(seed=0))
    far = BoxedImage('train', pictures[0].path, (BoxedObject(DOGS[0], (100, 2, 5, 5)),))
    with pytest.raises(SourceError, match='lies outside'):
        CocoTree(tmp_path / 'far', tmp_path).write([far], IDS, {})
    with pytest.raises(SourceError, match='two images would be'):
        CocoTree(tmp_path / 'far', tmp_path).write([far, far], IDS, {})
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(pictures[0].path.read_bytes()[:200])
    with pytest.raises(SourceError, match=r'broken\.jpg'):
        lost = BoxedImage('train', broken, pictures[0].objects)
        CocoTree(tmp_path / 'far', tmp_path).write([lost], IDS, {})
    assert not (tmp_path / 'far').exists()


def test_tool_writes_what_a_role_view_reads(tmp_path, monkeypatch, capsys):
    source, out = write_dogs(tmp_path / 'dogs'), tmp_path / 'out'
    arguments = ['stanford-dogs', '--source', source, '--out', out, '--learn', DOGS[1]]
    monkeypatch.setattr(sys, 'argv', ['detection.py', *map(str, arguments), '--per-class', '2'])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'written, 3 images, 1 classes' in capsys.readouterr().out
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    dataset = dict(
        type='CocoDataset',
        data_root=str(out),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[*load, dict(type='PackDetInputs')],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        roles = DATASETS.build(
            dict(
                type='knowswap_mm.RoleDataset',
                view='knowswap_mm.CocoRoleView',
                roles=dict(learn=dict(dataset=dataset, cache_dir=str(tmp_path / 'cache'))),
                classes=dict(old=['cat'], learn=[DOGS[1]]),
            )
        )
        labels = {int(x) for i in range(2) for x in roles[i]['data_samples'].gt_instances.labels}
    assert len(roles) == 2 and labels == {1}
    monkeypatch.setattr(sys, 'argv', ['detection.py', *map(str, arguments), 'cat'])
    with pytest.raises(SystemExit, match="no class 'cat'"):
        runpy.run_path(str(TOOL), run_name='__main__')


@pytest.mark.parametrize('announced', [(40, 30), (30, 40), (80, 60)])
def test_boxes_of_another_size_are_refused(announced, tmp_path):
    """Images are saved as they are stored; boxes must count those pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (40, 30)).save(path, exif=exif)
    picture = BoxedImage('train', path, (BoxedObject(DOGS[0], (1, 1, 5, 5)),), announced)
    tree = CocoTree(tmp_path / 'out', tmp_path)
    if announced == (40, 30):
        assert tree.write([picture], IDS, {})
        return
    words = rf'boxes are for {announced[0]} x {announced[1]} pixels, the file has 40 x 30, turned'
    with pytest.raises(SourceError, match=words):
        tree.write([picture], IDS, {})
