"""Role view over a detection or instance segmentation data set in COCO format."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from knowswap_mm.datasets.cache_folder import cache_folder, holds, write_once
from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.datasets.picture_root import absolute
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS

MIXED = ('drop_image', 'drop_boxes', 'ignore_boxes', 'keep')


@DATASETS.register_module()
class CocoRoleView(RoleView):
    """Keeps the pictures with a box of a class of the role, and writes their annotations anew.

    The host's ``CocoDataset`` numbers labels by position in its json, and its ``CocoMetric`` fails
    at a predicted class outside of it. So the view writes one json with the categories of the whole
    swap, in order, and only the pictures of the role; host and metric read that file alone.

    Args:
        dataset (dict): Config of the host data set (``CocoDataset``).
        role (str): The role.
        mixed (str): What becomes of pictures that also hold objects of other classes than the
            role's. ``drop_image`` leaves them out. ``drop_boxes`` keeps them without those objects,
            which are background then. ``ignore_boxes`` marks those objects as crowd: metrics and
            hosts that know ignored boxes (not DETR-like ones) neither reward nor punish them.
            ``keep`` leaves them as objects of their classes.
        cache_dir (str | None): Folder for the written json files; by default
            ``$XDG_CACHE_HOME/knowswap_mm`` or ``~/.cache/knowswap_mm``. Names are hashes of the
            contents.
        **kwargs: See :class:`RoleView`.

    Raises:
        ConfigError: If the json cannot be used or holds no box of the role.
    """

    audit_reader = 'knowswap_mm.DetectionReader'
    drawer = 'knowswap_mm.DetectionDrawer'

    def __init__(
        self,
        dataset: dict[str, Any],
        role: str,
        fraction: float = 1.0,
        fraction_by: str = 'set',
        seed: int = 0,
        label_map: dict[str, str] | None = None,
        on_bad_sample: str = 'raise',
        mixed: str = 'drop_image',
        cache_dir: str | None = None,
    ) -> None:
        if mixed not in MIXED:
            key = f'dataset.roles.{role}.mixed'
            raise ConfigError(key, mixed, 'unknown choice', f'use one of {MIXED}')
        self.mixed = mixed
        self.cache_dir = cache_folder(cache_dir)
        super().__init__(dataset, role, fraction, fraction_by, seed, label_map, on_bad_sample)

    def open(self) -> None:
        """Read the json; the host data set follows in :meth:`bind`."""
        name = self.dataset.get('ann_file') or ''
        path = os.path.join(self.dataset.get('data_root') or '', name)
        self.source = CocoJson(path, f'{self.key}.dataset.ann_file')
        self.ann_file: Path | None = None

    @property
    def class_names(self) -> list[str]:
        """Names of the categories in the swap's words."""
        return [self.swap_name(name) for name in self.source.categories.values()]

    @property
    def occurring_classes(self) -> list[str]:
        """Those with a box."""
        boxes = (item for objects in self.source.objects.values() for item in objects)
        found = {item['category_id'] for item in boxes}
        pairs = zip(self.source.categories, self.class_names, strict=True)
        return [name for number, name in pairs if number in found]

    @property
    def class_numbers(self) -> dict[str, int]:
        """Category id by name."""
        return dict(zip(self.class_names, self.source.categories, strict=True))

    @property
    def metainfo(self) -> dict[str, Any]:
        """Where the metric finds the annotations of the role."""
        return dict(ann_file=str(self.ann_file))

    def bind(self, classes: ClassRoles) -> None:
        """Select the pictures, write their json and build the host data set from it."""
        numbers = self.class_numbers
        labels = {name: label for label, name in enumerate(classes.names)}
        self._label_of = {numbers[name]: labels[name] for name in numbers if name in labels}
        chosen = set(classes.of(self.role))
        self._own = {number for name, number in numbers.items() if name in chosen}
        self._left_out = 0
        super().bind(classes)
        self.ann_file = self._write(classes)
        config = copy.deepcopy(dict(self.dataset))
        config.update(
            ann_file=str(self.ann_file),
            metainfo=dict(config.get('metainfo') or {}, classes=tuple(classes.names)),
            filter_cfg=None,
        )
        self.host = self.build_host(config)
        print_log(self._summary(), logger='current')

    def select(self, labels: dict[int, int]) -> list[int]:
        """Positions of the pictures that hold an object of the role, by the rule for mixed ones."""
        selected = []
        for position, image in enumerate(self.source.images):
            objects = self.source.objects[image['id']]
            own = [item for item in objects if item['category_id'] in self._own]
            if not any(not item.get('iscrowd') for item in own):
                continue
            if self.mixed == 'drop_image' and len(own) < len(objects):
                self._left_out += 1
                continue
            selected.append(position)
        if not selected and self._left_out:
            fix = "set it to 'drop_boxes' or 'keep', or give pictures of this role alone"
            problem = f'all {self._left_out} pictures of the role hold objects of other classes'
            raise ConfigError(f'{self.key}.mixed', self.mixed, problem, fix)
        return selected

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected pictures by the class of the first object of the role in each."""
        first = []
        for position in selected:
            objects = self.source.objects[self.source.images[position]['id']]
            first.append(next(o['category_id'] for o in objects if o['category_id'] in self._own))
        return [selected[np.asarray(first) == number] for number in sorted(set(first))]

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """Pictures with an object of each class of the role."""
        counts = dict.fromkeys(self._own, 0)
        for position in indices:
            objects = self.source.objects[self.source.images[int(position)]['id']]
            for number in {item['category_id'] for item in objects if not item.get('iscrowd')}:
                if number in counts:
                    counts[number] += 1
        return {name: counts[n] for name, n in self.class_numbers.items() if n in counts}

    def relabel(self, data_info: dict[str, Any]) -> dict[str, Any]:
        """Nothing to do: the written json has the swap's labels."""
        return data_info

    def host_index(self, position: int) -> int:
        """The written json holds the pictures of the view in its order."""
        return position

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write ``objects.json``: the json of the view with the labels that are asked for."""
        content = json.loads(self.ann_file.read_bytes())
        own = {self._label_of[number] for number in self._own}
        kept = [item for item in content['annotations'] if item['category_id'] in labels]
        shown = {item['image_id'] for item in kept if item['category_id'] in own}
        images = [image for image in content['images'] if image['id'] in shown]
        self._check_written(images)
        annotations = [
            dict(item, category_id=labels[item['category_id']])
            for item in kept
            if item['image_id'] in shown
        ]
        categories = [dict(id=label, name=name) for label, name in enumerate(classes)]
        content = dict(images=images, annotations=annotations, categories=categories)
        folder.mkdir(parents=True)
        path = folder / 'objects.json'
        path.write_text(json.dumps(content), encoding='utf-8')
        config = copy.deepcopy(dict(self.dataset))
        config.update(
            ann_file=str(path),
            data_root=absolute(config.get('data_root')),
            metainfo=dict(config.get('metainfo') or {}, classes=list(classes)),
            filter_cfg=None,
            test_mode=True,
        )
        return config, dict(ann_file=str(path))

    def _write(self, classes: ClassRoles) -> Path:
        images, annotations = [], []
        for position in self.indices:
            image = self.source.images[int(position)]
            number = len(images) + 1
            images.append(dict(image, id=number, source_id=image['id']))
            for item in self.source.objects[image['id']]:
                own = item['category_id'] in self._own
                label = self._label_of.get(item['category_id'])
                if label is None or (not own and self.mixed == 'drop_boxes'):
                    continue
                kept = dict(item, id=len(annotations) + 1, image_id=number, category_id=label)
                if not own and self.mixed == 'ignore_boxes':
                    kept['iscrowd'] = 1
                annotations.append(kept)
        categories = [dict(id=label, name=name) for label, name in enumerate(classes.names)]
        content = dict(images=images, annotations=annotations, categories=categories)
        text = json.dumps(content)
        digest = hashlib.sha256(text.encode()).hexdigest()[:20]
        path = self.cache_dir / f'{self.role}_{digest}.json'
        if not holds(path, text.encode()):
            write_once(path, lambda partial: partial.write_text(text, encoding='utf-8'))
        return path

    def _summary(self) -> str:
        source = self.source
        boxes = sum(
            item['category_id'] in self._own
            for position in self.indices
            for item in source.objects[source.images[int(position)]['id']]
        )
        text = f'{self.key}: {len(self)} pictures with {boxes} boxes of the role'
        if self._left_out:
            text += f'; {self._left_out} pictures with other objects left out (mixed=drop_image)'
        if source.outside:
            text += f'; {source.outside} boxes outside their pictures or too small were dropped'
        return f'{text}.'
