"""Role views over host data sets, and the sampler that serves them."""

from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.datasets.classification import ClassificationRoleView, RandomLabelRoleView
from knowswap_mm.datasets.coco import CocoRoleView
from knowswap_mm.datasets.role_dataset import RoleDataset
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.sampler import SampleAddress, SwapSampler
from knowswap_mm.datasets.semantic import SemanticRoleView

__all__ = [
    'ClassRoles',
    'ClassificationRoleView',
    'CocoRoleView',
    'RandomLabelRoleView',
    'RoleDataset',
    'RoleView',
    'SampleAddress',
    'SemanticRoleView',
    'SwapSampler',
]
