"""Where the features of objects and regions are read, on real small hosts."""

from types import SimpleNamespace

import mmdet
import mmseg.models  # noqa: F401  registers the hosts
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from knowswap_mm.audit.models import read_units
from knowswap_mm.audit.readers import ClassificationReader, DetectionReader, SegmentationReader
from knowswap_mm.audit.readers.reader import LastCall
from knowswap_mm.errors import ConfigError
from tests.helpers import detection_configs, segmentation_configs, swap_configs
from tests.helpers.tiny_hosts import randomise

BOXES = torch.tensor([[4.0, 4, 24, 20], [30, 24, 46, 40], [2, 28, 20, 38]])
LABELS = torch.tensor([2, 0, 2])
CLASSES = 4


def detection_batch(height=40, width=48):
    info = dict(ori_shape=(height, width), img_shape=(height, width), scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=info)
    sample.gt_instances = InstanceData(bboxes=BOXES.clone(), labels=LABELS.clone())
    return dict(inputs=[picture(height, width)], data_samples=[sample])


def segmentation_batch():
    """An image that was twice as large when it was annotated, and that the host pads."""
    info = dict(ori_shape=(80, 96), img_shape=(40, 48), scale_factor=(0.5, 0.5))
    truth = torch.full((1, 80, 96), 255)
    for (left, top, right, bottom), label in zip(2 * BOXES.int(), LABELS, strict=True):
        truth[0, top:bottom, left:right] = label
    sample = SegDataSample(metainfo=info, gt_sem_seg=PixelData(data=truth))
    return dict(inputs=[picture(40, 48)], data_samples=[sample])


def picture(height, width):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def build(scope, config):
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS.build(ConfigDict(config)).eval()


@pytest.fixture
def dino():
    return randomise(build('mmdet', detection_configs.host_config(CLASSES)))


@pytest.fixture
def mask2former():
    return randomise(build('mmseg', segmentation_configs.host_config(CLASSES)))


def convolutional(kind):
    """A detector of mmdet without queries."""
    path = f'{mmdet.__path__[0]}/.mim/configs/_base_/models/{kind}_r50_fpn.py'
    config = Config.fromfile(path).model
    config.backbone.update(depth=18, init_cfg=None)
    config.neck.in_channels = [64, 128, 256, 512]
    for head in (config.get('bbox_head'), config.get('roi_head', {}).get('bbox_head')):
        for each in head if isinstance(head, list) else [head]:
            if each is not None:
                each.num_classes = CLASSES
    return build('mmdet', config)


def upernet():
    head = dict(channels=16, num_classes=CLASSES, norm_cfg=dict(type='BN'), align_corners=False)
    host = segmentation_configs.host_config(CLASSES)
    inputs = dict(in_channels=[16, 32, 64], in_index=[0, 1, 2])
    host['decode_head'] = dict(head, type='UPerHead', pool_scales=(1, 2), **inputs)
    return build('mmseg', host)


@torch.no_grad()
def read(reader, host, batch, own=range(CLASSES)):
    return reader.read(host, batch, set(own))


def place_queries_on_objects(host):
    """Queries 7, 3 and 5 answer with the boxes of the objects.

    Queries 1, 2 and 4 answer with the boxes of an image that is as high as ours is wide and the
    other way round, the others with a corner.
    """

    def answer(module, inputs, output):
        if not module.training and output[1].shape[2] == 10:  # not the denoising of the loss
            boxes = torch.tensor([0.0, 0, 1, 1]).repeat(10, 1)
            boxes[[7, 3, 5]] = BOXES
            boxes /= torch.tensor([48.0, 40, 48, 40])
            boxes[[1, 2, 4]] = BOXES / torch.tensor([40.0, 48, 40, 48])
            output[1][-1, 0] = bbox_xyxy_to_cxcywh(boxes)
        return output

    host.bbox_head.register_forward_hook(answer)


def place_masks_on_regions(host):
    """Query 6 answers with the regions of label 2, query 1 with that of 0.

    Queries 5 and 2 answer with where they would be if the padded image were the annotated one.
    """
    host.data_preprocessor.test_cfg = dict(size_divisor=64)
    stretched = BOXES * 64 / torch.tensor([48, 40, 48, 40])

    def answer(module, inputs, output):
        height, width = (4 * size for size in output[1][-1].shape[-2:])
        assert (height, width) == (64, 64)
        logits = torch.full((1, 10, height, width), -9.0)
        for boxes, queries in ((BOXES, (6, 1, 6)), (stretched, (5, 2, 5))):
            for (left, top, right, bottom), query in zip(boxes.int(), queries, strict=True):
                logits[0, query, top:bottom, left:right] = 9.0
        output[1][-1] = torch.nn.functional.avg_pool2d(logits, 4)
        return output

    host.decode_head.register_forward_hook(answer)


def test_a_detector_is_read_at_the_query_of_the_object(dino):
    place_queries_on_objects(dino)
    seen = []
    last = dino.bbox_head.cls_branches[1]  # of the two decoder layers; behind it is the encoder's
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    units = read(DetectionReader(), dino, detection_batch())
    assert units.labels.tolist() == [2, 0, 2]
    assert torch.equal(torch.from_numpy(units.features), seen[0][0, [7, 3, 5]])
    first = []
    dino.bbox_head.cls_branches[0].register_forward_pre_hook(lambda _, i: first.append(i[0]))
    (rows,) = read(DetectionReader(), dino, detection_batch()).layers.values()
    assert torch.equal(torch.from_numpy(rows), first[0][0, [7, 3, 5]])  # the same queries
    assert DetectionReader().class_layers(dino) == {
        'bbox_head.cls_branches.0': 'decoder.layers.0',
        'bbox_head.cls_branches.1': 'head',
    }
    assert DetectionReader(features='maps').class_layers(dino) == {}
    assert read(DetectionReader(), dino, detection_batch(), [0]).features.shape == (1, 32)
    assert read(DetectionReader(), dino, detection_batch(), []).features.shape == (0, 32)


def test_a_segmentor_is_read_at_the_query_of_the_region(mask2former):
    place_masks_on_regions(mask2former)
    with LastCall(mask2former.decode_head.cls_embed) as layer, torch.no_grad():
        mask2former.test_step(segmentation_batch())
    units = read(SegmentationReader(), mask2former, segmentation_batch())
    assert units.labels.tolist() == [0, 2]
    assert torch.equal(torch.from_numpy(units.features), layer.inputs[0][0, [1, 6]])
    # Two layers behind the first predictions; the last one is the head's.
    assert list(units.layers) == ['decoder.predictions.0', 'decoder.predictions.1']
    assert all(rows.shape == (2, 32) for rows in units.layers.values())
    assert SegmentationReader().class_layers(mask2former) == {'decode_head.cls_embed': 'head'}
    empty = read(SegmentationReader(), mask2former, segmentation_batch(), [])
    assert empty.features.shape == (0, 32)


@pytest.mark.parametrize('change', ['permuted', 'zeroed', 'forgotten'])
@pytest.mark.parametrize('task', ['dino', 'mask2former'])
def test_the_features_do_not_depend_on_the_class_scores(task, change, request):
    host = request.getfixturevalue(task)
    detects = task == 'dino'
    reader, batch, layer = (
        (DetectionReader(), detection_batch, host.bbox_head.cls_branches[1])
        if detects
        else (SegmentationReader(), segmentation_batch, host.decode_head.cls_embed)
    )
    before = read(reader, host, batch())
    with torch.no_grad():
        for parameter in layer.parameters():
            if change == 'permuted':
                parameter.copy_(parameter[[1, 2, 3, 0, *range(4, len(parameter))]])
            elif change == 'zeroed':
                parameter.zero_()
            else:
                parameter[2] = -50.0
    after = read(reader, host, batch())
    assert before.losses != after.losses
    assert np.array_equal(before.features, after.features)


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_a_block_of_a_classifier_is_read_where_its_head_reads(out_type):
    host = swap_configs.host_config(7)
    host['backbone'].update(out_type=out_type, with_cls_token=True, final_norm=False)
    host = build('mmpretrain', host)
    reader = ClassificationReader()
    tokens = torch.randn(2, 1 + 4, 3)
    wanted = tokens[:, 0] if out_type == 'cls_token' else tokens[:, 1:].mean(dim=1)
    assert torch.equal(reader.at_block(host)(tokens), wanted)
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(reader.at_block(host)(maps), maps.mean(dim=(2, 3)))
    (name,) = reader.class_layers(host)
    assert host.get_submodule(name).out_features == 7


def test_the_last_block_is_what_the_head_sees_but_for_its_norm():
    host = swap_configs.host_config(7)
    host['backbone'].update(final_norm=False)
    host = build('mmpretrain', host)
    sample = DataSample().set_gt_label(1)
    batch = dict(inputs=[picture(16, 16)] * 2, data_samples=[sample] * 2)
    names = ['backbone.layers.0', 'backbone.layers.1']
    data = SimpleNamespace(
        labels=lambda role: {1}, positions=lambda *_: [0, 1], batches=lambda *_: [batch, batch]
    )
    units = read_units(host, data, ClassificationReader(), 'test', 'forget', names)
    assert list(units.layers) == names
    assert np.array_equal(units.at(names[1]), units.at('head')) and len(units.labels) == 4
    assert units.blocks[names[0]].shape == units.layers[names[0]].shape
    assert not np.array_equal(units.blocks[names[0]], units.layers[names[0]])


@pytest.mark.parametrize('kind', ['faster-rcnn', 'cascade-rcnn', 'retinanet'])
def test_a_detector_without_queries_is_read_off_its_maps(kind):
    host = convolutional(kind)
    units = read(DetectionReader(), host, detection_batch(64, 64))
    maps = read(DetectionReader(features='maps'), host, detection_batch(64, 64))
    assert units.features.shape == (3, 5 * 256)
    assert [rows.shape for rows in units.layers.values()] == [(3, 256)] * 5
    assert DetectionReader().class_layers(host) == {}
    assert np.array_equal(units.features, maps.features)
    assert set(units.predicted.tolist()) <= set(range(CLASSES + 1))


def test_a_classifier_of_pixels_is_read_where_it_classifies():
    host = upernet()
    with LastCall(host.decode_head.conv_seg) as layer, torch.no_grad():
        host.test_step(segmentation_batch())
    features = read(SegmentationReader(), host, segmentation_batch()).features
    assert features.shape == (2, 16)
    seen = layer.inputs[0][0]
    assert seen.shape == (16, 12, 12)
    # Label 0 is in the columns 30 to 46 and the rows 24 to 40 of 48 and 40.
    near = seen[:, 7:12, 7:12].flatten(1)
    assert (near.amin(1).numpy() <= features[0]).all()
    assert (features[0] <= near.amax(1).numpy()).all()
    maps = read(SegmentationReader(features='maps'), host, segmentation_batch())
    assert maps.features.shape == (2, 16 + 32 + 64)
    assert [rows.shape[1] for rows in maps.layers.values()] == [16, 32, 64]
    assert SegmentationReader().class_layers(host) == {'decode_head.conv_seg': 'head'}


def test_a_head_without_a_known_class_layer_is_read_off_its_maps():
    host = upernet()
    scores = host.decode_head.conv_seg
    del host.decode_head.conv_seg
    host.decode_head.cls_seg = lambda features: scores(features)
    assert read(SegmentationReader(), host, segmentation_batch()).features.shape == (2, 112)


@pytest.mark.parametrize(('task', 'channels'), [('dino', 64), ('mask2former', 112)])
def test_maps_on_request(task, channels, request):
    host = request.getfixturevalue(task)
    reader, batch = (
        (DetectionReader(features='maps'), detection_batch)
        if task == 'dino'
        else (SegmentationReader(features='maps'), segmentation_batch)
    )
    assert read(reader, host, batch()).features.shape[1] == channels


@pytest.mark.parametrize('reader', [DetectionReader, SegmentationReader])
def test_an_unknown_place_is_refused(reader):
    with pytest.raises(ConfigError, match='audit.reader.features'):
        reader(features='neck')


def test_last_call_lets_go_of_the_module():
    layer = torch.nn.Linear(2, 3)
    with LastCall(layer) as call:
        layer(torch.zeros(1, 2))
        output = layer(torch.ones(1, 2))
    layer(torch.zeros(5, 2))
    assert call.inputs[0].tolist() == [[1, 1]] and call.output is output
    with LastCall(layer) as call, pytest.raises(RuntimeError):
        layer(torch.zeros(1, 9))
    assert not layer._forward_hooks and call.inputs == ()
