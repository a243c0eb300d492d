# What is measured of each role.
val_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=dict(type='knowswap_mm.SemanticRoleMetric'),
    primary='seg/mIoU',
    scale=100.0,
)
test_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=dict(type='knowswap_mm.SemanticRoleMetric', classwise=True),
    primary='seg/mIoU',
    scale=100.0,
)
