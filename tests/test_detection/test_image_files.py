"""Images that are not as their json announces them."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from knowswap_mm.errors import ConfigError
from tests.helpers.coco_data import content, make, measure, write


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def picture(path, size, orientation, form='JPEG'):
    """Red above and left of the middle as stored, which tells how it is turned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2, : size[0] // 2, 0] = 255
    Image.fromarray(pixels).save(path, form, exif=exif)


def oriented(tmp_path, images):
    """Data of images (stored size, orientation, announced size[, format])."""
    found = content(['dog'] * len(images))
    for entry, (stored, orientation, announced, *form) in zip(found['images'], images, strict=True):
        entry.update(file_name=f'{entry["id"]}.jpg', width=announced[0], height=announced[1])
        path = tmp_path / 'images' / entry['file_name']
        picture(path, stored, orientation, *form)
    return write(tmp_path, found)


WIDE, TALL = (40, 30), (30, 40)


def red(sample):
    """Whether the upper left quarter of the loaded image is the red one."""
    values = sample['inputs'].float()
    height, width = values.shape[1:]
    return bool(values[2, : height // 2 - 2, : width // 2 - 2].mean() > 200)


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
@pytest.mark.parametrize('frame', ['stored', 'shown'])
def test_boxes_fit_turned_images(orientation, frame, tmp_path):
    """The size in the json tells how its boxes count; images are loaded that way."""
    announced = WIDE if frame == 'stored' else TALL
    # The second image's size does not tell, but it is like the first.
    host = oriented(tmp_path, [(WIDE, orientation, announced), (WIDE, 3, WIDE)])
    dataset = make(tmp_path, host)
    for index, size in enumerate([announced, WIDE]):
        sample = dataset[index]
        assert tuple(sample['inputs'].shape[1:]) == size[::-1]
    assert red(dataset[1]) == (frame == 'stored')
    assert measure(dataset)['coco/bbox_mAP'] == 1.0
    plain, _ = dataset.views['forget'].write_plain(tmp_path / 'plain', {1: 0}, ['dog'])
    kind = plain['pipeline'][0].get('color_type', 'color')
    assert kind == ('color' if frame == 'shown' else 'color_ignore_orientation')


def test_a_half_turn_needs_a_word(tmp_path):
    host = oriented(tmp_path, [(WIDE, 3, WIDE)])
    with pytest.raises(ConfigError, match=r'orientation = None.*1\.jpg.*does not tell.*stored'):
        make(tmp_path, host)
    assert red(make(tmp_path, host, orientation='stored')[0])
    assert not red(make(tmp_path, host, orientation='shown')[0])
    loader = dict(type='LoadImageFromFile', color_type='color_ignore_orientation')
    assert red(make(tmp_path, dict(host, pipeline=[loader, *host['pipeline'][1:]]))[0])


@pytest.mark.parametrize(
    ('images', 'options', 'words'),
    [
        ([(WIDE, 6, WIDE), (WIDE, 6, TALL)], {}, r'orientation = None.*as stored in.*as shown in'),
        (
            [(WIDE, 6, WIDE)],
            dict(orientation='shown'),
            r"orientation = 'shown'.*as stored.*'stored'",
        ),
        ([(WIDE, 1, TALL)], {}, r'1\.jpg.*the file has 40 x 30 pixels, the json is for 30 x 40'),
        ([(WIDE, 1, WIDE), (WIDE, 1, (80, 60))], {}, r'2\.jpg.*for 80 x 60 \(1 of 2'),
        ([(WIDE, 6, (80, 60))], {}, r'1\.jpg.*the file has 40 x 30 pixels'),
        ([(WIDE, 6, TALL, 'WEBP')], {}, r'1\.jpg.*as shown, and the loader does not turn'),
        ([(WIDE, 6, WIDE, 'TIFF')], {}, r'1\.jpg.*as stored, and the loader turns this file'),
    ],
)
def test_images_that_boxes_cannot_fit(images, options, words, tmp_path):
    with pytest.raises(ConfigError, match=words) as caught:
        make(tmp_path, oriented(tmp_path, images), **options)
    assert caught.value.key.startswith('dataset.roles.forget.')


def test_a_loader_that_ignores_orientation_is_no_loader_of_shown_boxes(tmp_path):
    host = oriented(tmp_path, [(WIDE, 6, TALL)])
    host['pipeline'][0]['color_type'] = 'color_ignore_orientation'
    with pytest.raises(ConfigError, match=r'as shown in.*color_type="color"'):
        make(tmp_path, host)


def test_what_no_header_tells_is_compared_when_it_is_loaded(tmp_path, monkeypatch):
    host = write(tmp_path, content(['dog']))
    dataset = make(tmp_path, host)
    Image.new('RGB', (20, 20)).save(tmp_path / 'images' / '1.png')
    with pytest.raises(ConfigError, match=r'1\.png.*loaded as 20 x 20, the json says \(40, 30\)'):
        dataset[0]


@pytest.mark.parametrize('skipped', [False, True])
def test_missing_images_are_known_before_training(skipped, tmp_path):
    host = write(tmp_path, content(['dog', 'dog']))
    (tmp_path / 'images' / '2.png').unlink()
    if skipped:
        assert len(make(tmp_path, host, on_bad_sample='skip')) == 2
        (tmp_path / 'images' / '1.png').unlink()
    with pytest.raises(
        ConfigError, match=r'data_prefix.*\.png.*of 2 images are not there'
    ) as caught:
        make(tmp_path, host, on_bad_sample='skip' if skipped else 'raise')
    assert f'{1 + skipped} of 2' in str(caught.value)
