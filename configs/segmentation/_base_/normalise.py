# Statistics of ImageNet: what public Swin weights expect. A role with images of another kind may have its own.
normalise = dict(
    type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
