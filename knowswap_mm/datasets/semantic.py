"""Role view over a semantic segmentation data set."""

from __future__ import annotations

import copy
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS
from PIL import Image

from knowswap_mm.checks import check_choice, check_whole
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.datasets.host_config import annotation_loaders, type_of
from knowswap_mm.datasets.image_frame import ImageFrame, check_there, image_headers
from knowswap_mm.datasets.images import image_root
from knowswap_mm.datasets.role_counts import RoleCounts
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.semantic_index import SemanticIndex
from knowswap_mm.errors import ConfigError
from knowswap_mm.io.files import cache_folder, write_atomic, write_text
from knowswap_mm.registry import DATASETS, type_name

MIXED = ('ignore_pixels', 'drop_image', 'keep')
#: What mmseg writes into a map where no class is.
UNLABELLED = 255


@DATASETS.register_module()
class SemanticRoleView(RoleView):
    """Keeps the images with pixels of a class of the role, and relabels their maps on loading.

    Works over every data set of mmseg (``BaseSegDataset`` and its relatives). Which ids occur in
    which map is read once and remembered, see :class:`SemanticIndex`.

    Args:
        dataset (dict): Config of the host data set.
        role (str): The role.
        mixed (str): What becomes of pixels of other classes than the role's. ``ignore_pixels``
            makes them unlabelled. ``keep`` leaves their labels, as far as the swap knows the class.
            ``drop_image`` leaves images with such pixels out.
        min_pixels (int): Pixels that a class must have in an image to count there.
        first_id (int): Id of the first class in the maps, after ``reduce_zero_label``; the others
            follow. (In the official layout the new classes begin at 150.)
        orientation (str | None): Whether maps count pixels as ``shown`` or as ``stored`` where an
            image has an EXIF orientation; None compares sizes, see :class:`ImageFrame`.
        cache_dir (str | None): Folder for the index, see :func:`cache_folder`.
        **kwargs: See :class:`RoleView`.

    Raises:
        ConfigError: If an option is unknown, a map holds an id that is no class or has another size
            than its image; in training also if no image of a class is left.
    """

    audit_reader = 'knowswap_mm.SegmentationReader'
    drawer = 'knowswap_mm.SegmentationDrawer'

    def __init__(
        self,
        dataset: dict[str, Any],
        role: str,
        mixed: str = 'ignore_pixels',
        min_pixels: int = 1,
        first_id: int = 0,
        orientation: str | None = None,
        cache_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        key = f'dataset.roles.{role}'
        check_choice(f'{key}.mixed', mixed, MIXED)
        for name, value, least in (('min_pixels', min_pixels, 1), ('first_id', first_id, 0)):
            check_whole(f'{key}.{name}', value, least)
        self.mixed, self.min_pixels, self.first_id = mixed, min_pixels, first_id
        self.frame = ImageFrame(key, orientation, 'the map')
        self.cache_dir = cache_folder(cache_dir)
        super().__init__(dataset, role, **kwargs)

    def open(self) -> None:
        """Build the host data set and count the ids in its maps."""
        super().open()
        self.training = not self.dataset.get('test_mode')
        if not hasattr(self.host, 'reduce_zero_label') or not hasattr(self.host, 'label_map'):
            fix = "use type='BaseSegDataset' or one of its relatives"
            problem = 'is no data set of semantic maps'
            raise ConfigError(f'{self.key}.dataset.type', type_of(self.dataset), problem, fix)
        if not self.host.metainfo.get('classes'):
            fix = 'list the names in the order of their ids'
            key = f'{self.key}.dataset.metainfo.classes'
            raise ConfigError(key, None, 'the data has no class names', fix)
        infos = [self.host.get_data_info(i) for i in range(len(self.host))]
        key = f'{self.key}.dataset.data_prefix.seg_map_path'
        if infos and 'seg_map_path' not in infos[0]:
            raise ConfigError(key, None, 'there are no maps', 'give the folder of the maps')
        self._files = [(info['img_path'], info['seg_map_path']) for info in infos]
        paths = [path for _, path in self._files]
        self._check_listing(infos)
        self._check_loaders(paths)
        backend_args = getattr(self.host, 'backend_args', None)
        raw = SemanticIndex(paths, self.cache_dir, key, backend_args).counts
        self._positions = self._read_ids()
        self._check_ids(raw, paths, key)
        #: Pixels by image and host class.
        self._pixels = np.zeros((len(paths), len(self.class_names)), np.int64)
        for number, position in self._positions.items():
            self._pixels[:, position] += raw[:, number]

    def _check_listing(self, infos: list[dict[str, Any]]) -> None:
        """The host lists the images of one ending; say what it does not see."""
        folder = self.host.data_prefix.get('img_path') or ''
        if self.image_check.remote or os.path.isfile(self.host.ann_file or ''):
            return
        ending = self.host.img_suffix
        seen = {info['img_path'] for info in infos}
        files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
        unseen = Counter(Path(path).suffix for path in files if path not in seen)
        known = Image.registered_extensions()
        images = {each: n for each, n in unseen.items() if each.lower() in known}
        if not images:
            return
        told = ', '.join(f'{count} {each}' for each, count in images.items())
        problem = f'the folder {folder} also has images of other endings ({told})'
        fix = 'give the ending of all of them, or convert them to one'
        if not infos:
            raise ConfigError(f'{self.key}.dataset.img_suffix', ending, problem, fix)
        maps = self.host.data_prefix.get('seg_map_path')
        if maps and os.path.abspath(maps) == os.path.abspath(folder):
            return  # maps beside their images
        text = f'{self.key}.dataset.img_suffix = {ending!r}: {problem}, which are not used. '
        print_log(f'{text}Fix: {fix}.', logger='current', level=logging.WARNING)

    def _check_loaders(self, paths: list[str]) -> None:
        """Refuse settings of the host's loader under which it reads other ids than were counted."""
        key = f'{self.key}.dataset.pipeline.LoadAnnotations'
        for step in annotation_loaders(self.dataset.get('pipeline')):
            reduce, whole = step.get('reduce_zero_label'), bool(self.host.reduce_zero_label)
            if reduce is not None and bool(reduce) != whole:
                fix = f'leave it out, or set it in {self.key}.dataset alone'
                problem = f'the data set has reduce_zero_label={whole}'
                raise ConfigError(f'{key}.reduce_zero_label', reduce, problem, fix)
            backend = step.get('imdecode_backend', 'pillow')
            if backend != 'pillow' and (palette := next(filter(_has_palette, paths), None)):
                problem = f'it reads the colours of a palette, not the ids ({palette})'
                raise ConfigError(f'{key}.imdecode_backend', backend, problem, "use 'pillow'")

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
        """Those with enough pixels in some image."""
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
        """Select the images."""
        self._own_names = list(classes.of(self.role))
        number_of = {name: number for number, name in enumerate(classes.names)}
        self._label_of = {i: number_of[n] for i, n in enumerate(self.class_names) if n in number_of}
        if (ignored := self.host.ignore_index) < len(classes.names):
            problem = f'this is the label of {classes.names[ignored]!r} in the swap'
            fix = 'leave it at 255, which maps hold where no class is'
            raise ConfigError(f'{self.key}.dataset.ignore_index', ignored, problem, fix)
        self.counts = self._count()
        super().bind(classes)
        self._new_ids = self._relabelled()
        self.counts.used = self.indices
        self._settle_frame()
        print_log(f'{self.counts.describe()}.', logger='current')

    def _count(self) -> RoleCounts:
        table = np.zeros((len(self._pixels), len(self._own_names)), np.int64)
        for position, name in enumerate(self.class_names):
            if name in self._own_names:
                pixels = self._pixels[:, position]
                enough = np.where(pixels >= self.min_pixels, pixels, 0)
                table[:, self._own_names.index(name)] += enough
        return RoleCounts(self.key, 'pixels', self._own_names, table, self.training)

    def _settle_frame(self) -> None:
        """Compare maps with images, and load images as their maps count pixels."""
        if self.image_check.remote:
            return
        served = [*self.indices, *self.held_out]
        images = [self._files[int(index)][0] for index in served]
        check_there(self.key, images, self.on_bad_sample)
        paths = [self._files[int(index)][1] for index in served]
        maps = image_headers(paths, self.cache_dir)
        headers = [
            header if each.width else header._replace(width=0)
            for header, each in zip(image_headers(images, self.cache_dir), maps, strict=True)
        ]
        before = self.dataset.get('pipeline')
        after = self.frame.settle(before, images, [each.stored for each in maps], headers)
        if after is not before:
            self.dataset = dict(self.dataset, pipeline=after)
            self.host = self.build_host(copy.deepcopy(self.dataset))

    def select(self, labels: dict[int, int]) -> np.ndarray:
        """Host indices of the images with a class of the role, by the rule for mixed ones."""
        present = self._pixels >= self.min_pixels
        own = np.zeros(present.shape[1], bool)
        own[list(labels)] = True
        selected = present[:, own].any(axis=1)
        if self.mixed == 'drop_image':
            others = present & ~own
            often = others[selected].sum(axis=0)
            for row in others[selected & others.any(axis=1)]:
                worst = self.class_names[int((often * row).argmax())]
                self.counts.left_out[f'with pixels of {worst!r}'] += 1
            selected &= ~others.any(axis=1)
        found = np.flatnonzero(selected)
        fix = "set it to 'ignore_pixels' or 'keep', or give images of this role alone"
        self.counts.check(found, 'mixed', self.mixed, fix)
        return found

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected images by the class of the role that has most pixels in each."""
        own = np.array(sorted(self.labels))
        largest = own[self._pixels[np.ix_(selected, own)].argmax(axis=1)]
        return [selected[largest == label] for label in np.unique(largest)]

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """Images with enough pixels of each class of the role."""
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
        """Write the relabelled maps as ``maps/<image>.png``, and ``pictures.txt``."""
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
        root, names = image_root([info['img_path'] for info in infos])
        written = []
        for name, info in zip(names, infos, strict=True):
            values = table[load(info)['gt_seg_map']]
            if not np.isin(values, own).any():
                continue
            path = folder / 'maps' / f'{name}.png'
            write_atomic(path, partial(Image.fromarray(values).save, format='PNG'))
            written.append(name)
        self._check_written(written)
        write_text(folder / 'pictures.txt', '\n'.join(written) + '\n')
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

    def _run_pipeline(self, data_info: dict[str, Any], position: int) -> dict[str, Any] | None:
        sample = super()._run_pipeline(data_info, position)
        if sample is not None and 'gt_sem_seg' not in sample['data_samples']:
            fix = "put dict(type='LoadAnnotations') behind LoadImageFromFile"
            shown = [type_of(step) for step in self.dataset.get('pipeline') or ()]
            raise ConfigError(f'{self.key}.dataset.pipeline', shown, 'it loads no maps', fix)
        return sample

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


def _has_palette(path: str) -> bool:
    try:
        with Image.open(path) as opened:
            return opened.mode == 'P'
    except OSError:  # told when it is counted
        return False


def _is_loader(step: Any) -> bool:
    return isinstance(step, dict) and type_name(step.get('type')).endswith('LoadAnnotations')
