"""Config files of an exported host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from knowswap_mm.datasets.wrapped_dataset import inner_config
from knowswap_mm.engine.atomic_file import write_text
from knowswap_mm.exporting.plain_config import plain_host_config

#: A host library's visualizer, without which some inferencers do not start, and its hook, by
#: which its test.py draws pictures (--show-dir).
_VISUALIZATION = dict(
    mmpretrain=('UniversalVisualizer', 'VisualizationHook'),
    mmdet=('DetLocalVisualizer', 'DetVisualizationHook'),
    mmseg=('SegLocalVisualizer', 'SegVisualizationHook'),
)
#: mmengine puts the folder of the config file in its place when it reads one.
_HERE = '{{ fileDirname }}'


def host_config(cfg: Config, model: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """What inferencers and deployment tools need.

    Args:
        cfg (Config): Config of the swap.
        model (dict): Config of the plain host.
        classes (Sequence[str]): Names of its classes.
    """
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
    """What the host's ``test.py`` needs beside :func:`host_config` to measure a role.

    Args:
        cfg (Config): Config of the swap.
        dataset (dict): Config of the host's data set.
        metrics (Sequence[dict]): Configs of the host's metrics.
        role_classes (Sequence[str]): The classes of the role.
    """
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

    Args:
        path (Path): The file.
        config (dict): Its contents.
        base (str | None): Config file beside it that it builds upon.
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
