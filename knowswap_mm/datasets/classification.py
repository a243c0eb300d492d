"""Role views over classification data: with the true labels, and with random ones."""

from __future__ import annotations

import copy
import inspect
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import DATASETS as HOST_DATASETS

from knowswap_mm.checks import arguments_of
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.datasets.host_config import inner_config, inner_datasets
from knowswap_mm.datasets.images import SUFFIXES, image_root, is_junk, skipped_files
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.files import write_json
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_text, split_lines
from knowswap_mm.registry import DATASETS
from knowswap_mm.roles import FORGET


@DATASETS.register_module()
class ClassificationRoleView(RoleView):
    """Keeps the images whose ``gt_label`` is a class of the role.

    Works over every data set of mmpretrain that has ``get_gt_labels`` (ImageFolder trees,
    annotation files, CIFAR, ...). See :class:`RoleView` for the arguments.
    """

    audit_reader = 'knowswap_mm.ClassificationReader'
    drawer = 'knowswap_mm.ClassificationDrawer'
    reads_wrappers = True

    def open(self) -> None:
        """Build the host data set and check its labels."""
        super().open()
        # Hosts copy their metainfo whenever it is read, which is for each sample too often.
        self._names = list(self.host.metainfo.get('classes') or ())
        if not self.class_names:
            fix = 'list the names in the order of the labels'
            key = f'{self.key}.dataset.metainfo.classes'
            raise ConfigError(key, None, 'the data has no class names', fix)
        self._labels = self._read_labels()

    def build_host(self, config: dict[str, Any]) -> Any:
        """Build the host data set; it reads images of every ending in ``SUFFIXES``."""
        try:
            return super().build_host(_with_suffixes(config))
        except ConfigError as error:
            self._explain_list(inner_config(config), error)
            raise

    @property
    def occurring_classes(self) -> list[str]:
        """All classes of the data but folders that an operating system left."""
        return [name for name in self.class_names if not is_junk(name)]

    def bind(self, classes: ClassRoles) -> None:
        """Select the images of the role."""
        super().bind(classes)
        for part in inner_datasets(self.host):
            folders = getattr(part, 'folder_to_idx', None) or {}
            skipped, names = Counter(), []
            for name, label in folders.items():
                if label in self.labels:
                    found = skipped_files(Path(part.img_prefix) / name, suffixes=part.extensions)
                    skipped += found
                    names += [name] if found else []
            if total := sum(skipped.values()):
                listed = ', '.join(f'{n} {end or "without ending"}' for end, n in skipped.items())
                text = f'{self.key}: {total} images in the classes {names[:8]} are not read by the '
                text += f'host data set, because of how their names end ({listed}). '
                text += 'Fix: convert or rename them.'
                print_log(text, logger='current', level=logging.WARNING)

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """Images of each class of the role."""
        counted = np.bincount(self._labels[indices], minlength=len(self.class_names))
        counts: dict[str, int] = {}
        for label in self.labels:
            name = self.class_names[label]
            counts[name] = counts.get(name, 0) + int(counted[label])
        return counts

    def select(self, labels: dict[int, int]) -> np.ndarray:
        """Host indices of the images with one of the labels."""
        return np.flatnonzero(np.isin(self._labels, list(labels)))

    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected host indices, one array a class."""
        labels = self._labels[selected]
        return [selected[labels == label] for label in np.unique(labels)]

    def relabel(self, data_info: dict[str, Any]) -> dict[str, Any]:
        """Replace ``gt_label`` by the label of the swap."""
        data_info['gt_label'] = self.labels[self._number(data_info)]
        return data_info

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write ``pictures.json``, an annotation file of OpenMMLab 2.0."""
        infos = [self.data_info(position) for position in range(len(self))]
        infos = [info for info in infos if info['gt_label'] in labels]
        self._check_written(infos)
        if any('img_path' not in info for info in infos):
            fix = 'use a data set of image files, or leave the test data out'
            raise ConfigError(f'{self.key}.dataset', self.role, 'its images are no files', fix)
        root, names = image_root([info['img_path'] for info in infos])
        pairs = zip(names, infos, strict=True)
        data_list = [dict(img_path=name, gt_label=labels[i['gt_label']]) for name, i in pairs]
        content = dict(metainfo=dict(classes=list(classes)), data_list=data_list)
        path = folder / 'pictures.json'
        write_json(path, content, indent=1, ensure_ascii=False)
        config = dict(
            type='mmpretrain.BaseDataset',
            ann_file=str(path),
            data_root=root,
            pipeline=copy.deepcopy(inner_config(self.dataset)['pipeline']),
            test_mode=True,
        )
        return config, {}

    def _read_labels(self) -> np.ndarray:
        try:
            labels = np.asarray(self.host.get_gt_labels())
        except (AttributeError, KeyError, TypeError, ValueError):
            labels = np.zeros(0)  # a wrapper, or labels that are no numbers
        if labels.ndim != 1 or labels.dtype.kind not in 'iu' or len(labels) != len(self.host):
            infos = (self.host.get_data_info(i) for i in range(len(self.host)))
            labels = np.fromiter((self._number(info) for info in infos), np.int64, len(self.host))
        if outside := np.flatnonzero((labels < 0) | (labels >= len(self.class_names))).tolist():
            self._number(dict(self.host.get_data_info(outside[0]), gt_label=labels[outside[0]]))
        return labels.astype(np.int64)

    def _number(self, data_info: Mapping[str, Any]) -> int:
        """Label of a record as the position of its class, whether it has the number or the name."""
        name = data_info.get('img_path', 'a sample')
        key, given = f'{self.key}.dataset', data_info.get('gt_label')
        if given is None:
            fix = 'set with_label=True, and give an ann_file with labels or a folder a class'
            raise ConfigError(key, name, 'the image has no label (gt_label)', fix)
        values = np.ravel(np.asarray(given)).tolist() if not isinstance(given, str) else [given]
        if len(values) != 1:
            problem = f'the image has {len(values)} labels, and a class has one role'
            fix = 'give each image one label; data with several is no data of this view'
            raise ConfigError(key, name, problem, fix)
        (value,) = values
        classes = self._names
        if isinstance(value, str) and value in classes:
            return classes.index(value)
        whole = type(value) in (int, float) and value == value and value == int(value)
        if not whole or not 0 <= value < len(classes):
            problem = f'the image has the label {value!r:.60}, which is no class of the data'
            fix = f'labels are 0 to {len(classes) - 1}, positions in metainfo.classes, or its names'
            raise ConfigError(key, name, problem, fix)
        return int(value)

    def _explain_list(self, config: Mapping[str, Any], error: ConfigError) -> None:
        """Say which line of a list the host could not read."""
        name = config.get('ann_file')
        if not isinstance(name, str) or not name.endswith('.txt'):
            return
        path = Path(str(config.get('data_root') or ''), name)
        try:
            lines = split_lines(read_text(path, ANNOTATION_BYTES))
        except FileError as problem:
            where = f'{self.key}.dataset.ann_file'
            raise ConfigError(where, str(path), f'it {problem.problem}', problem.fix) from error
        while lines and not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, 1):
            _, space, label = line.strip().rpartition(' ')
            if not space or not label.lstrip('-').isdecimal():
                problem = f'line {number} ends with no label: {line!r:.80}'
                fix = (
                    'write IMAGE LABEL, set apart by a space, where LABEL is the position of the '
                    'class in metainfo.classes; for names of classes use the json of OpenMMLab 2.0'
                )
                where = f'{self.key}.dataset.ann_file'
                raise ConfigError(where, str(path), problem, fix) from error


def _with_suffixes(config: Any) -> Any:
    """The config in which data sets of folders read all images that converters accept."""
    if isinstance(config, (list, tuple)):
        return [_with_suffixes(each) for each in config]
    if not isinstance(config, Mapping) or 'type' not in config:
        return config
    config = {
        name: _with_suffixes(each) if name in ('dataset', 'datasets') else each
        for name, each in config.items()
    }
    kind = config['type'] if inspect.isclass(config['type']) else HOST_DATASETS.get(config['type'])
    if inspect.isclass(kind) and 'extensions' in (arguments_of(kind) or ()):
        config.setdefault('extensions', SUFFIXES)
    return config


@DATASETS.register_module()
class RandomLabelRoleView(ClassificationRoleView):
    """Gives each draw of a forget sample the label of a random class that is not forgotten.

    The label is uniform over all classes of the swap but those to forget, learned ones included: a
    image of one forgotten class must not teach another. It changes from draw to draw and follows
    from the seed of the draw, like augmentation. Only the sampler's draws are relabelled; read by
    a plain number, as in an evaluation, a sample has its true label. In training the true one
    stands in the metainfo as ``true_label``. See :class:`RoleView` for the arguments.

    Raises:
        ConfigError: If the role is not ``forget``, or every class is forgotten.
    """

    def bind(self, classes: ClassRoles) -> None:
        """Select the samples of the role, and the labels to draw from."""
        if self.role != FORGET:
            fix = 'give it to the role forget alone'
            raise ConfigError(f'{self.key}.view', type(self).__name__, 'wrong labels', fix)
        super().bind(classes)
        wrong = [i for i, name in enumerate(classes.names) if name not in set(classes.forget)]
        if not wrong:
            fix = 'leave a class out of it'
            problem = 'no class is left for a random label'
            raise ConfigError('swap.classes.forget', classes.forget, problem, fix)
        self.wrong_labels = np.asarray(wrong)

    def load(self, index: int, **metainfo: Any) -> dict[str, Any]:
        """Load one sample; the sampler's draws, which have a ``phase``, get a random label."""
        sample = super().load(index, **metainfo)
        if 'phase' in metainfo:
            data_sample = sample['data_samples']
            data_sample.set_metainfo(dict(true_label=int(data_sample.gt_label)))
            # The generator is seeded from the draw by RoleDataset.
            data_sample.set_gt_label(int(np.random.choice(self.wrong_labels)))
        return sample
