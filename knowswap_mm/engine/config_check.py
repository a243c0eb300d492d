"""What a look at a whole config tells before anything of it is built."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from knowswap_mm import registry
from knowswap_mm.datasets.role_dataset import VIEW, RoleDataset, check_roles
from knowswap_mm.datasets.sample_cache import SampleCache
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import class_of
from knowswap_mm.schedule.swap_schedule import check_swap_keys
from knowswap_mm.value_checks import check_arguments, did_you_mean

_OURS = 'knowswap_mm.'
#: Where a config has modules of ours, and the registries that know them.
_PLACES = {
    'model': ('MODELS', 'ACCELERATIONS'),
    'train_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'val_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'test_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'val_evaluator': ('METRICS',),
    'test_evaluator': ('METRICS',),
    'default_hooks': ('HOOKS',),
    'custom_hooks': ('HOOKS',),
    'optim_wrapper': ('OPTIM_WRAPPERS',),
    'log_processor': ('LOG_PROCESSORS',),
}
#: Keys beside the arguments that mmengine takes for itself.
_BY_MMENGINE = dict(
    optim_wrapper=('constructor', 'paramwise_cfg'),
    default_hooks=('priority',),
    custom_hooks=('priority',),
)


def check_config(cfg: Config) -> None:
    """Refuse keys that nothing would read, in ``swap``, ``audit`` and the modules of this package.

    Without it a misspelt key of a later phase, of an audit or of a test data set would be found
    after the training, or never (issue 24).

    Args:
        cfg (Config): The config of a swap.

    Raises:
        ConfigError: Names the key and the nearest one that exists.
    """
    check_swap_keys(cfg.get('swap'))
    for name, kinds in _PLACES.items():
        known = [getattr(registry, kind) for kind in kinds]
        for key, module in _modules(name, cfg.get(name)):
            kind = _class_of_ours(key, module['type'], known)
            if kind is not None:
                read = {k: v for k, v in module.items() if k not in _BY_MMENGINE.get(name, ())}
                check_arguments(key, read, kind)
            if kind is not None and issubclass(kind, RoleDataset):
                # Those of the training data have been called so since there are messages.
                key = key.removeprefix('train_dataloader.')
                check_roles(module.get('roles'), module.get('view', VIEW), key)
                if isinstance(module.get('cache'), Mapping):
                    check_arguments(f'{key}.cache', module['cache'], SampleCache)
    if cfg.get('audit') is not None:
        from knowswap_mm.evaluation.audit.auditor import build_auditor

        build_auditor(cfg['audit'])


def hand_on_classes(cfg: Config) -> None:
    """Give every role data set of a config, in place, the class lists of ``swap``.

    Args:
        cfg (Config): The config of a swap.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset')
        kind = isinstance(dataset, dict) and class_of(dataset.get('type'), registry.DATASETS)
        if kind and issubclass(kind, RoleDataset):
            dataset['classes'] = copy.deepcopy(cfg['swap']['classes'])


def _modules(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if 'type' in value:
            yield key, value
        for name, each in value.items():
            yield from _modules(f'{key}.{name}', each)
    elif isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            yield from _modules(f'{key}.{place}', each)


def _class_of_ours(key: str, kind: Any, known: list[Registry]) -> type | None:
    if not isinstance(kind, str) or not kind.startswith(_OURS):
        return None
    for each in known:
        found = class_of(kind, each)
        if found is not None:
            return found if inspect.isclass(found) else None
    names = [f'{_OURS}{name}' for each in known for name in sorted(each.module_dict)]
    raise ConfigError(f'{key}.type', kind, 'unknown type', did_you_mean(kind, names))
