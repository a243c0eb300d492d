# With Swin-T: fits a GPU of 16 GB.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget.py']
model = dict(
    host=dict(
        backbone=dict(
            pretrain_img_size=224,
            embed_dims=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
        ),
        neck=dict(in_channels=[192, 384, 768]),
    )
)
load_from = 'weights/dino-4scale_swin-t_coco.pth'
