"""The contact sheet of a data set shows boxes and masks where the files have them."""

import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from knowswap_mm.cli.main import main
from knowswap_mm.data_tools.images import BoxedImage, BoxedObject
from knowswap_mm.data_tools.inspection import upright_image, write_contact_sheet
from knowswap_mm.data_tools.label_trees import CocoTree
from knowswap_mm.visualization.images.drawer import class_colour

#: Of a sheet of images with labels: side of an image, line above a row.
SIDE, LINE = 256, 20
XML = """<annotation><filename>{0}.jpg</filename><size><width>400</width><height>200</height></size>
<object><name>{1}</name><bndbox><xmin>{2}</xmin><ymin>{3}</ymin><xmax>{4}</xmax><ymax>{5}</ymax>
</bndbox></object></annotation>"""
#: Left, top, width and height of the object in each image.
BOXES = dict(cat=(20, 40, 100, 120), dog=(240, 40, 100, 120))


@pytest.fixture
def photos(tmp_path):
    """Two grey images, of 400 x 200, with a black rectangle: a cat left, a dog right."""
    (tmp_path / 'photos').mkdir()
    for name, (x, y, width, height) in BOXES.items():
        values = np.full((200, 400, 3), 128, np.uint8)
        values[y : y + height, x : x + width] = 0
        Image.fromarray(values).save(tmp_path / 'photos' / f'{name}.jpg', quality=95)
    return tmp_path / 'photos'


def sheet_of(out, task, *words):
    main(['data', task, *map(str, words), '--out', str(out)])
    return np.asarray(Image.open(out / 'contact_sheet.jpg'))


def near(pixels, label, tolerance=60):
    """Where an image has the colour of a class; the sheet is a JPEG."""
    wanted = np.array(ImageColor.getrgb(class_colour(label)))
    return np.abs(pixels.astype(int) - wanted).max(axis=2) < tolerance


def extent(mask):
    """Left, top, right and bottom of what is true."""
    rows, columns = np.nonzero(mask)
    return [int(each) for each in (columns.min(), rows.min(), columns.max(), rows.max())]


def check_boxes(sheet, boxes=BOXES):
    """A row a class, each with one image of 256 x 128; its box is where the file has it."""
    row = LINE + SIDE // 2 + 4
    assert sheet.shape[0] == 2 * row and SIDE <= sheet.shape[1] <= SIDE + 8
    for label, (x, y, width, height) in enumerate(boxes.values()):
        image = sheet[label * row + LINE :][: SIDE // 2, :SIDE]
        wanted = [each * SIDE / 400 for each in (x, y, x + width, y + height)]
        assert extent(near(image, label)) == pytest.approx(wanted, abs=4)
        assert not near(image, 1 - label).any()
        assert sheet[label * row :][:LINE, :100].min() < 100  # the name of the class


def coco(folder, boxes):
    """A json whose boxes are these."""
    content = dict(
        images=[
            dict(id=i, file_name=f'{name}.jpg', width=400, height=200)
            for i, name in enumerate(boxes)
        ],
        annotations=[
            dict(id=i, image_id=i, category_id=i, bbox=box) for i, box in enumerate(boxes.values())
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(boxes)],
    )
    folder.with_suffix('.json').write_text(json.dumps(content))
    return folder.with_suffix('.json')


def test_boxes_of_coco_json(photos, tmp_path):
    file = coco(photos, BOXES)
    check_boxes(
        sheet_of(tmp_path / 'out', 'detection', 'coco-json', '--source', file, '--images', photos)
    )
    # In the wrong order of x and y they are seen to lie elsewhere.
    turned = {name: (y, x, height, width) for name, (x, y, width, height) in BOXES.items()}
    turned['dog'] = (40, 180, 120, 20)  # what is left of it inside
    file = coco(photos, turned)
    check_boxes(
        sheet_of(tmp_path / 'two', 'detection', 'coco-json', '--source', file, '--images', photos),
        turned,
    )


def test_boxes_of_voc_xml(photos, tmp_path, capsys):
    for name, (x, y, width, height) in BOXES.items():
        text = XML.format(name, name, x + 1, y + 1, x + width, y + height)
        (photos / f'{name}.xml').write_text(text)
    check_boxes(sheet_of(tmp_path / 'out', 'detection', 'voc', '--source', photos))
    assert f'Look at {tmp_path}/out/contact_sheet.jpg\n' in capsys.readouterr().out


@pytest.mark.parametrize('names', [('cat', 'dog'), ('dog', 'cat')])
def test_masks_have_the_colours_of_the_names_beneath_them(names, photos, tmp_path):
    """In a list in the wrong order, the cat has the colour of the dog."""
    for folder in ('images', 'masks'):
        (tmp_path / 'in' / folder).mkdir(parents=True)
    for label, (name, (x, y, width, height)) in enumerate(BOXES.items()):
        values = np.full((200, 400), 255, np.uint8)
        values[y : y + height, x : x + width] = label
        Image.fromarray(values).save(tmp_path / 'in' / 'masks' / f'{name}.png')
        (photos / f'{name}.jpg').rename(tmp_path / 'in' / 'images' / f'{name}.jpg')
    (tmp_path / 'in' / 'classes.txt').write_text('\n'.join(names))
    sheet = sheet_of(tmp_path / 'out', 'segmentation', 'masks', '--source', tmp_path / 'in')
    row = LINE + SIDE // 2 + 16 + 4
    assert sheet.shape[0] == 2 * row
    by_name = [names.index(name) for name in sorted(names)]  # rows are in the order of the names
    for place, label in enumerate(by_name):
        x, y, width, height = list(BOXES.values())[label]
        part = sheet[place * row + LINE :]
        left, top, right, bottom = (round(e * SIDE / 400) for e in (x, y, x + width, y + height))
        inside = part[top + 4 : bottom - 4, left + 4 : right - 4]
        paint = 0.6 * np.array(ImageColor.getrgb(class_colour(label)))  # over black
        assert np.abs(inside.mean(axis=(0, 1)) - paint).max() < 12
        assert np.abs(part[: top - 4, :SIDE].astype(int) - 128).max() < 20
        legend = part[SIDE // 2 :][:16, :SIDE]
        assert near(legend, label).sum() > 30 and not near(legend, 1 - label, 40).any()


def crowded(path, count, size=(3000, 2000)):
    """An image with one large box and many small ones."""
    Image.new('RGB', size, (128, 128, 128)).save(path, quality=80)
    small = [
        BoxedObject('leaf', (50.0 * (i % 50), 20.0 * (i // 50), 40.0, 10.0)) for i in range(count)
    ]
    return BoxedImage('train', path, (*small, BoxedObject('tree', (1500.0, 1000.0, 1200.0, 900.0))))


def test_of_many_boxes_the_largest_are_drawn_and_that_is_said(tmp_path):
    image = crowded(tmp_path / 'a.jpg', 300)
    CocoTree(tmp_path / 'out', tmp_path).write([image], dict(tree=1, leaf=2), {})
    sheet = np.asarray(Image.open(tmp_path / 'out' / 'contact_sheet.jpg'))
    row = LINE + round(SIDE * 2 / 3) + 16 + 4
    assert sheet.shape[0] == 2 * row
    assert sheet[row - 20 : row - 4, :SIDE].min() < 100  # 20 of 301 boxes are drawn
    factor = SIDE / 3000
    wanted = [factor * each for each in (1500, 1000, 2700, 1900)]
    leaves, trees = sheet[LINE : row - 20], sheet[row + LINE : 2 * row - 20]
    assert extent(near(trees, 0)) == pytest.approx(wanted, abs=4)
    # In the row of a class its own boxes come first, however small: here there is room for no tree.
    assert near(leaves, 1).any() and not near(leaves, 0).any()


def test_a_large_image_is_decoded_at_the_size_of_the_sheet(tmp_path):
    crowded(tmp_path / 'a.jpg', 1)
    assert max(upright_image(tmp_path / 'a.jpg', SIDE).size) == 750  # both sides suffice
    assert upright_image(tmp_path / 'a.jpg').size == (3000, 2000)


def test_boxes_fit_an_image_that_its_entry_turns(tmp_path):
    """Boxes count pixels as stored, and so does the image that is written."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (400, 200), (128, 128, 128)).save(tmp_path / 'a.jpg', exif=exif)
    image = BoxedImage('train', tmp_path / 'a.jpg', (BoxedObject('cat', BOXES['cat']),))
    CocoTree(tmp_path / 'out', tmp_path).write([image], dict(cat=1), {})
    sheet = np.asarray(Image.open(tmp_path / 'out' / 'contact_sheet.jpg'))
    x, y, width, height = (each * SIDE / 400 for each in BOXES['cat'])
    assert sheet.shape[0] == LINE + SIDE // 2 + 4
    assert extent(near(sheet[LINE:], 0)) == pytest.approx([x, y, x + width, y + height], abs=4)


def test_each_class_has_a_row_and_each_row_its_own_images(tmp_path):
    members = [('road', 'sky')] * 8 + [('sky', 'road', 'car')] + [('road', 'bus')]
    shown = []

    def draw(place, name):
        shown.append((name, place))
        return Image.new('RGB', (10, 10))

    roles = dict(forget=['sky'], retain=['road', 'car', 'bus'])
    write_contact_sheet(tmp_path / 'sheet.jpg', members, draw, roles, columns=4)
    rows = {}
    for name, place in shown:
        rows.setdefault(name, []).append(place)
    assert list(rows) == ['sky', 'bus', 'car', 'road']
    assert rows['bus'] == [9] and rows['car'] == [8]
    assert len(rows['sky']) == len(rows['road']) == 4 and not set(rows['sky']) & set(rows['road'])
    many = [(f'{number:04d}',) for number in range(130)]
    write_contact_sheet(tmp_path / 'many.jpg', many, draw)
    assert Image.open(tmp_path / 'many.jpg').height == 100 * (LINE + 14) + LINE  # and says so
