"""Role view over a detection or instance segmentation data set in COCO format."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from knowswap_mm.checks import check_choice
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.datasets.host_config import (
    annotation_loaders,
    check_coco_config,
    loads_masks,
    type_of,
)
from knowswap_mm.datasets.image_frame import ImageFrame, check_there, image_headers
from knowswap_mm.datasets.images import absolute
from knowswap_mm.datasets.role_counts import MANY, RoleCounts, listed_counts
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.errors import ConfigError
from knowswap_mm.io.files import cache_folder, holds, write_cached, write_json
from knowswap_mm.registry import DATASETS
from knowswap_mm.roles import FORGET, LEARN

MIXED = ('by_role', 'drop_image', 'drop_boxes', 'ignore_boxes', 'keep')
WITHOUT_OBJECT = ('drop', 'keep')
#: What becomes of an object of another class than the role's.
_IMAGE, _BOX, _IGNORE, _KEEP = 'leave its image out', 'no annotation', 'ignored', 'as it is'
#: Classes that are named as reasons for leaving an image out.
_REASONS = 5


@DATASETS.register_module()
class CocoRoleView(RoleView):
    """Keeps the images with a box of a class of the role, and writes their annotations anew.

    The host's ``CocoDataset`` numbers labels by position in its json, and its ``CocoMetric`` fails
    at a predicted class outside of it. So the view writes one json with the categories of the whole
    swap, in order, and only the images of the role; host and metric read that file alone.

    Args:
        dataset (dict): Config of the host data set (``CocoDataset``).
        role (str): The role.
        mixed (str): What becomes of images that also hold objects of other classes than the
            role's. ``by_role``: classes that the swap does not know are background, in learn data
            retained classes keep their boxes, and images with other classes of the swap are left
            out. ``drop_image`` leaves all images with other objects out. ``drop_boxes`` keeps
            them without those objects, which are background then. ``ignore_boxes`` marks those
            objects as crowd: metrics and hosts that know ignored boxes (not DETR-like ones) neither
            reward nor punish them. ``keep`` leaves them as objects of their classes.
        without_object (str): What becomes of images of the json without an object of the role.
            ``drop`` leaves them out. ``keep`` keeps them, by the rule of ``mixed`` for objects of
            other classes: whatever is detected there is a false positive, which costs AP (as in
            the official evaluation).
        orientation (str | None): Whether boxes count pixels as ``shown`` or as ``stored`` where an
            image has an EXIF orientation; None compares sizes, see :class:`ImageFrame`.
        cache_dir (str | None): Folder for the written json files; by default
            ``$XDG_CACHE_HOME/knowswap_mm`` or ``~/.cache/knowswap_mm``. Names are hashes of the
            contents.
        **kwargs: See :class:`RoleView`.

    Raises:
        ConfigError: If the json cannot be used, does not fit the images, or holds no box of the
            role; in training also if no image of a class is left.
    """

    audit_reader = 'knowswap_mm.DetectionReader'
    drawer = 'knowswap_mm.DetectionDrawer'

    def __init__(
        self,
        dataset: dict[str, Any],
        role: str,
        mixed: str = 'by_role',
        without_object: str = 'drop',
        orientation: str | None = None,
        cache_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        key = f'dataset.roles.{role}'
        check_choice(f'{key}.mixed', mixed, MIXED)
        check_choice(f'{key}.without_object', without_object, WITHOUT_OBJECT)
        self.mixed, self.without_object = mixed, without_object
        self.frame = ImageFrame(key, orientation, 'the json')
        self.cache_dir = cache_folder(cache_dir)
        super().__init__(dataset, role, **kwargs)

    def open(self) -> None:
        """Read the json; the host data set follows in :meth:`bind`."""
        check_coco_config(self.key, self.dataset)
        self.training = not self.dataset.get('test_mode')
        name = self.dataset.get('ann_file') or ''
        path = os.path.join(self.dataset.get('data_root') or '', name)
        masks = loads_masks(self.dataset.get('pipeline'))
        self.source = CocoJson(path, f'{self.key}.dataset.ann_file', masks)
        if masks:
            self._check_polygons()
        if self.source.partial:
            text = f'{self.key}: {path} says that not every object in it is annotated (as LVIS '
            text += 'does); an object without a box counts as background here.'
            print_log(text, logger='current', level=logging.WARNING)
        self.ann_file: Path | None = None

    def _check_polygons(self) -> None:
        """Refuse run-length codes if masks stay polygons: mmdet ignores their objects silently."""
        steps = annotation_loaders(self.dataset.get('pipeline'))
        if all(step.get('poly2mask', True) for step in steps):
            return
        objects = (item for items in self.source.objects.values() for item in items)
        if any(isinstance(o['segmentation'], dict) and not o['iscrowd'] for o in objects):
            key = f'{self.key}.dataset.pipeline.LoadAnnotations.poly2mask'
            problem = 'the json has run-length codes, and their objects would be ignored'
            raise ConfigError(key, False, problem, 'set it to True')

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
        """Category id by name; nothing if an id is no integer."""
        if not all(isinstance(number, int) for number in self.source.categories):
            return {}
        return dict(zip(self.class_names, self.source.categories, strict=True))

    @property
    def metainfo(self) -> dict[str, Any]:
        """Where the metric finds the annotations of the role, and its classes."""
        return dict(ann_file=str(self.ann_file), role_classes=self._own_names)

    def bind(self, classes: ClassRoles) -> None:
        """Select the images, write their json and build the host data set from it."""
        # Several categories may have one name in the swap.
        pairs = list(zip(self.source.categories, self.class_names, strict=True))
        labels = {name: label for label, name in enumerate(classes.names)}
        self._label_of = {number: labels[name] for number, name in pairs if name in labels}
        self._own_names = list(classes.of(self.role))
        chosen = set(self._own_names)
        self._own = {number for number, name in pairs if name in chosen}
        known = set(classes.old) - set(classes.forget) if self.role == LEARN else set()
        self._retained = {number for number, name in pairs if name in known}
        gone = set(classes.forget) if self.role != FORGET else set()
        self._forgotten = {number for number, name in pairs if name in gone}
        self._name_of = dict(pairs)
        self.counts = self._count()
        super().bind(classes)
        self.counts.used = self.indices
        self.ann_file = self._write(classes)
        config = copy.deepcopy(dict(self.dataset))
        config.update(
            ann_file=str(self.ann_file),
            metainfo=dict(config.get('metainfo') or {}, classes=tuple(classes.names)),
            filter_cfg=None,
        )
        self.host = self.build_host(config)
        self._settle_frame(config)
        print_log(f'{self.counts.describe()}.', logger='current')

    def _count(self) -> RoleCounts:
        columns = {name: column for column, name in enumerate(self._own_names)}
        table = np.zeros((len(self.source.images), len(columns)), np.int64)
        for row, image in enumerate(self.source.images):
            for item in self.source.objects[image['id']]:
                if item['category_id'] in self._own and not item['iscrowd']:
                    table[row, columns[self._name_of[item['category_id']]]] += 1
        counts = RoleCounts(self.key, 'objects', self._own_names, table, self.training)
        counts.other.update(self.source.dropped)
        dropped = sum(self.source.dropped.values())
        total = dropped + sum(map(len, self.source.objects.values()))
        if dropped > MANY * total:
            told = listed_counts(self.source.dropped)
            text = f'{self.key}.dataset.ann_file = {str(self.source.path)!r}: {told}, of '
            text += f'{total} annotations. Check that the file fits its images.'
            print_log(text, logger='current', level=logging.WARNING)
        return counts

    def _settle_frame(self, config: dict[str, Any]) -> None:
        """Compare the files with the json, and load them as its boxes count pixels."""
        if self.image_check.remote:
            return
        images = [self.source.images[int(position)] for position in self._served]
        folder = self.host.data_prefix['img']
        paths = [os.path.join(folder, image['file_name']) for image in images]
        check_there(self.key, paths, self.on_bad_sample)
        sizes = [(image['width'], image['height']) for image in images]
        before = config.get('pipeline')
        headers = image_headers(paths, self.cache_dir)
        after = self.frame.settle(before, paths, sizes, headers)
        if after is not before:
            self.dataset = dict(self.dataset, pipeline=after)
            self.host = self.build_host(dict(config, pipeline=copy.deepcopy(after)))

    def _fate(self, number: int | str) -> str:
        """What becomes of an object of a category that is not the role's."""
        known = number in self._label_of
        if self.mixed == 'by_role':
            if not known:
                return _BOX
            return _KEEP if number in self._retained else _IMAGE
        if self.mixed == 'keep':
            return _KEEP if known else _BOX
        if self.mixed == 'ignore_boxes':
            # A metric ignores by class, and no class of the swap may be predicted there.
            return _IGNORE if known or self.training else _BOX
        return _IMAGE if self.mixed == 'drop_image' else _BOX

    def select(self, labels: dict[int, int]) -> np.ndarray:
        """Positions of the images that hold an object of the role, by the rule for mixed ones."""
        fates = {number: self._fate(number) for number in set(self._name_of) - self._own}
        smallest = (self.dataset.get('filter_cfg') or {}).get('min_size', 0) if self.training else 0
        selected, blamed = [], []
        for position, image in enumerate(self.source.images):
            if not self.counts.table[position].any() and self.without_object == 'drop':
                continue
            others = {item['category_id'] for item in self.source.objects[image['id']]} - self._own
            if min(image['width'], image['height']) < smallest:
                self.counts.left_out[f'smaller than {smallest} (filter_cfg.min_size)'] += 1
            elif banned := {number for number in others if fates[number] == _IMAGE}:
                blamed.append(banned)
            else:
                selected.append(position)
        self._blame(blamed)
        found = np.asarray(selected, dtype=np.int64)
        fix = "use 'by_role' or 'drop_boxes', or give images of this role alone"
        if self.mixed == 'by_role':
            fix = "use 'drop_boxes' or 'keep', or give images of this role alone"
        self.counts.check(found, 'mixed', self.mixed, fix)
        # Nothing is measured on images without any object.
        return found if self.counts.table[found].any() else found[:0]

    def _blame(self, images: list[set[int | str]]) -> None:
        """Count each image that was left out for the most common of the classes in its way."""
        often = Counter(number for banned in images for number in banned)
        named = {number for number, _ in often.most_common(_REASONS)}
        for banned in images:
            worst = max(banned, key=lambda number: (often[number], str(number)))
            name = repr(self._name_of[worst]) if worst in named else 'other classes'
            self.counts.left_out[f'with objects of {name}'] += 1

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected images by the class of the first object of the role in each."""
        first = []
        for position in selected:
            objects = self.source.objects[self.source.images[position]['id']]
            own = (o['category_id'] for o in objects if o['category_id'] in self._own)
            # Images without an object of the role are one more class.
            first.append(self._label_of.get(next(own, None), -1))
        return [selected[np.asarray(first) == label] for label in sorted(set(first))]

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """Images with an object of each class of the role."""
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
        """The written json holds the images of the view in its order, held out ones last."""
        return position

    @property
    def _served(self) -> np.ndarray:
        return np.concatenate([self.indices, self.held_out])

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write ``objects.json``: the json of the view with the labels that are asked for."""
        content = json.loads(self.ann_file.read_bytes())
        own = {self._label_of[number] for number in self._own}
        kept = [item for item in content['annotations'] if item['category_id'] in labels]
        shown = {item['image_id'] for item in kept if item['category_id'] in own}
        if self.without_object == 'keep':
            has_own = {i['image_id'] for i in content['annotations'] if i['category_id'] in own}
            shown |= {image['id'] for image in content['images']} - has_own
        images = [image for image in content['images'] if image['id'] in shown]
        self._check_written(images)
        annotations = [
            dict(item, category_id=labels[item['category_id']])
            for item in kept
            if item['image_id'] in shown
        ]
        categories = [dict(id=label, name=name) for label, name in enumerate(classes)]
        content = dict(images=images, annotations=annotations, categories=categories)
        path = folder / 'objects.json'
        write_json(path, content, indent=None)
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
        any_own = min(self._label_of[number] for number in self._own)
        for position in self._served:
            image = self.source.images[int(position)]
            number = len(images) + 1
            objects = self.source.objects[image['id']]
            images.append(dict(image, id=number, source_id=image['id']))
            if self._forgotten.intersection(item['category_id'] for item in objects):
                images[-1]['forgotten'] = True  # what is found there may be what was forgotten
            for item in objects:
                category = item['category_id']
                fate = _KEEP if category in self._own else self._fate(category)
                if fate == _BOX:
                    reason = 'objects of other classes count as background'
                    self.counts.other[f'{reason}: {self._name_of[category]!r}'] += 1
                    continue
                # The class of an ignored box means nothing in training.
                label = self._label_of.get(category, any_own)
                kept = dict(item, id=len(annotations) + 1, image_id=number, category_id=label)
                if fate == _IGNORE:
                    kept['iscrowd'] = 1
                annotations.append(kept)
        categories = [dict(id=label, name=name) for label, name in enumerate(classes.names)]
        content = dict(images=images, annotations=annotations, categories=categories)
        text = json.dumps(content)
        digest = hashlib.sha256(text.encode()).hexdigest()[:20]
        path = self.cache_dir / f'{self.role}_{digest}.json'
        if not holds(path, text.encode()):
            write_cached(path, lambda file: file.write(text.encode()))
        return path

    def _run_pipeline(self, data_info: dict[str, Any], position: int) -> dict[str, Any] | None:
        announced = data_info.get('height'), data_info.get('width')
        sample = super()._run_pipeline(data_info, position)
        loaded = getattr((sample or {}).get('data_samples'), 'ori_shape', announced)
        if tuple(loaded[:2]) != announced:  # in a storage, or a format, that no header was read of
            problem = f'loaded as {loaded[1]} x {loaded[0]}, the json says {announced[::-1]}'
            fix = 'save the image upright, or use the images that were annotated'
            raise ConfigError(f'{self.key}.dataset', data_info.get('img_path'), problem, fix)
        if self.training and sample is not None:
            if 'labels' not in sample['data_samples'].gt_instances:
                fix = "put dict(type='LoadAnnotations', with_bbox=True) behind LoadImageFromFile"
                shown = [type_of(step) for step in self.dataset.get('pipeline') or ()]
                raise ConfigError(f'{self.key}.dataset.pipeline', shown, 'it loads no boxes', fix)
        return sample
