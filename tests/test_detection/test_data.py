"""Detection data as exporters and cameras write it, through role view, host and metric."""

import copy
import json
import logging

import mmdet.datasets  # noqa: F401  registers the host
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as coco_mask

from knowswap_mm.datasets import RoleDataset, SwapSampler
from knowswap_mm.datasets.data_manifest import data_manifest
from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation.coco_role_metric import CocoRoleMetric
from knowswap_mm.schedule import SwapSchedule

WIDTH, HEIGHT = 40, 30
BOX = [4, 2, 8, 10]
SQUARE = [4, 2, 12, 2, 12, 12, 4, 12]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def code(values=None):
    """Run lengths of BOX, compressed as pycocotools writes them."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[2:12, 4:12] = 1
    found = coco_mask.encode(np.asfortranarray(values))
    return dict(size=[HEIGHT, WIDTH], counts=found['counts'].decode())


def runs():
    """The same, uncompressed: 8 columns of 10 pixels."""
    counts = [4 * HEIGHT + 2, *[10, HEIGHT - 10] * 8]
    return dict(size=[HEIGHT, WIDTH], counts=[*counts[:-1], 40 * 30 - sum(counts[:-1])])


def content(objects=('dog', 'dog'), **fields):
    """An image for each entry, which is one class or several."""
    images = [dict(id=n, file_name=f'{n}.png', width=WIDTH, height=HEIGHT) for n in
              range(1, len(objects) + 1)]  # fmt: skip
    names = ['cat', 'dog', 'owl', 'bee', 'ant', 'fox']
    annotations = [
        dict(image_id=image, category_id=names.index(name) + 1, bbox=list(BOX), area=80, **fields)
        for image, group in enumerate(objects, 1)
        for name in ([group] if isinstance(group, str) else group)
    ]
    for number, each in enumerate(annotations, 1):
        each['id'] = number
    categories = [dict(id=n, name=name) for n, name in enumerate(names, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def write(root, found, masks=False, pipeline=None, **options):
    (root / 'images').mkdir(parents=True, exist_ok=True)
    for image in found['images']:
        path = root / 'images' / str(image.get('file_name', '')).replace('\\', '/')
        path = root / image['coco_url'].rsplit('/', 1)[-1] if 'coco_url' in image else path
        if not path.exists():
            Image.new('RGB', (WIDTH, HEIGHT)).save(path)
    (root / 'boxes.json').write_text(json.dumps(found), encoding='utf-8-sig')
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
        dict(type='PackDetInputs'),
    ]
    return dict(
        type='CocoDataset', data_root=f'{root}/', ann_file='boxes.json',
        data_prefix=dict(img='images/'), pipeline=pipeline or load, serialize_data=False, **options,
    )  # fmt: skip


CLASSES = dict(old=['cat', 'dog', 'owl'], learn=['bee', 'ant'], forget=['dog'])


def make(tmp_path, host, role='forget', classes=CLASSES, **options):
    options = dict(dataset=host, cache_dir=str(tmp_path / 'cache'), **options)
    return RoleDataset({role: options}, classes, view='knowswap_mm.CocoRoleView')


def measure(dataset, role='forget', metric='bbox'):
    """Metrics of predictions that equal the truth."""
    found = CocoRoleMetric(metric=metric)
    found.dataset_meta = dict(dataset.metainfo, **dataset.metainfo['role_metainfo'][role])
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        truth = sample.gt_instances
        masks = getattr(truth, 'masks', None)
        found.process({}, [dict(
            img_id=sample.img_id, ori_shape=sample.ori_shape,
            pred_instances=dict(
                bboxes=truth.bboxes.tensor, labels=truth.labels, scores=torch.ones(len(truth)),
                **({} if masks is None else dict(masks=torch.from_numpy(masks.masks).bool())),
            ),
        )])  # fmt: skip
    return found.evaluate(len(dataset))


def changed(annotation=None, image=None, category=None, drop=(), **fields):
    found = content(**fields)
    for part, values in (('annotations', annotation), ('images', image), ('categories', category)):
        for entry in found[part]:
            entry.update(values(entry) if callable(values) else values or {})
            for name in drop:
                entry.pop(name, None)
    return found


#: Ways to write the same two objects.
SAME = {
    'plain': changed(dict(iscrowd=0)),
    'no crowd': changed(),
    'crowd of null': changed(dict(iscrowd=None)),
    'crowd of false': changed(dict(iscrowd=False)),
    'crowd as text': changed(dict(iscrowd='0')),
    'no area': changed(drop=['area']),
    'area of null': changed(dict(area=None)),
    'area as text': changed(dict(area='80')),
    'ignored by nobody': changed(dict(ignore=0)),
    'no annotation ids': changed(lambda e: dict(id=None)),
    'equal annotation ids': changed(dict(id=1)),
    'floats': changed(lambda e: dict(id=float(e['id'])), dict(width=40.0, height=30.0)),
    'texts': changed(
        lambda e: {k: str(e[k]) for k in ('id', 'image_id', 'category_id')},
        lambda e: dict(id=str(e['id']), width='40', height='30.0'),
        lambda e: dict(id=str(e['id'])),
    ),
    'zeros before': changed(None, lambda e: dict(id=f'{e["id"]:012}')),
    'uuids': changed(
        lambda e: dict(image_id=f'image-{e["image_id"]}', id=f'x-{e["id"]}'),
        lambda e: dict(id=f'image-{e["id"]}'),
    ),
    'category uuids': changed(
        lambda e: dict(category_id=f'c-{e["category_id"]}'), None, lambda e: dict(id=f'c-{e["id"]}')
    ),
    'box of texts': changed(dict(bbox=[str(v) for v in BOX])),
    'box of the mask': changed(dict(bbox=[], segmentation=[SQUARE])),
    'box of the code': changed(dict(bbox=None, segmentation=code())),
    'box of the runs': changed(dict(bbox=None, segmentation=runs())),
    'segmentation of null': changed(dict(segmentation=None)),
    'no polygon': changed(dict(segmentation=[])),
    'empty polygon': changed(dict(segmentation=[[]])),
    'a point': changed(dict(segmentation=[[4, 2]])),
    'a box as polygon': changed(dict(segmentation=[list(BOX)])),
    'windows': changed(None, lambda e: dict(file_name=f'.\\{e["file_name"]}')),
    'lvis': changed(None, lambda e: dict(
        file_name=None, coco_url=f'http://images.cocodataset.org/{e["file_name"]}')),
}  # fmt: skip


@pytest.mark.parametrize('name', SAME)
def test_one_thing_written_in_many_ways(name, tmp_path):
    """All give the same sample, and the metric runs on the file of the role."""
    found = copy.deepcopy(SAME[name])
    for image in found['images']:
        if image['file_name'] is None:
            del image['file_name']
    host = write(tmp_path, found)
    if name == 'lvis':
        host['data_prefix'] = dict(img='')
    dataset = make(tmp_path, host)
    assert len(dataset) == 2
    for index in range(2):
        truth = dataset[index]['data_samples'].gt_instances
        assert truth.bboxes.tensor.tolist() == [[4, 2, 12, 12]] and truth.labels.tolist() == [1]
    assert measure(dataset)['coco/bbox_mAP'] == 1.0


MASKS = {
    'polygon': [SQUARE],
    'polygon alone': SQUARE,
    'pairs': [SQUARE[i : i + 2] for i in range(0, 8, 2)],
    'nested pairs': [[SQUARE[i : i + 2] for i in range(0, 8, 2)]],
    'texts': [[str(value) for value in SQUARE]],
    'with a point': [SQUARE, [4, 2]],
    'with a box': [SQUARE, [0, 0, 40, 30]],
    'with nothing': [[], SQUARE],
    'code': code(),
    'code of floats': dict(code(), size=[30.0, 40.0]),
    'runs': runs(),
    'runs of floats': dict(size=[30, 40], counts=[float(n) for n in runs()['counts']]),
}


@pytest.mark.parametrize('name', MASKS)
def test_masks_written_in_many_ways(name, tmp_path):
    found = changed(dict(segmentation=MASKS[name]))
    dataset = make(tmp_path, write(tmp_path, found, masks=True))
    masks = dataset[0]['data_samples'].gt_instances.masks.masks
    assert masks.shape == (1, 30, 40) and masks[0, 2:12, 4:12].all() and masks.sum() == 80
    metrics = measure(dataset, metric=['bbox', 'segm'])
    assert metrics['coco/segm_mAP'] == metrics['coco/bbox_mAP'] == 1.0


@pytest.mark.parametrize('bare', [None, [], [[]], [[4, 2]], [list(BOX)], [[1, 2, 3, 4, 5]], {}])
def test_an_object_without_a_mask_is_ignored_where_masks_train(bare, tmp_path):
    found = changed(dict(segmentation=[SQUARE]), objects=['dog', ['dog', 'dog']])
    found['annotations'][1]['segmentation'] = bare
    dataset = make(tmp_path, write(tmp_path, found, masks=True))
    sample = dataset[1]['data_samples']
    assert len(sample.gt_instances) == 1 and len(sample.ignored_instances) == 1
    counts = dataset.views['forget'].counts.to_dict()
    assert counts['other'] == {'objects without a usable mask, which are ignored': 1}
    assert counts['classes']['dog'] == dict(images=2, images_used=2, objects_used=2)
    assert measure(dataset, metric=['segm'])['coco/segm_mAP'] == 1.0


def test_no_mask_at_all_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r'ann_file.*no mask that can be drawn.*with_mask=False'):
        make(tmp_path, write(tmp_path, content(), masks=True))


def test_masks_are_measured_only_if_all_objects_have_one(tmp_path):
    found = changed(dict(segmentation=[SQUARE]))
    found['annotations'][1]['segmentation'] = [[1, 2]]
    dataset = make(tmp_path, write(tmp_path, found))
    with pytest.raises(ConfigError, match=r'metric.*1 of 2 objects have no mask.*2\.png.*bbox'):
        measure(dataset, metric='segm')


def test_codes_need_bitmaps(tmp_path):
    host = write(tmp_path, changed(dict(segmentation=code())), masks=True)
    host['pipeline'][1]['poly2mask'] = False
    with pytest.raises(ConfigError, match=r'poly2mask = False.*run-length codes.*True'):
        make(tmp_path, host)


@pytest.mark.parametrize('field', ['iscrowd', 'ignore'])
@pytest.mark.parametrize('value', [1, True, '1', 1.0])
def test_ignored_objects_are_crowd(field, value, tmp_path):
    """mmdet drops what has `ignore`; its metric counts it."""
    found = changed(objects=['dog', ['dog', 'dog']])
    found['annotations'][2].update({field: value, 'bbox': [20, 2, 8, 10]})
    dataset = make(tmp_path, write(tmp_path, found))
    sample = dataset[1]['data_samples']
    assert len(sample.gt_instances) == 1 and len(sample.ignored_instances) == 1
    assert measure(dataset)['coco/bbox_mAP'] == 1.0


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(iscrowd=2), r'annotation 1 2 where 0 or 1 belongs'),
        (dict(segmentation='all'), 'annotation 1 whose segmentation is a str'),
        (dict(segmentation=[[1, 2, 'x', 4, 5, 6]]), 'annotation 1 whose segmentation'),
        (dict(segmentation=dict(size=[40, 30], counts=[1200])), r'is for \[40, 30\]'),
        (dict(bbox=[1, 2, 3]), 'annotation 1 without a box'),
        (dict(bbox=[], segmentation=[[]]), 'annotation 1 without a box'),
        (dict(bbox=None, segments_info=[]), 'panoptic json.*instances json'),
        (dict(bbox=[12, 10, 39, 29]), 'two corners.*width = x2 - x1'),
        (dict(bbox=[0.1, 0.2, 0.5, 0.5]), 'shares of the picture.*multiply'),
        (dict(image_id=99), r'no annotation of a picture that it lists.*99'),
    ],
)
def test_refused_by_file_annotation_and_fix(change, words, tmp_path):
    with pytest.raises(ConfigError, match=words) as caught:
        make(tmp_path, write(tmp_path, changed(change)))
    assert 'boxes.json' in str(caught.value) and 'Fix: ' in str(caught.value)


def test_annotations_of_removed_images_are_left_out_and_counted(tmp_path, caplog):
    found = content(['dog', 'dog', 'dog', 'dog'])
    found['images'] = found['images'][:2]
    found['annotations'].append(dict(found['annotations'][0]))
    with caplog.at_level(logging.WARNING):
        dataset = make(tmp_path, write(tmp_path, found))
    assert len(dataset) == 2
    assert dataset.views['forget'].counts.to_dict()['other'] == {
        'annotations of images that the file does not list': 2,
        'annotations that are listed twice': 1,
    }


def test_two_categories_of_one_name_in_the_swap(tmp_path):
    """A label map may merge them; the first one was lost."""
    host = write(tmp_path, content(['dog', 'owl', ['dog', 'owl']]))
    classes = dict(old=['cat', 'dog'], forget=['dog'])
    dataset = make(tmp_path, host, classes=classes, label_map=dict(owl='dog'))
    labels = [dataset[i]['data_samples'].gt_instances.labels.tolist() for i in range(3)]
    assert labels == [[1], [1], [1, 1]]


# What is left out


def names_of(dataset, index):
    names = dataset.metainfo['classes']
    return [names[label] for label in dataset[index]['data_samples'].gt_instances.labels]


def test_classes_without_a_role_do_not_make_an_image_mixed(tmp_path):
    """The blood images: learn two classes, and a third without a role is in every image."""
    host = write(tmp_path, content([['bee', 'fox'], ['ant', 'fox', 'fox'], ['fox']]))
    for role, group in (('learn', ['bee', 'ant']), ('forget', [])):
        classes = dict(CLASSES, learn=group, forget=[] if group else ['dog'])
        if not group:
            host = write(tmp_path / 'b', content([['dog', 'fox'], ['fox']]))
        dataset = make(tmp_path, host, role, classes)
        found = [names_of(dataset, index) for index in range(len(dataset))]
        assert found == ([['bee'], ['ant']] if group else [['dog']])
    assert dataset.views['forget'].counts.to_dict()['left_out'] == {}


def test_learn_data_by_role(tmp_path):
    """Retained classes keep their boxes; what is forgotten must not be learned beside."""
    host = write(tmp_path, content([['bee', 'cat'], ['ant', 'dog'], ['ant', 'owl', 'fox']]))
    dataset = make(tmp_path, host, 'learn', dict(CLASSES, retain=['cat']))
    found = [names_of(dataset, index) for index in range(len(dataset))]
    assert found == [['bee', 'cat'], ['ant', 'owl']]
    counts = dataset.views['learn'].counts.to_dict()
    assert counts['left_out'] == {"with objects of 'dog'": 1}
    assert counts['classes']['ant'] == dict(images=2, images_used=1, objects_used=1)
    assert counts['other'] == {"objects of other classes count as background: 'fox'": 1}


def test_classes_without_a_role_can_be_ignored(tmp_path):
    host = write(tmp_path, content([['bee', 'fox']]))
    dataset = make(tmp_path, host, 'learn', mixed='ignore_boxes')
    sample = dataset[0]['data_samples']
    assert names_of(dataset, 0) == ['bee'] and len(sample.ignored_instances) == 1
    # In an evaluation the box would hide wrong predictions of a class.
    tested = make(tmp_path, dict(host, test_mode=True), 'learn', mixed='ignore_boxes')
    assert not len(tested[0]['data_samples'].ignored_instances)


def test_a_class_that_is_left_without_an_image_is_refused(tmp_path, caplog):
    host = write(tmp_path, content([['bee'], ['bee', 'fox'], ['ant', 'fox']]))
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, host, 'learn', mixed='drop_image')
    for words in ('roles.learn.mixed', '2 of 3 images', "2 with objects of 'fox'", "'ant' (1 befo"):
        assert words in str(caught.value)
    with caplog.at_level(logging.WARNING):
        tested = make(tmp_path, dict(host, test_mode=True), 'learn', mixed='drop_image')
    assert len(tested) == 1


@pytest.fixture
def warnings(monkeypatch):
    """What is logged as a warning: mmengine's logger does not hand records on."""
    found = []
    import knowswap_mm.datasets.role_counts as role_counts

    real = role_counts.print_log
    keep = lambda text, **k: found.append(text) or real(text, **k)  # noqa: E731
    monkeypatch.setattr(role_counts, 'print_log', keep)
    return found


def test_the_record_of_a_run_has_the_counts(tmp_path):
    host = write(tmp_path, content([['bee', 'dog'], 'bee', 'ant']))
    dataset = make(tmp_path, host, 'learn')
    record = data_manifest(dataset)['roles']['learn']
    assert record['samples'] == 2 and record['counts'] == dict(
        unit='objects',
        images=3,
        images_used=2,
        left_out={"with objects of 'dog'": 1},
        other={},
        classes=dict(
            bee=dict(images=2, images_used=1, objects_used=1),
            ant=dict(images=1, images_used=1, objects_used=1),
        ),
    )


@pytest.mark.parametrize(('mixed', 'warned'), [(3, False), (4, True)])
def test_many_left_out_images_are_a_warning(mixed, warned, tmp_path, warnings):
    groups = [['dog', 'cat']] * mixed + ['dog'] * (10 - mixed)
    make(tmp_path, write(tmp_path, content(groups)))
    assert bool(warnings) == warned
    if warned:
        assert "4 of 10 images of the role are left out: 4 with objects of 'cat'" in warnings[0]


def test_a_rest_smaller_than_a_batch_is_refused(tmp_path):
    host = write(tmp_path, content([['dog', 'cat'], 'dog', 'dog', 'cat', 'cat']))
    roles = {r: dict(dataset=host, cache_dir=str(tmp_path / 'c')) for r in ('forget', 'retain')}
    dataset = RoleDataset(roles, dict(CLASSES, learn=[]), view='knowswap_mm.CocoRoleView')
    swap = dict(phases=[dict(kind='forget', iters=2, split=dict(forget=3, retain=3), bound=5.0)])
    schedule = SwapSchedule.from_config(swap, dataset.role_sizes, 6)
    with pytest.raises(ConfigError, match=r'forget\.mixed.*2 images are left and 1 left out.*3'):
        SwapSampler(dataset, schedule)
    swap['phases'][0]['split'] = dict(forget=2, retain=4)  # there were no four
    SwapSampler(dataset, SwapSchedule.from_config(swap, dataset.role_sizes, 6))


def test_small_images_are_left_out_as_the_host_would(tmp_path):
    found = content()
    found['images'][0].update(width=20)
    Image.new('RGB', (20, 30)).save((tmp_path / 'images').mkdir() or tmp_path / 'images/1.png')
    host = write(tmp_path, found, filter_cfg=dict(filter_empty_gt=True, min_size=25))
    dataset = make(tmp_path, host)
    left = dataset.views['forget'].counts.left_out
    assert len(dataset) == 1 and left == {'smaller than 25 (filter_cfg.min_size)': 1}


# Files that are not as announced


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


# Data sets of other kinds


@pytest.mark.parametrize(
    ('changes', 'key', 'fix'),
    [
        (dict(type='RepeatDataset', times=2), 'type', 'counts iterations'),
        (dict(type='ClassBalancedDataset', oversample_thr=0.1), 'type', "fraction_by='class'"),
        (dict(type='ConcatDataset', datasets=[]), 'type', 'one annotation file'),
        (dict(type='MultiImageMixDataset'), 'type', 'inner data set'),
        (dict(type='VOCDataset'), 'type', 'data-detection voc'),
        (dict(type='XMLDataset'), 'type', 'data-detection voc'),
        (dict(type='LVISV1Dataset'), 'type', "type='CocoDataset' with the same"),
        (dict(type='Objects365V2Dataset'), 'type', "type='CocoDataset' with the same"),
        (dict(type='CocoPanopticDataset'), 'type', 'instances json'),
        (dict(type='CrowdHumanDataset'), 'type', 'as COCO json'),
        (dict(type='NoSuchDataset'), 'type', 'CocoDataset'),
        (dict(ann_file=['a.json', 'b.json']), 'ann_file', 'join'),
        (dict(indices=3), 'indices', 'fraction'),
        (dict(data_prefix=dict(img_path='images/')), 'data_prefix', "img='train2017/'"),
    ],
)
def test_data_sets_that_are_refused_by_key(changes, key, fix, tmp_path):
    host = write(tmp_path, content())
    wrapped = dict(changes, dataset=host) if 'times' in changes else dict(host, **changes)
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, wrapped)
    assert caught.value.key == f'dataset.roles.forget.dataset.{key}' and fix in str(caught.value)


def test_a_data_set_class_and_a_relative_of_coco(tmp_path):
    host = write(tmp_path, content())
    for kind in (mmdet.datasets.CocoDataset, 'CityscapesDataset', 'mmdet.CocoDataset'):
        assert len(make(tmp_path, dict(host, type=kind))) == 2


def test_a_pipeline_without_boxes_trains_nothing(tmp_path):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
    dataset = make(tmp_path, write(tmp_path, content(), pipeline=pipeline))
    with pytest.raises(ConfigError, match=r'pipeline.*loads no boxes.*LoadAnnotations'):
        dataset[0]
