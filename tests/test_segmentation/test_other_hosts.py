"""The same roles with other hosts by config: UPerNet, and mmdet's Mask2Former for instances."""

import copy
import json

import pytest
from mmengine.config import ConfigDict
from mmengine.registry import RUNNERS

from tests.helpers.detection_configs import NEW as NEW_SHAPES
from tests.helpers.detection_configs import OLD as OLD_SHAPES
from tests.helpers.detection_configs import detection_config
from tests.helpers.segmentation_configs import NEW, OLD, host_config, segmentation_config

PHASES = [
    dict(kind='learn', iters=2, weights=dict(sparsity=0.01)),
    dict(kind='forget', iters=2, bound=9.0, merge_learned=True),
]

pytestmark = pytest.mark.slow


def results(config, folder):
    RUNNERS.build(config).train()
    return json.loads((folder / 'swap_results.json').read_text())['states']


def test_upernet(scenes, tmp_path):
    classes = len(OLD) + len(NEW)
    host = dict(host_config(classes))
    head = dict(
        in_channels=[16, 32, 64],
        in_index=[0, 1, 2],
        channels=16,
        num_classes=classes,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    )
    host['decode_head'] = dict(type='UPerHead', pool_scales=(1, 2), **head)
    fcn = dict(type='FCNHead', num_convs=1, concat_input=False)
    host['auxiliary_head'] = head | fcn | dict(in_channels=64, in_index=2)
    config = segmentation_config(scenes, tmp_path, tmp_path / 'none', PHASES)
    config.load_from, config.swap.allow_random_host = None, True
    config.model.host = ConfigDict(host)
    states = results(config, tmp_path)
    assert list(states) == ['start', 'phase1_learn', 'phase2_forget']
    assert {'learn/seg/mIoU', 'retain/seg/IoU/disc'} <= set(states['phase2_forget']['metrics'])


def test_instances_with_mask2former(scenes, tmp_path):
    """mmdet's head counts things and stuff; the roles are those of detection."""
    classes = len(OLD_SHAPES) + len(NEW_SHAPES)
    segmentor = copy.deepcopy(host_config(classes))
    head = segmentor.decode_head
    train_cfg = head.pop('train_cfg')
    for key in ('num_classes', 'align_corners', 'type'):
        head.pop(key)
    host = dict(
        type='Mask2Former',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[127.5] * 3, std=[60.0] * 3, pad_mask=True
        ),
        backbone=segmentor.backbone,
        panoptic_head=dict(
            head, type='Mask2FormerHead', num_things_classes=classes, num_stuff_classes=0
        ),
        panoptic_fusion_head=dict(
            type='MaskFormerFusionHead',
            num_things_classes=classes,
            num_stuff_classes=0,
            loss_panoptic=None,
            init_cfg=None,
        ),
        train_cfg=train_cfg,
        test_cfg=dict(
            panoptic_on=False, semantic_on=False, instance_on=True, max_per_image=10, iou_thr=0.8
        ),
    )
    config = detection_config(scenes, tmp_path, tmp_path / 'none', PHASES)
    config.load_from, config.swap.allow_random_host = None, True
    config.model = dict(
        type='knowswap_mm.KnowledgeSwapper',
        host=ConfigDict(host),
        lora=dict(rank=2, alpha=2),
        head=dict(old_classes=len(OLD_SHAPES), count_keys=('num_things_classes',)),
        fuse='always',
        fp32_losses=True,
    )
    for role in config.train_dataloader.dataset.roles.values():
        role.dataset.pipeline[1].with_mask = True
        assert role.dataset.pipeline[1].type == 'LoadAnnotations'
    for name in ('val_evaluator', 'test_evaluator'):
        config[name].metric = dict(type='knowswap_mm.CocoRoleMetric', metric=['bbox', 'segm'])
        config[name].primary = 'coco/segm_mAP'
    states = results(config, tmp_path)
    assert len(states) == 3
    for role in ('learn', 'forget', 'retain'):
        assert 0 <= states['phase2_forget']['metrics'][f'{role}/coco/segm_mAP'] <= 1
