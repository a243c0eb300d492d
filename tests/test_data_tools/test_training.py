"""What the converters write trains in the config that is meant for it."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from tests.test_data_tools import test_classification, test_detection
from tests.test_data_tools.test_large_sources import WNIDS, write_ade, write_imagenet
from tests.test_data_tools.test_segmentation import write_deepglobe

REPOSITORY = Path(__file__).parents[2]
SWIN = dict(depths=(1, 1, 1, 1), embed_dims=16, num_heads=(1, 2, 4, 8), window_size=4)

pytestmark = pytest.mark.slow


@pytest.fixture
def convert(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        path = REPOSITORY / 'tools' / 'dataset_converters' / f'{tool}.py'
        runpy.run_path(str(path), run_name='__main__')

    return run


def swap(name, batch, change, epochs=False):
    """Run a config for two iterations or an epoch a phase, with a small model of random weights."""
    config = Config.fromfile(REPOSITORY / 'configs' / f'{name}.py')
    config.merge_from_dict(change)
    for phase in config.swap.phase_settings.values():
        phase.update(dict(epochs=1) if 'epochs' in phase and epochs else dict(iters=2))
        if 'iters' in phase:
            phase.pop('epochs', None)
    config.train_dataloader.batch_size = batch
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        for role in loader.dataset.roles.values():
            role.pop('fraction', None)
            if 'view' in loader.dataset:
                role.cache_dir = 'cache'
    config.swap.allow_random_host = True
    config.load_from, config.work_dir = None, 'run'
    RUNNERS.build(config).train()
    results = json.loads(Path('run/swap_results.json').read_text())
    assert list(results['states']) == ['start', 'phase1_learn', 'phase2_forget']
    return results['states']['phase2_forget']['metrics']


def test_classification_trains(convert, tmp_path):
    write_imagenet(tmp_path / 'imagenet', 'kaggle')
    test_classification.write_cub(tmp_path / 'cub')
    root = 'data/imagenet100_swap'
    convert(
        *('classification', 'imagenet', '--source', 'imagenet', '--out', root),
        *('--forget', WNIDS[1], '--layout', 'official'),
    )
    convert(
        *('classification', 'cub', '--source', 'cub', '--out', f'{root}/cub-5/learn'),
        *('--layout', 'official'),
    )
    tiny = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    tiny['_delete_'] = True
    change = {'model.host.backbone.arch': tiny, 'model.host.head.in_channels': 32}
    change |= {'model.head.old_classes': 3, 'model.host.head.num_classes': 3 + 2}
    found = swap(
        'classification/vit-b16_imagenet100-cub-5_learn-forget_parity', 4, change, epochs=True
    )
    assert {f'{role}/accuracy/top1' for role in ('learn', 'forget', 'retain')} <= set(found)


def write_whole_coco(root):
    """An image for each of the 80 categories with their real, not contiguous ids."""
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    gaps = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = [number for number in range(1, 91) if number not in gaps]
    categories = [dict(id=i, name=name) for i, name in zip(ids, names, strict=True)]
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for number, label in enumerate(ids):
            file = f'{number:012d}.jpg'
            test_detection.draw(root / split / file, number, (64, 48))
            images.append(dict(id=number, file_name=file, width=64, height=48))
            annotations.append(
                dict(
                    id=number + 1,
                    image_id=number,
                    category_id=label,
                    bbox=[8, 8, 30, 20],
                    area=600,
                    iscrowd=0,
                )
            )
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def test_detection_trains(convert, tmp_path):
    write_whole_coco(tmp_path / 'coco')
    test_detection.write_dogs(tmp_path / 'dogs')
    root = 'data/coco_swap'
    common = ('--layout', 'official')
    convert('detection', 'coco', '--source', 'coco', '--out', root, '--forget', 'cat', *common)
    convert('detection', 'stanford-dogs', '--source', 'dogs', '--out', f'{root}/dogs', *common)
    load = dict(type='LoadImageFromFile')
    small = dict(type='Resize', scale=(96, 96), keep_ratio=True)
    boxes = dict(type='LoadAnnotations', with_bbox=True)
    pack = dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    change = {
        'model.host.backbone': dict(SWIN, with_cp=False),
        'model.host.neck.in_channels': [32, 64, 128],
        'model.host.num_queries': 20,
        'model.host.encoder.num_layers': 1,
        'model.host.decoder.num_layers': 2,
        'model.host.test_cfg.max_per_img': 20,
    }
    for role in ('learn', 'forget', 'retain'):
        place = f'dataloader.dataset.roles.{role}.dataset.pipeline'
        change[f'train_{place}'] = [load, boxes, small, pack]
        change[f'val_{place}'] = change[f'test_{place}'] = [load, small, pack]
    found = swap('detection/dino-4scale_swin-l_coco-dogs_learn-forget_parity', 4, change)
    assert {f'{role}/coco/bbox_mAP' for role in ('learn', 'forget', 'retain')} <= set(found)


def test_segmentation_trains(convert, tmp_path):
    write_ade(tmp_path / 'ade')
    write_deepglobe(tmp_path / 'land')
    root = 'data/ade_swap'
    common = ('--layout', 'official')
    convert('segmentation', 'ade20k', '--source', 'ade', '--out', root, '--forget', 'sky', *common)
    convert('segmentation', 'deepglobe', '--source', 'land', '--out', f'{root}/deepglobe', *common)
    change = {
        'model.host.backbone': SWIN,
        'model.host.decode_head.in_channels': [16, 32, 64, 128],
        'model.host.decode_head.num_queries': 10,
    }
    load, resize = dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64))
    maps, pack = dict(type='LoadAnnotations'), dict(type='PackSegInputs')
    for role in ('learn', 'forget', 'retain'):
        place = f'dataloader.dataset.roles.{role}.dataset.pipeline'
        change[f'train_{place}'] = [load, maps, resize, pack]
        change[f'val_{place}'] = change[f'test_{place}'] = [load, resize, maps, pack]
    change['model.host.data_preprocessor.size'] = (64, 64)
    found = swap('segmentation/mask2former_swin-b_ade20k-deepglobe_learn-forget_parity', 4, change)
    assert {f'{role}/seg/mIoU' for role in ('learn', 'forget', 'retain')} <= set(found)
