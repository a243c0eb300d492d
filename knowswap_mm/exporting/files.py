"""Config files of an exported host."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from knowswap_mm.datasets.host_config import inner_config
from knowswap_mm.errors import ConfigError
from knowswap_mm.io.files import write_text
from knowswap_mm.models.host_config import without_pretrained
from knowswap_mm.registry import MODELS, class_of

_OURS = 'knowswap_mm.'


def plain_host_config(host: dict[str, Any]) -> dict[str, Any]:
    """Replace types of ours by the host's types that they extend, or by what they wrap.

    Options that only our type has are left out. A type that wraps another one says where its
    config has it, by an attribute ``plain_part``.

    Raises:
        ConfigError: If a type of ours extends none of a host library.
    """
    return _plain(without_pretrained(host), 'model.host')


def plain_key_prefixes(host: nn.Module) -> dict[str, str]:
    """Beginnings of keys that change when what is wrapped takes the place of its wrapper.

    For a wrapped backbone they are ``{'backbone.backbone.': 'backbone.'}``.
    """
    wrappers = ((n, m) for n, m in host.named_modules() if hasattr(m, 'plain_part'))
    return {f'{name}.{module.plain_part}.': f'{name}.' for name, module in wrappers}


def plain_name(name: str, prefixes: dict[str, str]) -> str:
    """Name of a tensor or a module in the plain host."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each, f'{key}.{i}') for i, each in enumerate(value))
    if not isinstance(value, dict):
        return value
    result = {name: _plain(each, f'{key}.{name}') for name, each in value.items()}
    name = value.get('type')
    if inspect.isclass(name) and not name.__module__.startswith(_OURS):
        result['type'] = f'{name.__module__}.{name.__name__}'  # as mmengine writes classes
    elif str(getattr(name, '__module__', name)).startswith(_OURS):
        ours = class_of(name, MODELS)
        if part := getattr(ours, 'plain_part', None):
            return result[part]
        kinds = ours.__mro__ if ours else ()
        base = next((kind for kind in kinds if not kind.__module__.startswith(_OURS)), None)
        package = base.__module__.split('.')[0] if base else ''
        if not package.startswith('mm'):
            fix = 'use a type of the host library there'
            raise ConfigError(f'{key}.type', name, 'has no counterpart in a host library', fix)
        known = set(inspect.signature(base.__init__).parameters)
        extra = set(inspect.signature(ours.__init__).parameters) - known
        result = {key: each for key, each in result.items() if key not in extra}
        result['type'] = f'{package}.{base.__name__}'
    return result


#: A host library's visualizer, without which some inferencers do not start, and its hook, by
#: which its test.py draws images (--show-dir).
_VISUALIZATION = dict(
    mmpretrain=('UniversalVisualizer', 'VisualizationHook'),
    mmdet=('DetLocalVisualizer', 'DetVisualizationHook'),
    mmseg=('SegLocalVisualizer', 'SegVisualizationHook'),
)
#: mmengine puts the folder of the config file in its place when it reads one.
_HERE = '{{ fileDirname }}'


def host_config(cfg: Config, model: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What inferencers and deployment tools need, from the swap's config and the plain host's."""
    role = next(iter(cfg.test_dataloader.dataset.roles.values()))
    dataset = inner_config(role.dataset)
    pipeline = plain_host_config(dict(pipeline=dataset['pipeline']))['pipeline']
    visualizer, hook = _VISUALIZATION[cfg.default_scope]
    plain = dict(
        default_scope=cfg.default_scope,
        model=model,
        test_pipeline=pipeline,
        test_dataloader=dict(batch_size=1, dataset=dict(type=dataset.type, pipeline=pipeline)),
        metainfo=dict(classes=list(classes)),
        visualizer=dict(type=visualizer, vis_backends=[dict(type='LocalVisBackend')]),
        default_hooks=dict(visualization=dict(type=hook)),
    )
    imports = cfg.get('custom_imports', {}).get('imports', [])
    if rest := [name for name in imports if not name.startswith('knowswap_mm')]:
        plain['custom_imports'] = dict(imports=rest, allow_failed_imports=False)
    return plain


def role_config(
    cfg: Config,
    dataset: dict[str, Any],
    metrics: Sequence[dict[str, Any]],
    role_classes: Sequence[str],
) -> dict[str, Any]:
    """What the host's ``test.py`` needs beside :func:`host_config` to measure a role."""
    given = cfg.test_dataloader
    kept = ('batch_size', 'num_workers', 'persistent_workers', 'collate_fn', 'pin_memory')
    loader = {key: given[key] for key in kept if key in given}
    plain = plain_host_config(dict(loader=loader, dataset=dataset, metrics=list(metrics)))
    return dict(
        test_dataloader=dict(
            plain['loader'],
            _delete_=True,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=plain['dataset'],
        ),
        # mmseg's test.py sets options of the one that there is.
        test_evaluator=plain['metrics'][0] if len(metrics) == 1 else plain['metrics'],
        test_cfg=dict(type='TestLoop'),
        role_classes=list(role_classes),
    )


def write_config(path: Path, config: dict[str, Any], base: str | None = None) -> None:
    """Write a config file; paths inside its folder are found wherever the folder lies.

    ``base`` is a config file beside it that it builds upon.
    """
    text = Config(_movable(config, str(path.parent))).pretty_text
    if base:
        text = f'_base_ = {base!r}\n{text}'
    write_text(path, text.rstrip('\n') + '\n')


def _movable(value: Any, folder: str) -> Any:
    if isinstance(value, dict):
        return {key: _movable(each, folder) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_movable(each, folder) for each in value)
    if isinstance(value, str) and value.startswith(f'{folder}/'):
        return _HERE + value[len(folder) :]
    return value
