"""Tiny hosts whose classes have several rows, lie on another axis, or have no rows at all."""

from mmengine.config import Config, ConfigDict

from tests.helpers.tiny_hosts import swin_host

SIZE = 64
MAKERS = {}
SWIN = dict(type='SwinTransformer', embed_dims=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2)
CHANNELS = [8, 16, 32, 64]


def maker(scope):
    def register(function):
        MAKERS[function.__name__] = scope, function
        return function

    return register


def shipped(library, path, **changes):
    """A shipped config with parts replaced; a part with `_delete_` is replaced as a whole."""
    package = __import__(library)
    config = Config.fromfile(f'{package.__path__[0]}/.mim/configs/{path}')
    config.merge_from_dict(dict(model=changes))
    return config.model


def detector(path, **changes):
    swin = dict(SWIN, _delete_=True)
    neck = dict(in_channels=CHANNELS, out_channels=16)
    host = shipped('mmdet', path, backbone=swin, neck=neck, **changes)
    host.pop('_scope_', None)
    return host


@maker('mmdet')
def mask_rcnn(classes):
    box = dict(in_channels=16, fc_out_channels=24, num_classes=classes)
    mask = dict(in_channels=16, conv_out_channels=8, num_convs=1, num_classes=classes)
    return detector(
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        rpn_head=dict(in_channels=16, feat_channels=16),
        roi_head=dict(
            bbox_head=box,
            mask_head=mask,
            bbox_roi_extractor=dict(out_channels=16),
            mask_roi_extractor=dict(out_channels=16),
        ),
        test_cfg=dict(rpn=dict(max_per_img=40), rcnn=dict(score_thr=0.0, max_per_img=40)),
    )


@maker('mmdet')
def retinanet(classes):
    head = dict(in_channels=16, feat_channels=16, stacked_convs=1, num_classes=classes)
    neck = dict(start_level=1)
    host = detector('retinanet/retinanet_r50_fpn_1x_coco.py', bbox_head=head)
    host['neck'] |= neck
    return host


@maker('mmdet')
def yolov3(classes):
    """Boxes before the classes of each anchor."""
    host = shipped(
        'mmdet',
        'yolo/yolov3_d53_8xb8-320-273e_coco.py',
        backbone=dict(SWIN, _delete_=True, depths=[1] * 4, out_indices=(1, 2, 3)),
        neck=dict(in_channels=[64, 32, 16], out_channels=[16, 8, 8]),
        bbox_head=dict(num_classes=classes, in_channels=[16, 8, 8], out_channels=[16, 8, 8]),
    )
    host.pop('_scope_', None)
    return host


@maker('mmdet')
def fcos(classes):
    head = dict(in_channels=16, feat_channels=32, stacked_convs=1, num_classes=classes)
    host = detector('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', bbox_head=head)
    return host


@maker('mmpretrain')
def arcface(classes):
    head = dict(
        type='mmpretrain.ArcFaceClsHead',
        num_classes=classes,
        in_channels=32,
        num_subcenters=3,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    )
    return ConfigDict(swin_host(classes, head=head))


@maker('mmseg')
def segmenter(classes):
    backbone = dict(
        type='VisionTransformer',
        img_size=(SIZE, SIZE),
        patch_size=16,
        embed_dims=32,
        num_layers=2,
        num_heads=2,
        mlp_ratio=2,
    )
    head = dict(
        type='SegmenterMaskTransformerHead',
        in_channels=32,
        channels=32,
        num_classes=classes,
        num_layers=1,
        num_heads=2,
        embed_dims=32,
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss'),
    )
    return segmentor(backbone, head)


@maker('mmseg')
def knet(classes):
    host = shipped('mmseg', 'knet/knet-s3_swin-t_upernet_8xb2-adamw-80k_ade20k-512x512.py')
    head = host['decode_head']
    head['kernel_generate_head'] |= dict(
        type='FCNHead',
        in_channels=64,
        in_index=3,
        channels=16,
        num_convs=1,
        concat_input=False,
        num_classes=classes,
        norm_cfg=dict(type='BN'),
    )
    head['kernel_generate_head'].pop('pool_scales')
    for stage in head['kernel_update_head']:
        stage |= dict(in_channels=16, out_channels=16, feedforward_channels=16, num_heads=2)
        stage |= dict(num_classes=classes, conv_kernel_size=1)
        stage['kernel_updator_cfg'] |= dict(in_channels=16, feat_channels=16, out_channels=16)
    head['num_stages'] = 2
    head['kernel_update_head'] = head['kernel_update_head'][:2]
    return segmentor(SWIN, head)


def segmentor(backbone, head):
    return ConfigDict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(backbone),
        decode_head=head,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def san(classes):
    """The shipped SAN, small: its classes are texts."""
    small = dict(num_layers=1, num_heads=2, embed_dims=16, mlp_ratio=1)
    host = shipped(
        'mmseg',
        'san/san-vit-b16_coco-stuff164k-640x640.py',
        pretrained=None,
        image_encoder=dict(small, img_size=(32, 32), out_indices=(0,)),
        text_encoder=dict(small, dataset_name='cityscapes', output_dims=16),
    )
    head = host['decode_head']
    head |= dict(num_classes=classes, deep_supervision_idxs=[0], loss_decode=head['loss_decode'][1])
    config = head['san_cfg']
    config |= dict(clip_channels=16, embed_dims=16, num_queries=4, fusion_index=[0])
    config['cfg_encoder'] |= dict(num_encode_layer=1, num_heads=2, mlp_ratio=1)
    config['cfg_decoder'] |= dict(num_heads=2, embed_channels=16, mlp_channels=16, num_mlp=1)
    head['maskgen_cfg'] |= dict(sos_token_num=4, num_layers=1, embed_dims=16, num_heads=2)
    head['maskgen_cfg'] |= dict(mlp_ratio=1, out_dims=16)
    return host
