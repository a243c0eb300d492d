"""Role views over host data sets, and the sampler that serves them."""

from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.datasets.classification_role_view import ClassificationRoleView
from knowswap_mm.datasets.coco_role_view import CocoRoleView
from knowswap_mm.datasets.random_label_role_view import RandomLabelRoleView
from knowswap_mm.datasets.role_dataset import RoleDataset
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.sample_address import SampleAddress
from knowswap_mm.datasets.semantic_role_view import SemanticRoleView
from knowswap_mm.datasets.swap_sampler import SwapSampler

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
