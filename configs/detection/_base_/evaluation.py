# What is measured of each role.
val_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=dict(type='knowswap_mm.CocoRoleMetric', metric='bbox'),
    primary='coco/bbox_mAP',
    scale=1.0,
)
test_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=dict(type='knowswap_mm.CocoRoleMetric', metric='bbox', classwise=True),
    primary='coco/bbox_mAP',
    scale=1.0,
)
