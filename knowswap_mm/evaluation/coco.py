"""The host's COCO metrics over the annotations of a role."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS as HOST_METRICS

from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation.answers import NOTHING, called, told
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_json
from knowswap_mm.registry import METRICS
from knowswap_mm.roles import APART

HOSTS = {'pycocotools': 'mmdet.CocoMetric', 'faster_coco_eval': 'mmdet.FasterCocoMetric'}


@METRICS.register_module()
class CocoRoleMetric(BaseMetric):
    """mmdet's ``CocoMetric`` on the json that the role's :class:`CocoRoleView` wrote.

    Classes without an object in that role do not count, and neither do predictions of them. Where
    some of the images also hold forgotten objects, ``<metric>_apart`` is that of the others.

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
        self._objects: dict[int, list[tuple[list[float], int]]] = {}
        self._apart: list[int] = []

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the data set, with the annotation file of the role."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        self._dataset_meta = meta
        self._objects, self._apart = {}, []
        if 'ann_file' in meta:
            content = read_json(meta['ann_file'], ANNOTATION_BYTES)
            self._check_masks(content)
            self._keep_objects(content)
            self.host = HOST_METRICS.build(dict(self._config, ann_file=meta['ann_file']))
        self.host.dataset_meta = meta

    def _keep_objects(self, content: dict[str, Any]) -> None:
        """Boxes and labels of the role's own classes by image, and the images to read apart."""
        own = set(self.dataset_meta.get('role_classes', ()))
        names = {each['id']: each['name'] for each in content['categories']}
        for item in content['annotations']:
            if names[item['category_id']] in own and not item['iscrowd']:
                x, y, w, h = item['bbox']
                kept = ([x, y, x + w, y + h], item['category_id'])
                self._objects.setdefault(item['image_id'], []).append(kept)
        apart = [each['id'] for each in content['images'] if not each.get('forgotten')]
        self._apart = apart if len(apart) < len(content['images']) else []

    def _check_masks(self, content: dict[str, Any]) -> None:
        """Masks can be measured if every object of the ground truth has one."""
        if 'segm' not in self.host.metrics:
            return
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
        found = self._measured(self.host, results)
        chosen = set(self._apart)
        if apart := [each for each in results if each[0]['img_id'] in chosen]:
            host = copy.copy(self.host)
            host.img_ids, host.classwise, host.outfile_prefix = self._apart, False, None
            measured = self._measured(host, apart)
            found.update({f'{name}{APART}': value for name, value in measured.items()})
        return found

    def _measured(self, host: BaseMetric, results: list) -> dict[str, float]:
        # The host gives NaN for a class without an object; json has no such number.
        found = {n: value for n, value in host.compute_metrics(results).items() if value == value}
        for kind in host.metrics:
            for item in self._config.get('metric_items') or ('mAP', 'mAP_50', 'mAP_75'):
                found.setdefault(f'{kind}_{item}', 0.0)
        return found

    def answers(self, results: list) -> dict[str, dict[str, Any]]:
        """What the objects of each class of the role were called, see :func:`told`.

        By the surest detection of any class on each, see :func:`called`.
        """
        names = [*(self.dataset_meta or {}).get('classes', ()), NOTHING]
        given: dict[str, Counter[str]] = {}
        for truth, found in results:
            objects = self._objects.get(truth['img_id'], [])
            boxes = torch.tensor([box for box, _ in objects]).reshape(-1, 4)
            tensors = {key: torch.from_numpy(found[key]) for key in ('bboxes', 'scores', 'labels')}
            answers = called(boxes, tensors, len(names) - 1).tolist()
            for (_, label), answer in zip(objects, answers, strict=True):
                given.setdefault(names[label], Counter())[names[answer]] += 1
        return told({name: given[name] for name in names if name in given})


def _where(known: np.ndarray, value: Any) -> Any:
    """The chosen predictions of an array or a list with one entry a prediction."""
    if isinstance(value, np.ndarray):
        return value[known]
    return list(compress(value, known)) if isinstance(value, list) else value
