"""Test data and configs by role, for the host's own ``test.py``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import METRICS

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.exporting.files import role_config, write_config
from knowswap_mm.registry import METRICS as OUR_METRICS
from knowswap_mm.registry import class_of


def spread_samples(data: RoleDataset, count: int) -> list[dict[str, Any]]:
    """Some samples, as even as can be over the roles and within each; at least one a role."""
    samples = []
    views = list(data.views.values())
    for position, view in enumerate(views):
        share = max((count + len(views) - 1 - position) // len(views), 1)
        share = min(share, len(view))
        samples += [view.load(i * len(view) // share) for i in range(share)]
    return samples


def write_role_tests(
    folder: Path, cfg: Config, data: RoleDataset, labels: Mapping[int, int], classes: Sequence[str]
) -> dict[str, list[str]]:
    """Write ``test_<role>.py`` and its data for every role that has a class left.

    ``labels`` leads from the label in the swap to the exported one. Returns the classes of each
    role that was written.
    """
    metric = _role_metric(cfg)
    written = {}
    for role, view in data.views.items():
        own = [name for name in data.classes.of(role) if name in set(classes)]
        if not own:
            continue
        dataset, metainfo = view.write_plain(folder / f'test_{role}', labels, classes)
        metrics = metric.plain_configs(role, metainfo)
        if not metrics:
            fix = 'name a metric of the host library, or leave --test-data out'
            raise ConfigError('test_evaluator.metric', role, 'the role has no metric', fix)
        config = role_config(cfg, dataset, metrics, own)
        write_config(folder / f'test_{role}.py', config, './config.py')
        written[role] = own
    return written


def _role_metric(cfg: Config) -> RoleMetric:
    given = cfg.get('test_evaluator') or []
    for config in [given] if isinstance(given, dict) else given:
        if class_of(config['type'], OUR_METRICS) is RoleMetric:
            return METRICS.build(copy.deepcopy(config))
    fix = "use test_evaluator = dict(type='knowswap_mm.RoleMetric', metric=...)"
    raise ConfigError('test_evaluator', given, 'nothing is measured by role', fix)
