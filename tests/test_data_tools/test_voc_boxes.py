"""Pascal VOC xml as its publisher and as tools for annotation write it."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import VocBoxes

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'detection.py'
SIZE = '<size><width>{}</width><height>{}</height><depth>3</depth></size>'


def thing(name='cat', box=(1, 1, 20, 10), more=''):
    corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
    inner = ''.join(f'<{corner}>{value}</{corner}>' for corner, value in corners)
    return f'<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>'


def write(image, xml, *things, size=(40, 30), stored=(40, 30), filename=None, exif=None):
    for path in (image, xml):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', stored).save(image, exif=exif or Image.Exif())
    announced = SIZE.format(*size) if size else ''
    text = f'<annotation><filename>{filename or image.name}</filename>{announced}'
    xml.write_text(f'{text}{"".join(things)}</annotation>')


def published(root, lists, folder='Main'):
    """The publisher's layout; lists of names by split."""
    for name in {name for names in lists.values() for name in names}:
        image, xml = root / 'JPEGImages' / f'{name}.jpg', root / 'Annotations' / f'{name}.xml'
        write(image, xml, thing())
    for split, names in lists.items():
        path = root / 'ImageSets' / folder / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'{name}  1\n' for name in names))
    return root


def splits(root):
    found = {}
    for picture in VocBoxes(root).images():
        found.setdefault(picture.split, []).append(picture.path.stem)
    return found


@pytest.mark.parametrize('folder', ['Main', '.'])
@pytest.mark.parametrize(
    ('lists', 'wanted'),
    [
        (dict(train='ab', val='c', trainval='abc'), dict(train='ab', val='c')),
        (dict(train='ab', val='c', test='d'), dict(train='ab', val='c', test='d')),
        (dict(trainval='ab', test='c', cat_trainval='a'), dict(train='ab', val='c')),
    ],
)
def test_lists_of_the_publisher(lists, wanted, folder, tmp_path):
    lists = {split: list(names) for split, names in lists.items()}
    assert splits(published(tmp_path, lists, folder)) == {k: list(v) for k, v in wanted.items()}


def test_folders_of_tools(tmp_path):
    for split, name in (('train', 'a'), ('valid', 'b'), ('test', 'c')):
        folder = tmp_path / split
        write(folder / f'{name}.PNG', folder / f'{name}.xml', thing())
    assert splits(tmp_path) == dict(train=['a'], val=['b'], test=['c'])


def test_a_share_is_held_out_without_splits(tmp_path):
    for number in range(10):
        write(tmp_path / f'{number}.jpg', tmp_path / f'{number}.xml', thing())
    assert {split: len(names) for split, names in splits(tmp_path).items()} == dict(train=8, val=2)


def test_objects(tmp_path):
    part = '<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>'
    write(
        tmp_path / 'renamed.jpg', tmp_path / 'old.xml',
        thing(box=(1, 1, 20, 10), more='<difficult>1</difficult>'),
        thing(' dog ', (5.5, 6, 40, 30), part),
        filename='C:\\data\\renamed.jpg', size=None,
    )  # fmt: skip
    write(tmp_path / 'empty.jpg', tmp_path / 'empty.xml')
    (picture,) = VocBoxes(tmp_path, val_share=0).images()
    assert picture.path.name == 'renamed.jpg' and picture.class_names == ('cat', 'dog')
    # Pixels 1 to 20 of the publisher are the first twenty.
    assert [each.box for each in picture.objects] == [(0, 0, 20, 10), (4.5, 5, 35.5, 25)]
    assert [each.rest['iscrowd'] for each in picture.objects] == [1, 0]


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ('options', 'things', 'problem'),
    [
        (dict(stored=(20, 15)), [thing()], r'its size is 40 x 30, that of a\.jpg 20 x 15'),
        (dict(size=(30, 40), exif=turned()), [thing()], 'turned by EXIF'),
        ({}, [thing(box=(1, 2, 'x', 4))], 'the box of a cat'),
        ({}, [thing(box=(9, 2, 3, 4))], 'has no extent'),
        ({}, [thing(box=('nan', 2, 3, 4))], 'has no extent'),
        ({}, [thing('')], 'an object has no name'),
        ({}, ['<object><name>cat</name></object>'], 'no four numbers'),
        ({}, ['<object>'], 'mismatched tag'),
    ],
)
def test_damaged_files_are_named(options, things, problem, tmp_path):
    write(tmp_path / 'a.jpg', tmp_path / 'a.xml', *things, **options)
    with pytest.raises(SourceError, match=rf'a\.xml: .*{problem}'):
        VocBoxes(tmp_path).images()


def test_missing_files_are_named(tmp_path):
    root = published(tmp_path, dict(train=['a', 'b', 'c']))
    (root / 'JPEGImages' / 'a.jpg').unlink()
    (root / 'Annotations' / 'b.xml').unlink()
    with pytest.raises(SourceError) as caught:
        VocBoxes(root).images()
    assert caught.value.problems == [
        'Annotations/a.xml: there is no image a.* for it',
        'Annotations/b.xml: is missing',
    ]
    (root / 'ImageSets' / 'Main' / 'train.txt').write_text('../../secret\n')
    with pytest.raises(SourceError, match='leads out of the folder'):
        VocBoxes(root).images()
    with pytest.raises(SourceError, match='no xml with an object'):
        VocBoxes(tmp_path / 'nowhere').images()


def test_the_tool_writes_coco_json(tmp_path, monkeypatch, capsys):
    source, out = tmp_path / 'voc', tmp_path / 'out'
    published(source, dict(train=['a', 'b'], val=['c']))
    arguments = ['voc', '--source', source, '--out', out, '--learn', 'cat']
    monkeypatch.setattr(sys, 'argv', ['detection.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'written, 3 images, 1 classes' in capsys.readouterr().out
    content = json.loads((out / 'annotations' / 'instances_train.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['a.jpg', 'b.jpg']
    assert content['annotations'][0]['bbox'] == [0, 0, 20, 10]
    assert content['categories'] == [dict(id=1, name='cat')]
    assert (out / 'val' / 'c.jpg').is_file() and (out / 'roles' / 'learn.txt').is_file()
