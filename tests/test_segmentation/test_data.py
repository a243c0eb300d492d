"""Semantic maps as tools and cameras write them, through role view, host and metric."""

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

import knowswap_mm.datasets.semantic as semantic_role_view
from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation import SemanticRoleMetric

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
WIDTH, HEIGHT = 12, 8


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def half(value, rest=255, size=(WIDTH, HEIGHT)):
    """A map with one id on its left half."""
    values = np.full(size[::-1], rest, np.uint8)
    values[:, : size[0] // 2] = value
    return Image.fromarray(values)


def write(root, maps, sizes=None, suffix='.png', orientation=1):
    """Images and maps by name; images have the size of their map or another one."""
    for folder in ('images', 'maps'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, each in maps.items():
        image = Image.new('RGB', (sizes or {}).get(name, each.size))
        image.save(root / 'images' / f'{name}{suffix}', exif=exif)
        each.save(root / 'maps' / f'{name}.png')
    return root


def host(root, **options):
    config = dict(
        type='BaseSegDataset', data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='maps'), img_suffix='.png',
        metainfo=dict(classes=['a', 'b', 'c']), pipeline=LOAD, serialize_data=False,
    )  # fmt: skip
    return config | options


def make(root, config=None, classes=None, **options):
    options = dict(cache_dir=str(root / 'cache'), dataset=config or host(root)) | options
    return DATASETS.build(
        dict(
            type='knowswap_mm.RoleDataset',
            view='knowswap_mm.SemanticRoleView',
            roles=dict(forget=options),
            classes=dict(old=['a', 'b', 'c'], learn=[], forget=['b']) | (classes or {}),
        )
    )


def measure(dataset):
    """The role's IoU of predictions that equal the truth."""
    metric = SemanticRoleMetric()
    metric.dataset_meta = dict(dataset.metainfo, **dataset.metainfo['role_metainfo']['forget'])
    for index in range(len(dataset)):
        truth = dataset[index]['data_samples'].gt_sem_seg.data
        found = dict(data=torch.where(truth == 255, torch.zeros_like(truth), truth))
        metric.process({}, [dict(pred_sem_seg=found, gt_sem_seg=dict(data=truth))])
    return metric.evaluate(len(dataset))['seg/mIoU']


def grey(values, mode):
    return Image.fromarray(np.asarray(values).astype(mode))


#: The same map: b on the left, nothing on the right.
SAME = {
    'grey': half(1),
    'palette': half(1).convert('P'),
    'deep': grey(half(1), np.uint16),
}


@pytest.mark.parametrize('name', SAME)
def test_one_map_written_in_many_ways(name, tmp_path):
    dataset = make(write(tmp_path, dict(x=SAME[name])))
    truth = dataset[0]['data_samples'].gt_sem_seg.data[0]
    assert (truth[:, : WIDTH // 2] == 1).all() and (truth[:, WIDTH // 2 :] == 255).all()
    assert measure(dataset) == 100.0


def test_two_values_are_a_map(tmp_path):
    """A mask of one bit: 0 is a, 1 is b."""
    dataset = make(write(tmp_path, dict(x=half(1, 0).point(lambda v: 255 * v).convert('1'))))
    assert measure(dataset) == 100.0


@pytest.mark.parametrize('reduced', [False, True])
def test_255_is_no_class_with_and_without_reduced_zero(reduced, tmp_path):
    root = write(tmp_path, dict(x=half(1 + reduced, 255), y=half(1 + reduced, 0)))
    dataset = make(root, host(root, reduce_zero_label=reduced))
    for index in range(2):
        truth = dataset[index]['data_samples'].gt_sem_seg.data[0]
        assert (truth[:, : WIDTH // 2] == 1).all() and (truth[:, WIDTH // 2 :] == 255).all()


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        (half(1).convert('RGB'), r'x\.png.*3 dimensions.*grey or palette'),
        (half(1).convert('RGBA'), r'x\.png.*3 dimensions.*grey or palette'),
        (half(1).convert('LA'), r'x\.png.*3 dimensions.*grey or palette'),
        (half(1, 7), r'x\.png.*the id 7, which is no class'),
        (grey(np.full((8, 12), 257), np.uint16), r'x\.png.*the id \d+.*0 to 255'),
    ],
)
def test_maps_that_are_none(values, words, tmp_path):
    with pytest.raises(ConfigError, match=words) as caught:
        make(write(tmp_path, dict(x=values)))
    assert caught.value.key == 'dataset.roles.forget.dataset.data_prefix.seg_map_path'


def test_a_map_of_another_size_is_refused(tmp_path):
    root = write(tmp_path, dict(x=half(1), y=half(1)), dict(y=(24, 16)))
    with pytest.raises(ConfigError, match=r'y\.png.*has 24 x 16 pixels, the map is for 12 x 8 \(1'):
        make(root)


@pytest.mark.parametrize('frame', ['stored', 'shown'])
def test_maps_fit_turned_images(frame, tmp_path):
    size = (WIDTH, HEIGHT) if frame == 'shown' else (HEIGHT, WIDTH)
    maps = dict(x=half(1, size=size))
    root = write(tmp_path, maps, dict(x=(HEIGHT, WIDTH)), '.jpg', orientation=6)
    dataset = make(root, host(root, img_suffix='.jpg'))
    sample = dataset[0]
    assert tuple(sample['inputs'].shape[1:]) == size[::-1]
    assert sample['data_samples'].gt_sem_seg.shape == size[::-1]


def test_a_mirrored_image_needs_a_word(tmp_path):
    root = write(tmp_path, dict(x=half(1)), suffix='.jpg', orientation=2)
    with pytest.raises(ConfigError, match=r'orientation = None.*does not tell.*the map'):
        make(root, host(root, img_suffix='.jpg'))
    for frame in ('shown', 'stored'):
        assert len(make(root, host(root, img_suffix='.jpg'), orientation=frame)) == 1


@pytest.mark.parametrize('text', ['x\ny\n', 'x\ny'])
def test_a_list_of_images(text, tmp_path):
    root = write(tmp_path, dict(x=half(1), y=half(1), z=half(1)))
    (root / 'train.txt').write_text(text)
    assert len(make(root, host(root, ann_file='train.txt'))) == 2
    with pytest.raises(ConfigError, match=r'cannot be built.*nowhere\.txt'):
        make(root, host(root, ann_file='nowhere.txt'))


@pytest.mark.parametrize(
    ('changes', 'key', 'words'),
    [
        (dict(type='RepeatDataset', times=2), 'type', 'counts iterations'),
        (dict(type='ConcatDataset', datasets=[]), 'type', 'wraps other data sets'),
        (dict(type='mmseg.MultiImageMixDataset'), 'type', 'not mixed'),
        (dict(ignore_index=1), 'ignore_index', "the label of 'b'"),
        (
            dict(pipeline=[LOAD[0], dict(type='LoadAnnotations', reduce_zero_label=True)]),
            'pipeline.LoadAnnotations.reduce_zero_label',
            'reduce_zero_label=False',
        ),
        (
            dict(pipeline=[LOAD[0], dict(type='LoadAnnotations', imdecode_backend='cv2')]),
            'pipeline.LoadAnnotations.imdecode_backend',
            'colours of a palette',
        ),
        (dict(img_suffix='.jpg'), 'img_suffix', r'1 \.png'),
    ],
)
def test_settings_that_are_refused_by_key(changes, key, words, tmp_path):
    root = write(tmp_path, dict(x=half(1).convert('P')))
    with pytest.raises(ConfigError, match=words) as caught:
        make(root, host(root, **changes))
    assert caught.value.key == f'dataset.roles.forget.dataset.{key}'


def test_a_pipeline_without_maps_trains_nothing(tmp_path):
    root = write(tmp_path, dict(x=half(1)))
    dataset = make(root, host(root, pipeline=[LOAD[0], LOAD[2]]))
    with pytest.raises(ConfigError, match=r'pipeline.*loads no maps.*LoadAnnotations'):
        dataset[0]


def test_images_of_another_ending_are_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(semantic_role_view, 'print_log', lambda text, **_: told.append(text))
    root = write(tmp_path, dict(x=half(1), y=half(1)))
    write(tmp_path, dict(z=half(1)), suffix='.jpg')
    assert len(make(root)) == 2
    assert "img_suffix = '.png'" in told[0] and '1 .jpg' in told[0] and 'not used' in told[0]


def test_what_is_left_out_is_counted_and_refused(tmp_path):
    """No image of b is left: c is in each."""
    root = write(tmp_path, dict(x=half(1, 2), y=half(0, 0), z=half(0, 255)))
    classes = dict(forget=['a', 'b'])
    with pytest.raises(ConfigError, match=r"mixed = 'drop_image'.*1 with pixels of 'c'.*'b' \(1"):
        make(root, classes=classes, mixed='drop_image')
    dataset = make(root, dict(host(root), test_mode=True), classes, mixed='drop_image')
    found = dataset.views['forget'].counts.to_dict()
    assert found['left_out'] == {"with pixels of 'c'": 1} and found['images'] == 3
    assert found['classes'] == dict(
        a=dict(images=2, images_used=2, pixels_used=WIDTH * HEIGHT * 3 // 2),
        b=dict(images=1, images_used=0, pixels_used=0),
    )
