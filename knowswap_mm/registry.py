"""Child registries of mmengine's; the scope is ``knowswap_mm``.

Modules are imported when a config first asks for one of them, so that ``import knowswap_mm`` stays
light. Configs keep the default scope of their host and write ``type='knowswap_mm.X'``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from mmengine import registry as parents
from mmengine.config import Config
from mmengine.registry import Registry


class OwnRegistry(Registry):
    """A registry without a counterpart in mmengine or the hosts.

    mmengine looks for one in the host whose scope is the default, and warns that there is none.
    """

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Stay here, whatever the scope."""
        yield self


_SCOPE = 'knowswap_mm'


def _child(name: str, parent: Registry, *places: str) -> Registry:
    locations = [f'{_SCOPE}.{place}' for place in places]
    return Registry(name, parent=parent, scope=_SCOPE, locations=locations)


def _own(name: str, place: str) -> OwnRegistry:
    return OwnRegistry(name, scope=_SCOPE, locations=[f'{_SCOPE}.{place}'])


MODELS = _child('model', parents.MODELS, 'models')
_VIEWS = [f'datasets.{name}' for name in ('classification', 'coco', 'semantic', 'role_dataset')]
DATASETS = _child('dataset', parents.DATASETS, *_VIEWS)
DATA_SAMPLERS = _child('data sampler', parents.DATA_SAMPLERS, 'datasets.sampler')
HOOKS = _child('hook', parents.HOOKS, 'engine')
RUNNERS = _child('runner', parents.RUNNERS, 'engine')
OPTIM_WRAPPERS = _child('optim wrapper', parents.OPTIM_WRAPPERS, 'engine')
PARAM_SCHEDULERS = _child('parameter scheduler', parents.PARAM_SCHEDULERS, 'engine')
LOG_PROCESSORS = _child('log processor', parents.LOG_PROCESSORS, 'engine')
METRICS = _child('metric', parents.METRICS, 'evaluation')
EVALUATORS = _child('evaluator', parents.EVALUATOR, 'audit')
#: Parts of an audit, and how each task is read.
AUDITS = _own('audit', 'audit')
#: By the class name of a host: functions that make published checkpoints of it fit.
HOST_FIXES = _own('host fix', 'models.host_fixes')
#: Read losses and features by sample off a kind of host.
SAMPLE_READERS = _own('sample reader', 'models.samples')
#: Changes that make a host faster.
ACCELERATIONS = _own('acceleration', 'acceleration')
#: Draw the samples and predictions of a task.
DRAWERS = _own('drawer', 'visualization.images')
#: Sections of the report of a run.
REPORT_SECTIONS = _own('report section', 'visualization.report.sections')
#: Checks of an installation.
DOCTOR_CHECKS = Registry('doctor check', scope=_SCOPE, locations=['knowswap_mm.doctor.checks'])


def class_of(kind: Any, registry: Registry) -> type | None:
    """The class that a config names under ``type``.

    Args:
        kind: A class, as pure Python configs have it; the name ``knowswap_mm.X``; ``X``, which is
            looked up in the registry alone; or the full path of a class of this package.
        registry (Registry): One of this module.

    Returns:
        type | None: The class; None if it is no class of the registry.
    """
    if inspect.isclass(kind):
        return kind
    if not isinstance(kind, str):
        return None
    registry.import_from_location()
    name = kind.removeprefix(f'{_SCOPE}.')
    return registry.module_dict.get(name.rsplit('.', 1)[-1] if name != kind else name)


def type_name(kind: Any) -> str:
    """Last part of what a config has under ``type`` (a class, a function, text): ``X``."""
    text = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return text.rsplit('.', 1)[-1]


def _named_function(value: Any) -> Any:
    """A function by its path: mmengine writes it so into its configs, but does not read it so."""
    if inspect.isfunction(value) and value.__qualname__.isidentifier():
        return dict(type=f'{value.__module__}.{value.__name__}')
    return dict(type=value) if isinstance(value, str) else value


def name_types(value: Any) -> Any:
    """Replace, in place, classes of this package in a config by the names that they have there.

    Pure Python configs name classes themselves; the rest of the package then reads names alone.
    Classes of the hosts stay: their libraries build them as they are.

    Args:
        value: A config, or a part of one.

    Returns:
        The same object, or the name for a class of this package.
    """
    if inspect.isclass(value) and value.__module__.startswith(f'{_SCOPE}.'):
        return f'{_SCOPE}.{value.__name__}'
    if isinstance(value, str):
        last = value.rsplit('.', 1)[-1]
        path = value.startswith(f'{_SCOPE}.') and value.isascii() and value.count('.') > 1
        return f'{_SCOPE}.{last}' if path and last[:1].isupper() and last.isidentifier() else value
    if isinstance(value, (Config, MutableMapping)):
        for name, each in list(value.items()):
            found = _named_function(each) if name == 'collate_fn' else name_types(each)
            if found is not each:
                value[name] = found
    elif isinstance(value, list):
        value[:] = [name_types(each) for each in value]
    elif isinstance(value, tuple) and type(value) is tuple:
        return tuple(name_types(each) for each in value)
    return value
