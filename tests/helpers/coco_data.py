"""Small COCO data, its roles, and the metrics of perfect predictions."""

import json

import mmdet.datasets  # noqa: F401  registers the host
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.evaluation.coco import CocoRoleMetric

WIDTH, HEIGHT = 40, 30
BOX = [4, 2, 8, 10]
SQUARE = [4, 2, 12, 2, 12, 12, 4, 12]


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
