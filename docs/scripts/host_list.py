"""Which shipped configs `hosts.py` tries, and how each is made small.

A row is ``(family, library, config, options)``. Options: ``size`` of the images in pixels,
``changes`` of the model's config by dotted key, ``keys`` of the swapper's config that are tried if
the host is refused without them, ``needs`` for changes of the host that its library wants before
it trains, and ``data`` for samples that are not the usual ones. What a
script can do by itself (fewer blocks, fewer queries) it does without a word here.
"""

CONVOLUTIONS = dict(lora=dict(targets=r'backbone\.layer4\.\d\.conv[13]'))
LINEARS = dict(lora=dict(targets=r'.*(fc1|fc2|mlp\.\d|mlp\.layers\.\d(\.0)?)'))
POINTWISE = dict(lora=dict(targets=r'backbone.*(pointwise_conv|mlp|ffn|mixer).*'))
#: A few that stand for all of them, in seconds.
DOZEN = (
    'vision_transformer/vit-base-p16_64xb64_in1k.py',
    'vision_transformer/vit-base-p16_8xb64-lora_in1k-384px.py',
    'deit/deit-tiny-distilled_4xb256_in1k.py',
    'swin_transformer/swin-tiny_16xb64_in1k.py',
    'swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py',
    'arcface/resnet50-arcface_8xb32_inshop.py',
    'detr/detr_r18_8xb2-500e_coco.py',
    'pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',
    'lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py',
    'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    'segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512.py',
    'vit/vit_deit-s16_upernet_8xb2-80k_ade20k-512x512.py',
)


def _cls(family, config, size=64, **options):
    return family, 'mmpretrain', config, dict(size=size, **options)


def _det(family, config, size=96, **options):
    return family, 'mmdet', config, dict(size=size, **options)


def _seg(family, config, size=64, **options):
    return family, 'mmseg', config, dict(size=size, **options)


IMAGE = {'backbone.img_size': 64}
PADDED = {**IMAGE, 'backbone.pad_small_map': True}
SIZED = {'backbone.img_size': (64, 64)}
HOSTS = [
    _cls('ViT', 'vision_transformer/vit-base-p16_64xb64_in1k.py', changes=IMAGE),
    _cls('ViT', 'vision_transformer/vit-base-p32_64xb64_in1k.py', changes=IMAGE),
    _cls(
        'LoRAModel',
        'vision_transformer/vit-base-p16_8xb64-lora_in1k-384px.py',
        changes={'backbone.module.img_size': 64},
    ),
    _cls('DeiT', 'deit/deit-small_4xb256_in1k.py', changes=IMAGE),
    _cls('DeiT', 'deit/deit-tiny-distilled_4xb256_in1k.py', changes=IMAGE),
    _cls('DeiT III', 'deit3/deit3-small-p16_64xb64_in1k.py', changes=IMAGE),
    _cls(
        'BEiT',
        'beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k.py',
        changes={**IMAGE, 'backbone.use_shared_rel_pos_bias': False},
    ),
    _cls('MAE', 'mae/benchmarks/vit-base-p16_8xb128-coslr-100e_in1k.py', changes=IMAGE),
    _cls('MAE, linear', 'mae/benchmarks/vit-base-p16_8xb2048-linear-coslr-90e_in1k.py'),
    _cls('CLIP', 'clip/vit-base-p16_pt-64xb64_in1k-384px.py', changes=IMAGE),
    _cls('Swin', 'swin_transformer/swin-tiny_16xb64_in1k.py', changes=PADDED),
    _cls('Swin', 'swin_transformer/swin-large_8xb8_cub-384px.py', changes=PADDED),
    _cls(
        'Swin V2',
        'swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py',
        changes={**IMAGE, 'backbone.window_size': [2, 2, 2, 2]},
    ),
    _cls('PoolFormer', 'poolformer/poolformer-s12_32xb128_in1k.py', keys=POINTWISE),
    _cls('RIFormer', 'riformer/riformer-s12_8xb128_in1k.py', keys=POINTWISE),
    _cls(
        'EfficientFormer',
        'efficientformer/efficientformer-l1_8xb128_in1k.py',
        224,
        needs={'head.distillation': False},  # mmpretrain says that it cannot train with it
        keys=LINEARS,
    ),
    _cls('MViTv2', 'mvit/mvitv2-tiny_8xb256_in1k.py', keys=LINEARS),
    _cls('HiViT', 'hivit/hivit-tiny-p16_16xb64_in1k.py', changes=IMAGE, keys=LINEARS),
    _cls(
        'EVA02',
        'eva02/eva02-tiny-p14_in1k.py',
        56,
        changes={'backbone.img_size': 56},
        keys=dict(lora=dict(targets=r'.*mlp\.(w12|w1|w2|w3)')),
    ),
    _cls('EVA', 'eva/eva-l-p14_8xb16_in1k-196px.py', 56, changes={'backbone.img_size': 56}),
    _cls('ConvNeXt', 'convnext/convnext-tiny_32xb128_in1k.py', keys=POINTWISE),
    _cls('ConvNeXt V2', 'convnext_v2/convnext-v2-atto_32xb32_in1k.py', keys=POINTWISE),
    _cls('ResNet', 'resnet/resnet50_8xb32_in1k.py', keys=CONVOLUTIONS),
    _cls('ResNet, mixup', 'resnet/resnet50_8xb32-mixup_in1k.py', keys=CONVOLUTIONS),
    _cls('ArcFace', 'arcface/resnet50-arcface_8xb32_inshop.py', keys=CONVOLUTIONS),
    _cls('CSRA', 'csra/resnet101-csra_1xb16_voc07-448px.py', keys=CONVOLUTIONS, data='multi'),
    _cls('Twins', 'twins/twins-pcpvt-small_8xb128_in1k.py'),
    _cls('XCiT', 'xcit/xcit-nano-12-p16_8xb128_in1k.py', keys=LINEARS),
    _cls('DaViT', 'davit/davit-tiny_4xb256_in1k.py', 224, keys=LINEARS),
    _cls('T2T-ViT', 't2t_vit/t2t-vit-t-14_8xb64_in1k.py', changes=IMAGE, keys=LINEARS),
    _cls('MLP-Mixer', 'mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py', changes=IMAGE),
    _cls('LeViT', 'levit/levit-128s_8xb256_in1k.py', 224, needs={'head.distillation': False}),
    _cls('MobileViT', 'mobilevit/mobilevit-xxsmall_8xb128_in1k.py', keys=LINEARS),
    _det('DINO', 'dino/dino-4scale_r50_8xb2-12e_coco.py'),
    _det('DINO, Swin', 'dino/dino-5scale_swin-l_8xb2-12e_coco.py'),
    _det('Deformable DETR', 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'),
    _det(
        'Deformable DETR', 'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco.py'
    ),
    _det('DETR', 'detr/detr_r18_8xb2-500e_coco.py'),
    _det('Conditional DETR', 'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py'),
    _det('DAB-DETR', 'dab_detr/dab-detr_r50_8xb2-50e_coco.py'),
    _det('DDQ', 'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py'),
    _det('Faster R-CNN', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', keys=CONVOLUTIONS),
    _det('Mask R-CNN', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', keys=CONVOLUTIONS, data='masks'),
    _det('Mask R-CNN, Swin', 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', data='masks'),
    _det(
        'Cascade R-CNN, ConvNeXt',
        'convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py',
        keys=POINTWISE,
        data='masks',
    ),
    _det('RetinaNet', 'retinanet/retinanet_r50_fpn_1x_coco.py', keys=CONVOLUTIONS),
    _det('RetinaNet, Swin', 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'),
    _det('RetinaNet, PVT', 'pvt/retinanet_pvt-t_fpn_1x_coco.py', keys=LINEARS),
    _det('RetinaNet, PVTv2', 'pvt/retinanet_pvtv2-b0_fpn_1x_coco.py', keys=LINEARS),
    _det('FCOS', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', keys=CONVOLUTIONS),
    _det('ATSS', 'atss/atss_r50_fpn_1x_coco.py', keys=CONVOLUTIONS),
    _det('Sparse R-CNN', 'sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py'),
    _det(
        'Mask2Former, instances',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
        keys=dict(head=dict(count_keys=['num_things_classes'])),
        data='masks',
    ),
    _det(
        'Mask2Former, Swin',
        'mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py',
        keys=dict(head=dict(count_keys=['num_things_classes'])),
        data='masks',
    ),
    _det(
        'Mask2Former, panoptic',
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
        keys=dict(head=dict(count_keys=['num_things_classes'])),
        data='panoptic',
    ),
    _det(
        'Grounding DINO',
        'grounding_dino/grounding_dino_swin-t_finetune_16xb2_1x_coco.py',
        changes={'encoder.num_cp': 0},  # checkpoints of activations need another package
    ),
    _det('GLIP', 'glip/glip_atss_swin-t_a_fpn_dyhead_16xb2_ms-2x_funtune_coco.py'),
    _det(
        'Distillation (LD)',
        'ld/ld_r18-gflv1-r101_fpn_1x_coco.py',
        changes={'teacher_config': 'CONFIGS/gfl/gfl_r101_fpn_ms-2x_coco.py'},
        keys=CONVOLUTIONS,
    ),
    _det('Distillation (LAD)', 'lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py', keys=CONVOLUTIONS),
    _det('DetectoRS', 'detectors/detectors_cascade-rcnn_r50_1x_coco.py', keys=CONVOLUTIONS),
    _seg('UPerNet, ViT', 'vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512.py', changes=SIZED),
    _seg('UPerNet, DeiT', 'vit/vit_deit-s16_upernet_8xb2-80k_ade20k-512x512.py', changes=SIZED),
    _seg('UPerNet, BEiT', 'beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py', changes=SIZED),
    _seg('UPerNet, MAE', 'mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py', changes=SIZED),
    _seg(
        'UPerNet, Swin',
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
    ),
    _seg(
        'UPerNet, ConvNeXt',
        'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
        keys=POINTWISE,
    ),
    _seg('UPerNet, ResNet', 'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', keys=CONVOLUTIONS),
    _seg('UPerNet, Twins', 'twins/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512.py'),
    _seg('DPT', 'dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512.py', changes={'backbone.img_size': 64}),
    _seg(
        'K-Net, ResNet',
        'knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py',
        keys=CONVOLUTIONS,
    ),
    _seg('K-Net, Swin', 'knet/knet-s3_swin-t_upernet_8xb2-adamw-80k_ade20k-512x512.py'),
    _seg('Segmenter', 'segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512.py', changes=SIZED),
    _seg(
        'Segmenter, FCN', 'segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512.py', changes=SIZED
    ),
    _seg('SAN', 'san/san-vit-b16_coco-stuff164k-640x640.py', 128),
    _seg(
        'SegFormer',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        keys=dict(lora=dict(targets=r'backbone.*ffn\.layers\.[04]')),
    ),
    _seg('SegNeXt', 'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py', keys=LINEARS),
    _seg('PoolFormer, FPN', 'poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py'),
    _seg('Mask2Former', 'mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py'),
    _seg(
        'Mask2Former, Swin',
        'mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512.py',
    ),
    _seg('MaskFormer', 'maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py'),
    _seg('SETR', 'setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512.py', changes=SIZED),
    _seg('PSPNet', 'pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py', keys=CONVOLUTIONS),
    _seg('PIDNet', 'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py', 128, keys=CONVOLUTIONS),
]
