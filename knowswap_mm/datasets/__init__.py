"""Role views over host data sets, and the sampler that serves them.

What a name needs is imported with it: converters use the lists of classes without torch.
"""

from importlib import import_module
from typing import Any

_MODULES = dict(
    ClassRoles='classes',
    ClassificationRoleView='classification',
    CocoRoleView='coco',
    RandomLabelRoleView='classification',
    RoleDataset='role_dataset',
    RoleView='role_view',
    SampleAddress='sampler',
    SemanticRoleView='semantic',
    SwapSampler='sampler',
)
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
