"""Accuracy of each class."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as HOST_METRICS

from knowswap_mm.checks import check_keys, check_mapping, check_number, check_text
from knowswap_mm.errors import ConfigError, SampleError
from knowswap_mm.evaluation.answers import told
from knowswap_mm.registry import METRICS
from knowswap_mm.roles import ROLES


def swap_score(metrics: dict[str, float], scale: float = 100.0) -> float:
    """Harmonic mean of learn, ``scale - forget`` and retain, over the roles that were measured.

    0 to ``scale``, the best possible value of the metric.
    """
    parts = [scale - v if role == 'forget' else v for role, v in metrics.items()]
    if not parts or min(parts) <= 0:
        return 0.0
    return len(parts) / sum(1 / part for part in parts)


@METRICS.register_module()
class RoleMetric(BaseMetric):
    """Gives every role its own copy of the host's metrics.

    A sample goes to the metrics of its role by its role tag. Samples that a distributed sampler
    repeats are counted once, by their index. A metric with a method ``answers(results)`` tells, of
    the last evaluation, what the images, objects or pixels of each class were called.

    Args:
        metric (dict | list[dict]): Host metrics; or, by role, ``dict(learn=[...], ...)``.
        primary (str): Metric of which the swap score and the tables are made.
        scale (float): Best possible value of it.
        **kwargs: For :class:`mmengine.evaluator.BaseMetric`.

    Attributes:
        answers (dict[str, dict]): What ``answers`` of the metrics told, by role.
    """

    default_prefix = ''

    def __init__(
        self,
        metric: dict[str, Any] | list[dict[str, Any]],
        primary: str = 'accuracy/top1',
        scale: float = 100.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_text('val_evaluator.primary', primary, 'accuracy/top1')
        check_number('val_evaluator.scale', scale, '> 0', 100)
        if not isinstance(metric, (list, tuple)):
            check_mapping('val_evaluator.metric', metric, "dict(type='Accuracy')")
        self.primary, self.scale = primary, scale
        self.answers: dict[str, dict[str, Any]] = {}
        by_role = isinstance(metric, dict) and 'type' not in metric
        if by_role:
            check_keys('val_evaluator.metric', metric, ROLES, 'unknown role')
        self.metrics: dict[str, list[BaseMetric]] = {}
        self._configs: dict[str, list[dict[str, Any]]] = {}
        for role in ROLES:
            chosen = metric.get(role, []) if by_role else metric
            chosen = [chosen] if isinstance(chosen, dict) else chosen
            for config in chosen:
                check_mapping(f'val_evaluator.metric of {role}', config, "dict(type='Accuracy')")
            self._configs[role] = copy.deepcopy(list(chosen))
            self.metrics[role] = [HOST_METRICS.build(copy.deepcopy(config)) for config in chosen]

    def plain_configs(self, role: str, metainfo: dict[str, Any]) -> list[dict[str, Any]]:
        """Configs of metrics of the host library that measure the role without this package.

        A metric of this package tells its counterpart by ``plain_config(metainfo)``, with what
        :meth:`RoleView.write_plain` tells, or is left out; one of the host library is its own.
        """
        configs = []
        for config, metric in zip(self._configs[role], self.metrics[role], strict=True):
            if hasattr(metric, 'plain_config'):
                configs.append(metric.plain_config(metainfo))
            elif not type(metric).__module__.startswith('knowswap_mm.'):
                configs.append(copy.deepcopy(config))
        return configs

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the data set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        self._dataset_meta = meta
        for role, metrics in self.metrics.items():
            for metric in metrics:
                metric.dataset_meta = dict(meta, **meta.get('role_metainfo', {}).get(role, {}))

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Let each role's metrics turn its samples into results.

        Raises:
            SampleError: If a sample has no role.
        """
        for sample in data_samples:
            role, index = sample.get('role'), sample.get('sample_index')
            if role not in self.metrics or index is None:
                raise SampleError(
                    f'A sample without a role reached RoleMetric (role {role!r}). Fix: evaluate '
                    "over a data set of type 'knowswap_mm.RoleDataset'."
                )
            results = []
            for metric in self.metrics[role]:
                metric.process(data_batch, [sample])
                results.append(list(metric.results))
                metric.results.clear()
            self.results.append((role, index, results))

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the results of all processes: ``<role>/<metric>``, and ``swap/score``.

        Samples are counted by index, whatever the size of the data set.
        """
        gathered: dict[str, dict[int, list]] = {role: {} for role in ROLES}
        for part in all_gather_object(_on_cpu(self.results)):
            for role, index, results in part:
                gathered[role][index] = results
        self.results.clear()
        computed = [self._compute(gathered) if is_main_process() else None, self.answers]
        broadcast_object_list(computed)
        metrics, self.answers = computed
        return metrics

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Not used: :meth:`evaluate` gathers by role."""
        return self._compute({role: {i: r for o, i, r in results if o == role} for role in ROLES})

    def _compute(self, gathered: dict[str, dict[int, list]]) -> dict[str, float]:
        computed: dict[str, float] = {}
        self.answers.clear()
        for role, by_index in gathered.items():
            if not by_index:
                continue
            ordered = [by_index[index] for index in sorted(by_index)]
            for position, metric in enumerate(self.metrics[role]):
                results = [item for sample in ordered for item in sample[position]]
                for name, value in metric.compute_metrics(results).items():
                    prefix = f'{metric.prefix}/' if metric.prefix else ''
                    computed[f'{role}/{prefix}{name}'] = value
                if hasattr(metric, 'answers'):
                    self.answers[role] = metric.answers(results)
        primary = {
            role: computed[f'{role}/{self.primary}']
            for role in ROLES
            if f'{role}/{self.primary}' in computed
        }
        if computed and not primary:
            fix = f'use one of {sorted({name.split("/", 1)[1] for name in computed})}'
            raise ConfigError('val_evaluator.primary', self.primary, 'no such metric', fix)
        computed['swap/score'] = swap_score(primary, self.scale)
        return computed


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(item) for item in value)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return value


@METRICS.register_module()
class PerClassAccuracy(BaseMetric):
    """Top-1 accuracy by class name, in percent; argmax over all classes of the head.

    Classes without an image have no entry. :class:`RoleMetric` also keeps what the images of each
    class are called. See :class:`mmengine.evaluator.BaseMetric` for the
    arguments.
    """

    default_prefix = 'class'

    def plain_config(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        """Config of mmpretrain's metric: the recall of a class is its accuracy."""
        return dict(type='mmpretrain.SingleLabelMetric', items=('recall',), average=None)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep label and prediction of each sample."""
        for sample in data_samples:
            self.results.append((int(sample['gt_label']), int(sample['pred_label'])))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Accuracy by class name."""
        return {
            self._name(label): 100 * given[label] / given.total()
            for label, given in self._given(results).items()
        }

    def answers(self, results: list[tuple[int, int]]) -> dict[str, dict[str, Any]]:
        """What the images of each class were called, see :func:`told`."""
        return told(
            {
                self._name(label): Counter({self._name(each): n for each, n in given.items()})
                for label, given in self._given(results).items()
            }
        )

    @staticmethod
    def _given(results: list[tuple[int, int]]) -> dict[int, Counter[int]]:
        """How often each label was predicted, by the label of the image."""
        found: dict[int, Counter[int]] = {}
        for label, predicted in sorted(results):
            found.setdefault(label, Counter())[predicted] += 1
        return found

    def _name(self, label: int) -> str:
        names = (self.dataset_meta or {}).get('classes', ())
        return names[label] if label < len(names) else str(label)
