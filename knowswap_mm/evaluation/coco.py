"""The host's COCO metrics over the annotations of a role."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as HOST_METRICS

from knowswap_mm.errors import ConfigError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_json
from knowswap_mm.registry import METRICS

HOSTS = {'pycocotools': 'mmdet.CocoMetric', 'faster_coco_eval': 'mmdet.FasterCocoMetric'}


@METRICS.register_module()
class CocoRoleMetric(BaseMetric):
    """mmdet's ``CocoMetric`` on the json that the role's :class:`CocoRoleView` wrote.

    Classes without an object in that role do not count, and neither do predictions of them.

    Args:
        backend (str): ``pycocotools``, or ``faster_coco_eval``: the same numbers sooner, from an
            optional package.
        prefix (str | None): Prefix of the names, ``coco`` by default.
        **kwargs: For :class:`mmdet.evaluation.CocoMetric`; ``classwise=True`` adds the AP of each
            class.

    Raises:
        ConfigError: If the backend is unknown or not installed, or masks are to be measured and an
            object has none.
    """

    default_prefix = 'coco'
    #: The host's metric refuses what it does not know.
    open_arguments = True

    def __init__(
        self, backend: str = 'pycocotools', prefix: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(collect_device='cpu', prefix=prefix)
        self._given_prefix = prefix
        if not isinstance(backend, str) or backend not in HOSTS:
            fix = f'use one of {list(HOSTS)}'
            raise ConfigError('val_evaluator.metric.backend', backend, 'unknown backend', fix)
        if backend == 'faster_coco_eval':
            try:
                import faster_coco_eval  # noqa: F401
            except ImportError:
                fix = "pip install faster-coco-eval, or use 'pycocotools'"
                key = 'val_evaluator.metric.backend'
                raise ConfigError(key, backend, 'is not installed', fix) from None
        self._config = dict(kwargs, type=HOSTS[backend])
        self.host: BaseMetric = HOST_METRICS.build(dict(self._config))

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the data set, with the annotation file of the role."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        self._dataset_meta = meta
        if 'ann_file' in meta:
            self._check_masks(meta['ann_file'])
            self.host = HOST_METRICS.build(dict(self._config, ann_file=meta['ann_file']))
        self.host.dataset_meta = meta

    def _check_masks(self, ann_file: str) -> None:
        """Masks can be measured if every object of the ground truth has one."""
        if 'segm' not in self.host.metrics:
            return
        content = read_json(ann_file, ANNOTATION_BYTES)
        bare = [each for each in content['annotations'] if not each.get('segmentation')]
        if bare:
            names = {image['id']: image['file_name'] for image in content['images']}
            first = f'the first in {names.get(bare[0]["image_id"])}, with the box {bare[0]["bbox"]}'
            total = len(content['annotations'])
            problem = f'{len(bare)} of {total} objects have no mask that can be drawn ({first})'
            fix = "draw or remove them, or measure boxes alone (metric='bbox')"
            raise ConfigError('val_evaluator.metric.metric', self.host.metrics, problem, fix)

    def plain_config(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        """Config of mmdet's metric that gives the same figures over the role's ``ann_file``."""
        config = dict(self._config, ann_file=metainfo['ann_file'])
        return config | (dict(prefix=self._given_prefix) if self._given_prefix else {})

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions as the host does, but for spare rows of the head: no class."""
        self.host.process(data_batch, data_samples)
        classes = len((self.dataset_meta or {}).get('classes', ()))
        for truth, found in self.host.results:
            known = found['labels'] < classes
            if classes and not known.all():
                found = {key: _where(known, value) for key, value in found.items()}
            self.results.append((truth, found))
        self.host.results.clear()

    def compute_metrics(self, results: list) -> dict[str, float]:
        """AP, its relatives, and 0 where nothing at all was detected."""
        found = self.host.compute_metrics(results)
        # The host gives NaN for a class without an object; json has no such number.
        found = {name: value for name, value in found.items() if value == value}
        for kind in self.host.metrics:
            for item in self._config.get('metric_items') or ('mAP', 'mAP_50', 'mAP_75'):
                found.setdefault(f'{kind}_{item}', 0.0)
        return found


def _where(known: np.ndarray, value: Any) -> Any:
    """The chosen predictions of an array or a list with one entry a prediction."""
    if isinstance(value, np.ndarray):
        return value[known]
    return list(compress(value, known)) if isinstance(value, list) else value
