"""How data of one's own is recognised, and what of it tests."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from knowswap_mm.data_tools.images import SourceError, SourceImage
from knowswap_mm.data_tools.publishers import CocoFile, CsvList, MaskFolder
from knowswap_mm.own.host import TASKS
from knowswap_mm.own.task import divide, hold_out
from tests.helpers.own_data import LEARN, save


def photo(path, size=(12, 10), grey=90):
    save(Image.new('RGB', size, (grey, 40, 200)), path)


@given(st.lists(st.sampled_from(['a', 'b', 'ç d']), max_size=40))
def test_what_is_held_out(names):
    """A fifth of each class, at least one of two, the same each time, whatever the order."""
    images = [SourceImage('train', name, Path(f'{i:03d}.png')) for i, name in enumerate(names)]
    found = hold_out(images)
    assert found == hold_out(images)
    assert {i.path: i.split for i in found} == {i.path: i.split for i in hold_out(images[::-1])}
    for name in set(names):
        held = [i.split for i in found if i.class_name == name].count('test')
        assert held == max(round(0.2 * names.count(name)), int(names.count(name) > 1))


def test_splits_of_the_data_come_first():
    images = [SourceImage(split, 'a', Path(f'{split}.png')) for split in ('train', 'val', 'test')]
    found, told = divide(images)
    assert [(i.split, i.path.stem) for i in found] == [('train', 'train'), ('test', 'val')]
    assert 'val' in told
    assert [i.path.stem for i in divide(images, 'test')[0]] == ['test']
    only = [replace(i, split='train') for i in images]
    assert {i.split for i in divide(only, 'test')[0]} == {'test'}


def test_forms_are_told_apart(told):
    for scope, task in TASKS.items():
        learn = told(scope)['learn']
        assert [name for name, other in TASKS.items() if other.fits(Path(learn))] == [scope]
        read = task.read('--learn', Path(learn), told(scope).get('images'))
        assert sorted(read.classes) == sorted(LEARN[scope]) or scope == 'mmseg'
        assert set(LEARN[scope]) <= set(read.classes)
        assert 'background' not in read.classes
        assert {image.split for image in read.images} == {'train', 'test'}


def test_voc_xml_is_data_of_a_detector(tmp_path):
    for number in range(5):
        photo(tmp_path / f'{number}.JPG')
        box = '<xmin>2</xmin><ymin>2</ymin><xmax>8</xmax><ymax>8</ymax>'
        item = f'<object><name>Katze ä</name><bndbox>{box}</bndbox></object>'
        (tmp_path / f'{number}.xml').write_text(f'<annotation>{item}</annotation>')
    task = TASKS['mmdet']
    read = task.read('--learn', tmp_path)
    assert read.classes == ['Katze ä'] and len(read.images) == 5
    written = task.write(read, tmp_path / 'out')
    content = json.loads((tmp_path / 'out/annotations/instances_test.json').read_text())
    assert len(content['images']) == len(content['annotations']) == 1
    assert written['test']['data_prefix'] == dict(img='test/')


def test_what_a_coco_json_may_hold(told):
    read = TASKS['mmdet'].read('--learn', told('mmdet')['learn'], told('mmdet')['images'])
    objects = [each for image in read.images for each in image.objects]
    assert sum(each.rest['iscrowd'] for each in objects) == 1
    assert 'nothing here.png' not in [image.path.name for image in read.images]
    names = [image.name for image in read.images]
    assert len(set(names)) == len(names) and all(name.startswith('sub ') for name in names)


def write_coco(path, *names):
    images = [dict(id=i, file_name=n, width=12, height=10) for i, n in enumerate(names)]
    boxes = [dict(id=i, image_id=i, category_id=3, bbox=[1, 1, 5, 5]) for i in range(len(names))]
    content = dict(images=images, annotations=boxes, categories=[dict(id=3, name='cat')])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('train', 'val', 'folder'),
    [
        ('annotations/instances_train2017.json', 'annotations/instances_val2017.json', '{}2017'),
        ('train/_annotations.coco.json', 'valid/_annotations.coco.json', '{}'),
        ('labels_train.json', 'labels_val.json', 'images/{}'),
    ],
)
def test_siblings_of_a_json_are_found(train, val, folder, tmp_path):
    word = dict(train='train', val='valid' if 'valid/' in val else 'val')
    for split, name in (('train', train), ('val', val)):
        write_coco(tmp_path / name, f'{split} 1.jpg')
        photo(tmp_path / folder.format(word[split]) / f'{split} 1.jpg')
    for root in (tmp_path / train, tmp_path):
        found = CocoFile(root).images()
        assert [(i.split, i.path.name) for i in found] == [
            ('train', 'train 1.jpg'),
            ('val', 'val 1.jpg'),
        ]


def test_a_csv_file(tmp_path):
    for name in ('a 1.JPG', 'sub/a 1.JPG', 'b.png'):
        photo(tmp_path / name)
    path = tmp_path / 'list.csv'
    path.write_text('split;Class;Image\ntrain;Ä;a 1.JPG\nvalid;Ä;sub\\a 1.JPG\ntest;b;b.png\n')
    found = CsvList(path).images()
    assert [(i.split, i.class_name, i.name) for i in found] == [
        ('train', 'Ä', 'a 1.JPG'),
        ('val', 'Ä', 'sub_a 1.JPG'),
        ('test', 'b', 'b.png'),
    ]
    path.write_text('b.png,b\n"a 1.JPG","one, two"\n')  # no names of columns
    assert {i.class_name for i in CsvList(path).images()} == {'b', 'one, two'}
    path.write_text('b.png,b\na 1.JPG,b\nsub/a 1.JPG,c\n')
    read = TASKS['mmpretrain'].read('--learn', path)
    assert sorted((i.class_name, i.split) for i in read.images) == [
        ('b', 'test'),
        ('b', 'train'),
        ('c', 'train'),
    ]
    path.write_text('image,label\nc.png,b\n/b.png,b\nb.png,\nb.png,a/b\n')
    with pytest.raises(SourceError) as caught:
        CsvList(path).images()
    assert ['line 2', 'line 3', 'line 4', 'line 5'] == [
        problem.split(', ')[1].split(':')[0] for problem in caught.value.problems
    ]


def mask(path, values, palette=False):
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image.putpalette([each for each in range(256) for _ in range(3)])
    save(image, path)


@pytest.mark.parametrize(
    'layout', ['{split}/images,{split}/masks', 'images/{split},labels/{split}']
)
@pytest.mark.parametrize('first', [0, 1])
def test_masks_count_from_nought_or_one(layout, first, tmp_path):
    """By the largest number of all masks; 255 is no class, nor is 0 where they count from one."""
    (tmp_path / 'classes.txt').write_text('sky\nsea\n', encoding='utf-8')
    for split in ('train', 'val'):
        images, maps = layout.format(split=split).split(',')
        photo(tmp_path / images / f'{split} ü.JPG', size=(3, 2))
        values = [[first, first + 1, 255], [0, first, 255]]
        mask(tmp_path / maps / f'{split} ü.png', values, palette=split == 'val')
    found = MaskFolder(tmp_path).images()
    assert [(i.split, i.name) for i in found] == [('train', 'train ü.jpg'), ('val', 'val ü.jpg')]
    for image in found:
        got = image.read(image.map_path)
        assert got.tolist() == [[0, 1, -1], [0 if first == 0 else -1, 0, -1]]


def test_images_of_several_kinds_become_one(tmp_path):
    """The host's data set lists the images of one ending."""
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/classes.txt').write_text('sky\nsea\n')
    for name in ('a.jpg', 'b.PNG', 'c.webp', 'd.png', 'e.png'):
        photo(tmp_path / 'in/images' / name)
        mask(
            tmp_path / 'in/masks' / f'{name[0]}.png', np.full((10, 12), 'abcde'.index(name[0]) % 2)
        )
    task = TASKS['mmseg']
    read = task.read('--learn', tmp_path / 'in')
    written = task.write(read, tmp_path / 'out')
    files = sorted((tmp_path / 'out').glob('*/images/*'))
    assert [path.name for path in sorted(files, key=lambda p: p.name)] == [
        f'{letter}.png' for letter in 'abcde'
    ]
    assert {Image.open(path).format for path in files} == {'PNG'}
    assert written['train']['img_suffix'] == '.png'


def test_damaged_masks_are_named(tmp_path):
    (tmp_path / 'classes.txt').write_text('sky\nsea\n')
    for name in 'abcd':
        photo(tmp_path / 'images' / f'{name}.png')
    mask(tmp_path / 'masks/a.png', np.full((10, 12), 9))
    mask(tmp_path / 'masks/b.png', np.zeros((10, 12, 3)))
    (tmp_path / 'masks/c.png').write_bytes(b'no image')
    with pytest.raises(SourceError) as caught:
        MaskFolder(tmp_path).images()
    for word in (
        'd.png has no mask',
        'a.png has the number 9',
        'b.png has colours',
        'c.png cannot',
    ):
        assert sum(word in problem for problem in caught.value.problems) == 1
