"""A trained classifier, and a detector and a segmentor that swapped without training."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.exports import predictions, save_swapped
from tests.helpers.runs import PHASES
from tests.helpers.swap_configs import (
    pretrain_host,
    swap_config,
    train,
    write_config,
)


@pytest.fixture(scope='session')
def classifier(picture_tree, tmp_path_factory):
    """A finished swap: its config, the file of it, and its last checkpoint."""
    folder = tmp_path_factory.mktemp('classifier')
    root = shutil.copytree(picture_tree, folder / 'my images')
    host = pretrain_host(root, folder / 'host.pth')
    config = swap_config(root, folder / 'run', host=host)
    config.test_evaluator.metric.append(dict(type='knowswap_mm.PerClassAccuracy'))
    train(config)
    return config, write_config(config, folder / 'config.py'), folder / 'run/phase2_forget.pth'


@pytest.fixture(scope='session')
def detector(tmp_path_factory):
    """Config, its file and a checkpoint; the images show some of what the model finds."""
    folder = tmp_path_factory.mktemp('detector')
    root = detection_configs.write_scenes(folder / 'shape scenes')
    host = detection_configs.write_host(folder / 'host.pth')
    config = detection_configs.detection_config(root, folder / 'run', host, PHASES)
    for role in config.test_dataloader.dataset.roles.values():
        role.mixed = 'drop_boxes'
    names = [*detection_configs.OLD, *detection_configs.NEW]
    checkpoint = save_swapped(config, names, folder / 'swap.pth')
    found = predictions(config, checkpoint)
    _show_boxes(root, found, names)
    return config, write_config(config, folder / 'config.py'), checkpoint


def _show_boxes(root, found, names):
    boxes = {}
    for sample in found:
        part = sample.pred_instances
        pairs = zip(part.labels.tolist(), part.bboxes.tolist(), strict=True)
        boxes[sample.img_path] = list(pairs)
    for old_or_new in ('old', 'new'):
        path = root / old_or_new / 'annotations' / 'instances_val.json'
        content = json.loads(path.read_text())
        ids = {category['name']: category['id'] for category in content['categories']}
        content['annotations'] = []
        for image in content['images']:
            here = boxes.get(str(root / old_or_new / 'val' / image['file_name']), [])
            for label, (left, top, right, bottom) in here[::3]:
                if names[label] in ids:
                    item = dict(id=len(content['annotations']) + 1, image_id=image['id'])
                    box = [left + 1, top, right - left, bottom - top]
                    item.update(category_id=ids[names[label]], bbox=box, iscrowd=0)
                    content['annotations'].append(item | dict(area=box[2] * box[3]))
        path.write_text(json.dumps(content))


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory):
    """Config, its file and a checkpoint; the left of each map is what the model finds."""
    folder = tmp_path_factory.mktemp('segmentor')
    root = segmentation_configs.write_scenes(folder / 'shape scenes')
    host = segmentation_configs.write_host(folder / 'host.pth')
    config = segmentation_configs.segmentation_config(root, folder / 'run', host, PHASES)
    names = [*segmentation_configs.OLD, *segmentation_configs.NEW]
    checkpoint = save_swapped(config, names, folder / 'swap.pth')
    for sample in predictions(config, checkpoint):
        _show_map(sample, names, config.test_dataloader.dataset.roles)
    return config, write_config(config, folder / 'config.py'), checkpoint


def _show_map(sample, names, roles):
    role = 'learn' if '/new/' in sample.img_path else 'retain'
    own = roles[role].dataset.metainfo.classes
    # Zero is no class in these files.
    numbers = np.array([own.index(name) + 1 if name in own else 0 for name in names], np.uint8)
    values = np.array(Image.open(sample.seg_map_path))
    found = numbers[sample.pred_sem_seg.data.squeeze().numpy()]
    values[:, :32] = found[:, :32]
    Image.fromarray(values).save(sample.seg_map_path)
