"""Role view over a semantic segmentation data set."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS
from PIL import Image

from knowswap_mm.datasets.cache_folder import cache_folder
from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.datasets.picture_name import skipped_files
from knowswap_mm.datasets.picture_root import picture_root
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.semantic_index import SemanticIndex
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS, type_name

MIXED = ('ignore_pixels', 'drop_image', 'keep')
#: What mmseg writes into a map where no class is.
UNLABELLED = 255


@DATASETS.register_module()
class SemanticRoleView(RoleView):
    """Keeps the pictures with pixels of a class of the role, and relabels their maps on loading.

    Works over every data set of mmseg (``BaseSegDataset`` and its relatives). Which ids occur in
    which map is read once and remembered, see :class:`SemanticIndex`.

    Args:
        dataset (dict): Config of the host data set.
        role (str): The role.
        mixed (str): What becomes of pixels of other classes than the role's. ``ignore_pixels``
            makes them unlabelled. ``keep`` leaves their labels, as far as the swap knows the class.
            ``drop_image`` leaves pictures with such pixels out.
        min_pixels (int): Pixels that a class must have in a picture to count there.
        first_id (int): Id of the first class in the maps, after ``reduce_zero_label``; the others
            follow. (In the official layout the new classes begin at 150.)
        cache_dir (str | None): Folder for the index, see :func:`cache_folder`.
        **kwargs: See :class:`RoleView`.

    Raises:
        ConfigError: If an option is unknown, or a map holds an id that is no class.
    """

    audit_reader = 'knowswap_mm.SegmentationReader'
    drawer = 'knowswap_mm.SegmentationDrawer'

    def __init__(
        self,
        dataset: dict[str, Any],
        role: str,
        fraction: float = 1.0,
        fraction_by: str = 'set',
        seed: int = 0,
        label_map: dict[str, str] | None = None,
        on_bad_sample: str = 'raise',
        mixed: str = 'ignore_pixels',
        min_pixels: int = 1,
        first_id: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        key = f'dataset.roles.{role}'
        if mixed not in MIXED:
            raise ConfigError(f'{key}.mixed', mixed, 'unknown choice', f'use one of {MIXED}')
        for name, value, least in (('min_pixels', min_pixels, 1), ('first_id', first_id, 0)):
            if type(value) is not int or value < least:
                problem = f'no whole number from {least} on'
                raise ConfigError(f'{key}.{name}', value, problem, f'e.g. {least}')
        self.mixed, self.min_pixels, self.first_id = mixed, min_pixels, first_id
        self.cache_dir = cache_folder(cache_dir)
        super().__init__(dataset, role, fraction, fraction_by, seed, label_map, on_bad_sample)

    def open(self) -> None:
        """Build the host data set and count the ids in its maps."""
        super().open()
        if not self.host.metainfo.get('classes'):
            fix = 'list the names in the order of their ids'
            key = f'{self.key}.dataset.metainfo.classes'
            raise ConfigError(key, None, 'the data has no class names', fix)
        infos = [self.host.get_data_info(i) for i in range(len(self.host))]
        key = f'{self.key}.dataset.data_prefix.seg_map_path'
        if infos and 'seg_map_path' not in infos[0]:
            raise ConfigError(key, None, 'there are no maps', 'give the folder of the maps')
        paths = [info['seg_map_path'] for info in infos]
        backend_args = getattr(self.host, 'backend_args', None)
        raw = SemanticIndex(paths, self.cache_dir, key, backend_args).counts
        self._warn_skipped(infos)
        self._positions = self._read_ids()
        self._check_ids(raw, paths, key)
        #: Pixels by picture and host class.
        self._pixels = np.zeros((len(paths), len(self.class_names)), np.int64)
        for number, position in self._positions.items():
            self._pixels[:, position] += raw[:, number]

    def _warn_skipped(self, infos: list[dict[str, Any]]) -> None:
        """Say what the host passes over for its ``img_suffix`` where it lists a folder."""
        folder = (getattr(self.host, 'data_prefix', None) or {}).get('img_path')
        ann_file = getattr(self.host, 'ann_file', None)
        if folder and not (ann_file and os.path.isfile(ann_file)):
            read = {os.path.abspath(i[k]) for i in infos for k in ('img_path', 'seg_map_path')}
            self.warn_skipped(skipped_files(folder, read), folder)

    def _read_ids(self) -> dict[int, int]:
        """From the number in the file to the position in :attr:`class_names`."""
        shift = int(self.host.reduce_zero_label)
        if self.host.label_map is not None:
            # The host takes a part of its classes; the ids of the others are no class here.
            ids = {number: new for number, new in self.host.label_map.items() if new != UNLABELLED}
        else:
            ids = {self.first_id + i: i for i in range(len(self.class_names))}
        if (last := max(ids) + shift) >= UNLABELLED:
            fix = 'maps of 8 bits hold at most 255 classes'
            raise ConfigError(f'{self.key}.first_id', self.first_id, f'ids go up to {last}', fix)
        return {number + shift: position for number, position in ids.items()}

    def _check_ids(self, raw: np.ndarray, paths: list[str], key: str) -> None:
        known = np.zeros(256, bool)
        known[[*self._positions, UNLABELLED, self.host.ignore_index]] = True
        if self.host.reduce_zero_label:
            known[0] = True
        if self.host.label_map is not None:
            known[[n + int(self.host.reduce_zero_label) for n in self.host.label_map]] = True
        maps, numbers = np.nonzero((raw > 0) & ~known)
        if len(maps):
            ids = sorted(self._positions)
            problem = f'the map holds the id {numbers[0]}, which is no class'
            fix = f'ids are {ids[0]} to {ids[-1]}; name all classes in metainfo.classes, set '
            fix += 'first_id or reduce_zero_label, or write 255 where no class is'
            raise ConfigError(key, paths[maps[0]], problem, fix)

    @property
    def occurring_classes(self) -> list[str]:
        """Those with enough pixels in some picture."""
        found = (self._pixels >= self.min_pixels).any(axis=0)
        return [name for name, occurs in zip(self.class_names, found, strict=True) if occurs]

    @property
    def class_numbers(self) -> dict[str, int]:
        """Id of each class in the maps."""
        names = self.class_names
        return {names[position]: number for number, position in self._positions.items()}

    @property
    def metainfo(self) -> dict[str, Any]:
        """The classes of the role, which its metric is about."""
        return dict(role_classes=self._own_names, ignore_index=self.host.ignore_index)

    def bind(self, classes: ClassRoles) -> None:
        """Select the pictures."""
        self._own_names = list(classes.of(self.role))
        number_of = {name: number for number, name in enumerate(classes.names)}
        self._label_of = {i: number_of[n] for i, n in enumerate(self.class_names) if n in number_of}
        self._left_out = 0
        super().bind(classes)
        self._new_ids = self._relabelled()
        own = self._pixels[:, sorted(self.labels)][self.indices].sum()
        text = f'{self.key}: {len(self)} pictures with {own} pixels of the role'
        if self._left_out:
            text += f'; {self._left_out} pictures with other classes left out (mixed=drop_image)'
        print_log(f'{text}.', logger='current')

    def select(self, labels: dict[int, int]) -> np.ndarray:
        """Host indices of the pictures with a class of the role, by the rule for mixed ones."""
        present = self._pixels >= self.min_pixels
        own = np.zeros(present.shape[1], bool)
        own[list(labels)] = True
        selected = present[:, own].any(axis=1)
        if self.mixed == 'drop_image':
            other = present[:, ~own].any(axis=1)
            self._left_out = int((selected & other).sum())
            selected &= ~other
            if self._left_out and not selected.any():
                fix = "set it to 'ignore_pixels' or 'keep', or give pictures of this role alone"
                problem = f'all {self._left_out} pictures of the role hold other classes, too'
                raise ConfigError(f'{self.key}.mixed', self.mixed, problem, fix)
        return np.flatnonzero(selected)

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected pictures by the class of the role that has most pixels in each."""
        own = np.array(sorted(self.labels))
        largest = own[self._pixels[np.ix_(selected, own)].argmax(axis=1)]
        return [selected[largest == label] for label in np.unique(largest)]

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """Pictures with enough pixels of each class of the role."""
        present = (self._pixels[indices] >= self.min_pixels).sum(axis=0)
        names = self.class_names
        counts = dict.fromkeys((names[label] for label in self.labels), 0)
        for label in self.labels:  # a label map may give two host classes one name
            counts[names[label]] += int(present[label])
        return counts

    def relabel(self, data_info: dict[str, Any]) -> dict[str, Any]:
        """Tell the host's ``LoadAnnotations`` the label of every id in the map."""
        data_info['label_map'] = self._new_ids
        return data_info

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write the relabelled maps as ``maps/<picture>.png``, and ``pictures.txt``."""
        ignored = self.host.ignore_index
        table = np.full(256, ignored, np.uint8)
        table[UNLABELLED] = UNLABELLED
        table[list(labels)] = list(labels.values())
        steps = [_is_loader(step) for step in self.dataset['pipeline']]
        pipeline = copy.deepcopy(list(self.dataset['pipeline']))
        loader = pipeline[steps.index(True)] if any(steps) else dict(type='mmseg.LoadAnnotations')
        load = TRANSFORMS.build(copy.deepcopy(loader))
        loader.pop('reduce_zero_label', None)  # the written maps begin with class 0
        own = [labels[label] for label in self.labels.values() if label in labels]
        infos = [self.data_info(position) for position in range(len(self))]
        root, names = picture_root([info['img_path'] for info in infos])
        written = []
        for name, info in zip(names, infos, strict=True):
            values = table[load(info)['gt_seg_map']]
            if not np.isin(values, own).any():
                continue
            path = folder / 'maps' / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
            written.append(name)
        self._check_written(written)
        (folder / 'pictures.txt').write_text('\n'.join(written) + '\n', encoding='utf-8')
        config = dict(
            type='mmseg.BaseSegDataset',
            ann_file=str(folder / 'pictures.txt'),
            data_root=root,
            data_prefix=dict(img_path='', seg_map_path=str(folder / 'maps')),
            img_suffix='',  # the names have theirs
            seg_map_suffix='.png',
            metainfo=dict(classes=list(classes)),
            ignore_index=ignored,
            pipeline=pipeline,
            test_mode=True,
        )
        names_left = [n for n in self._own_names if n in set(classes)]
        return config, dict(role_classes=names_left, ignore_index=ignored)

    def _relabelled(self) -> dict[int, int]:
        """From the id that the host reads to the label in the swap, where they differ."""
        shift = int(self.host.reduce_zero_label)
        table = self._label_of if self.mixed == 'keep' else self.labels
        ids = {number - shift: position for number, position in self._positions.items()}
        ids.update({n: None for n in self.host.label_map or () if n not in ids})
        new = {
            number: table.get(position, self.host.ignore_index) for number, position in ids.items()
        }
        return {old: label for old, label in new.items() if old != label}


def _is_loader(step: Any) -> bool:
    return isinstance(step, dict) and type_name(step.get('type')).endswith('LoadAnnotations')
