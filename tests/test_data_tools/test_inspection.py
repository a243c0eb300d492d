"""Odd and damaged images, and writers that are stopped."""

import json
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image

from knowswap_mm.data_tools import inspection
from knowswap_mm.data_tools.images import BoxedImage, BoxedObject, SourceError, SourceImage
from knowswap_mm.data_tools.label_trees import CocoTree
from knowswap_mm.data_tools.trees import ImageTree

TURNED_LEFT = 6


def photo(path, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((size[1], size[0], 3), 60, np.uint8)
    values[:10, :20] = 220
    Image.fromarray(values).save(path, **options)
    return path


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = TURNED_LEFT
    return photo(path, exif=exif)


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_boxes_stay_on_their_objects_in_a_turned_picture(tmp_path, suffix):
    path = turned(tmp_path / f'a.{suffix}')
    assert cv2.imread(str(path)).shape[:2] == (40, 30)  # as the hosts read it
    boxed = BoxedImage('train', path, (BoxedObject('corner', (0, 0, 20, 10)),))
    CocoTree(tmp_path / 'out', tmp_path).write([boxed], dict(corner=1), {})
    written = cv2.imread(str(tmp_path / f'out/train/a.{suffix}'))
    content = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert written.shape[:2] == (30, 40) and content['images'][0]['width'] == 40
    assert written[:8, :18].min() > 180 and written[12:, 22:].max() < 100
    subprocess.run(['sha256sum', '-c', 'checksums.txt'], cwd=tmp_path / 'out', check=True)


def test_a_turned_picture_of_a_class_stays_as_it_is(tmp_path):
    path = turned(tmp_path / 'a.jpg')
    ImageTree(tmp_path / 'out', tmp_path).write([SourceImage('train', 'x', path)], {})
    assert (tmp_path / 'out/train/x/a.jpg').samefile(path)


def test_sixteen_bits_are_scaled_on_the_contact_sheet(tmp_path):
    values = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / 'deep.png')
    ImageTree(tmp_path / 'out', tmp_path).write(
        [SourceImage('train', 'x', tmp_path / 'deep.png')], {}
    )
    sheet = np.asarray(Image.open(tmp_path / 'out' / 'contact_sheet.jpg').convert('L'))
    small = sheet[-100:-4, :96]  # below the name of the class, above a gap
    assert small[:5].mean() < 40 and 100 < small[46:50].mean() < 150 and small[-5:].mean() > 215


def test_a_stopped_writer_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, '_CHUNK', 2)
    paths = [photo(tmp_path / 'source' / f'{i}.jpg', (40 + i, 30)) for i in range(6)]
    pictures = [SourceImage('train', 'x', path) for path in paths]
    tree = ImageTree(tmp_path / 'out', tmp_path)
    looked = []
    load = inspection._note

    def note(path, place, *rest):
        if len(looked) == 4:
            raise KeyboardInterrupt
        looked.append(path)
        return load(path, place, *rest)

    monkeypatch.setattr(inspection, '_note', note)
    with pytest.raises(KeyboardInterrupt):
        tree.write(pictures, {})
    assert not (tmp_path / 'out').exists()
    (notes,) = tmp_path.glob('.out.*.partial/new/.inspected.jsonl')
    assert len(notes.read_text().splitlines()) == 4
    with notes.open('a') as file:
        file.write('["cut off')
    opened = []
    monkeypatch.setattr(inspection, '_note', load)
    real = Image.open
    monkeypatch.setattr(
        inspection.Image, 'open', lambda *a, **k: (opened.append(a), real(*a, **k))[1]
    )
    assert tree.write(pictures, {})
    assert len(opened) == 2 + 6  # two not yet looked at, and six for the contact sheet
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == 'checksums.txt classes.txt contact_sheet.jpg manifest.json splits train'.split()
    assert not list(tmp_path.glob('.out.*'))


def test_another_request_does_not_go_on_with_it(tmp_path):
    good, bad = photo(tmp_path / 'good.jpg'), tmp_path / 'bad.jpg'
    bad.write_bytes(good.read_bytes()[:300])
    tree = ImageTree(tmp_path / 'out', tmp_path)
    with pytest.raises(SourceError, match=r'bad\.jpg'):
        tree.write([SourceImage('train', 'x', bad)], dict(seed=0))
    (left,) = tmp_path.glob('.out.*.partial/new')
    assert not (tmp_path / 'out').exists()
    (left / 'train').mkdir()
    (left / 'train' / 'left.jpg').touch()
    assert tree.write([SourceImage('train', 'x', good)], dict(seed=1))
    assert not list((tmp_path / 'out').rglob('left.jpg'))
