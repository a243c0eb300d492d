"""COCO json as exporters write it, through role view, host and metric."""

import copy

import pytest
from mmengine.registry import DefaultScope

import knowswap_mm.datasets.coco as coco_role_view
from knowswap_mm.errors import ConfigError
from tests.helpers.coco_data import (
    BOX,
    SQUARE,
    changed,
    code,
    content,
    make,
    measure,
    runs,
    write,
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


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
        (dict(bbox=[0.1, 0.2, 0.5, 0.5]), 'shares of the image.*multiply'),
        (dict(image_id=99), r'no annotation of an image that it lists.*99'),
    ],
)
def test_refused_by_file_annotation_and_fix(change, words, tmp_path):
    with pytest.raises(ConfigError, match=words) as caught:
        make(tmp_path, write(tmp_path, changed(change)))
    assert 'boxes.json' in str(caught.value) and 'Fix: ' in str(caught.value)


def test_annotations_of_removed_images_are_left_out_and_counted(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(coco_role_view, 'print_log', lambda text, **_: told.append(text))
    found = content(['dog', 'dog', 'dog', 'dog'])
    found['images'] = found['images'][:2]
    found['annotations'].append(dict(found['annotations'][0]))
    dataset = make(tmp_path, write(tmp_path, found))
    assert '2 annotations of images that the file does not list' in told[0]
    assert 'of 5 annotations. Check that the file fits its images.' in told[0]
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
