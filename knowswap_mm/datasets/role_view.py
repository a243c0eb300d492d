"""The view of one role on a host data set."""

from __future__ import annotations

import codecs
import logging
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.logging import print_log

from knowswap_mm.checks import check_choice, check_mapping, check_number, check_whole, nearest_name
from knowswap_mm.datasets.classes import MARK, ClassRoles, composed
from knowswap_mm.datasets.holdout import MOST, hold_out, watch_trained
from knowswap_mm.datasets.host_config import (
    built_host,
    inner_config,
    inner_sample,
    is_wrapper,
    refuse_wrapper,
)
from knowswap_mm.datasets.images import ImageCheck
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import ConfigError, SampleError, SwapError, reason_of

if TYPE_CHECKING:
    from knowswap_mm.datasets.cache.pipeline import CachedPipeline
    from knowswap_mm.datasets.role_counts import RoleCounts

ON_BAD_SAMPLE = ('raise', 'skip')


class RoleView(metaclass=ABCMeta):
    """Selects the samples of a role from a host data set and gives them their new labels.

    A subclass says how its task selects and labels; that is all a new task has to write.

    Args:
        dataset (dict): Config of the host data set.
        role (str): The role.
        fraction (float): Share of the selected samples that is kept, in (0, 1].
        fraction_by (str): ``set`` draws from all selected samples alike, as the official recipe
            does; ``class`` draws the share from every class.
        seed (int): Seed of that draw.
        label_map (dict[str, str] | None): From the host's class names to those of the swap, where
            they differ.
        on_bad_sample (str): ``raise`` stops at a sample that cannot be read, ``skip`` takes the
            next one of the view instead.

    Attributes:
        counts (RoleCounts | None): What is used of the data and what is not, where a task says so.
        audit_reader (str | None): Type of the reader with which an audit understands the task.
        drawer (str | None): Type of the :class:`Drawer` that draws its samples for the report.
        reads_wrappers (bool): Whether the host data set may be wrapped (``RepeatDataset``).
        cached_pipeline (CachedPipeline | None): What runs in place of the host's pipeline, see
            :class:`SampleCache`.
        own_pipeline (Callable | None): What runs in place of both; a tool sets it.
        selected (np.ndarray): Host indices of the samples of which :attr:`fraction` is drawn.
        holdout (float): Share of each class that is held out of training, see :func:`hold_out`.
        held_most (int): How many of them at most.
        held_each (int): How many of a class at least, up to a third of it.
        indices (np.ndarray): Host indices of the samples of the view.
        held_out (np.ndarray): Host indices of those that were drawn, too, and held out.
        watched (np.ndarray): Positions of the samples that the guard watches: those held out; some
            that train, where a guard is wanted and nothing can be held out.
    """

    audit_reader: str | None = None
    drawer: str | None = None
    reads_wrappers: bool = False
    cached_pipeline: CachedPipeline | None = None
    counts: RoleCounts | None = None
    holdout: float = 0.0
    held_most: int = MOST
    held_each: int = 1
    own_pipeline: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None

    def __init__(
        self,
        dataset: dict[str, Any],
        role: str,
        fraction: float = 1.0,
        fraction_by: str = 'set',
        seed: int = 0,
        label_map: dict[str, str] | None = None,
        on_bad_sample: str = 'raise',
    ) -> None:
        self.role = role
        self.key = f'dataset.roles.{role}'
        check_mapping(f'{self.key}.dataset', dataset, "dict(type='CustomDataset', ...)")
        check_number(f'{self.key}.fraction', fraction, 'in (0, 1]', 0.1)
        check_whole(f'{self.key}.seed', seed, 0)
        if label_map is not None:
            check_mapping(f'{self.key}.label_map', label_map, "dict(tabby='cat')")
        check_choice(f'{self.key}.fraction_by', fraction_by, ('set', 'class'), 'way to draw')
        check_choice(f'{self.key}.on_bad_sample', on_bad_sample, ON_BAD_SAMPLE)
        if not self.reads_wrappers:
            refuse_wrapper(self.key, dataset)
        self.fraction, self.fraction_by, self.seed = fraction, fraction_by, seed
        pairs = (label_map or {}).items()
        self.label_map = {composed(str(old)): composed(str(new)) for old, new in pairs}
        self.on_bad_sample = on_bad_sample
        self.dataset = dataset
        self.image_check = ImageCheck(inner_config(dataset))
        self.indices = self.selected = self.held_out = np.zeros(0, dtype=np.int64)
        self.watched = self.held_out
        self._reported: set[str] = set()
        self.labels: dict[int, int] = {}
        self.open()

    def open(self) -> None:
        """Read as much of the data as tells its class names."""
        self.host = self.build_host(self.dataset)

    @property
    def class_names(self) -> list[str]:
        """Class names of the host data set in the swap's words, in the host's order."""
        return [self.swap_name(name) for name in self.host.metainfo.get('classes') or ()]

    def swap_name(self, name: str) -> str:
        """A class name of the host data set, of any Unicode form, in the swap's words."""
        name = composed(str(name))
        if MARK in name:
            fix = 'save the file that names the classes as UTF-8 without the mark'
            raise ConfigError(
                f'{self.key}.dataset', name, 'a class name has a byte order mark', fix
            )
        return self.label_map.get(name, name)

    @property
    def occurring_classes(self) -> list[str]:
        """Those of :attr:`class_names` that have a sample."""
        return self.class_names

    @property
    def class_numbers(self) -> dict[str, int]:
        """Number that the data gives each class, where it has such numbers (COCO categories)."""
        return {}

    @property
    def metainfo(self) -> dict[str, Any]:
        """What metrics of this role must know beside the class names."""
        return {}

    def build_host(self, config: dict[str, Any]) -> Any:
        """Build a host data set and let it read its annotations.

        Raises:
            ConfigError: If it cannot.
        """
        self._check_mark(inner_config(config))
        try:
            host = built_host(config)
        except SwapError:
            raise
        except Exception as error:  # any data set may raise anything
            shown = {k: v for k, v in dict(config).items() if isinstance(v, (str, dict))}
            fix = 'fix its settings, or put the data where they say'
            problem = f'the data set cannot be built ({reason_of(error)})'
            raise ConfigError(f'{self.key}.dataset', shown, problem, fix) from error
        return host

    def _check_mark(self, config: Mapping[str, Any]) -> None:
        """Refuse a list of images that begins with a byte order mark: the first would be lost."""
        name = config.get('ann_file')
        if not isinstance(name, str) or not name or name.endswith('.json'):
            return
        path = os.path.join(str(config.get('data_root') or ''), name)
        if '\0' not in path and os.path.isfile(path):
            with open(path, 'rb') as file:
                start = file.read(4)
            if start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                fix = 'save it as UTF-8 without the mark'
                problem = 'the file begins with a byte order mark, which is no part of a name'
                raise ConfigError(f'{self.key}.dataset.ann_file', path, problem, fix)

    def bind(self, classes: ClassRoles) -> None:
        """Select the samples of the role once all class roles are known.

        Raises:
            ConfigError: If a class of the role is not in the data, or no sample is left.
        """
        wanted = classes.of(self.role)
        here = self.class_names
        if missing := [name for name in wanted if name not in set(here)]:
            near = nearest_name(missing[0], here, 3) or here[:8]
            fix = f'the data has {near}; add its images or correct swap.classes.{self.role}'
            raise ConfigError(self.key, missing[0], 'a class of the role is not in the data', fix)
        label_of = {name: label for label, name in enumerate(classes.names)}
        chosen = set(wanted)
        self.labels = {i: label_of[name] for i, name in enumerate(here) if name in chosen}
        self.selected = np.asarray(self.select(self.labels), dtype=np.int64)
        self.indices = self.draw(self.selected)
        if self.holdout:
            self._choose_watched()
        if not len(self.indices):
            fix = f'check the data folder and swap.classes.{self.role}'
            raise ConfigError(self.key, self.role, 'the role has no sample', fix)

    def _choose_watched(self) -> None:
        seed, members = derive_seed('holdout', self.seed, self.role), self.members(self.indices)
        # A wrapper may serve a sample again under another index, which would train.
        if not is_wrapper(self.dataset):
            self.held_out = hold_out(members, self.holdout, seed, self.held_most, self.held_each)
        if len(self.held_out):
            self.indices = self.indices[~np.isin(self.indices, self.held_out)]
            self.watched = len(self.indices) + np.arange(len(self.held_out))
        else:
            position = {index: number for number, index in enumerate(self.indices.tolist())}
            trained = watch_trained(members, seed).tolist()
            self.watched = np.array([position[index] for index in trained], dtype=np.int64)

    def draw(self, selected: np.ndarray) -> np.ndarray:
        """Keep the role's fraction of the selected samples."""
        if self.fraction == 1 or not len(selected):
            return selected
        rng = np.random.default_rng(derive_seed('fraction', self.seed, self.role))
        pools = [selected] if self.fraction_by == 'set' else self.split_by_class(selected)
        kept = [rng.permutation(p)[: max(round(len(p) * self.fraction), 1)] for p in pools]
        return np.sort(np.concatenate(kept))

    @abstractmethod
    def select(self, labels: dict[int, int]) -> Sequence[int]:
        """Host indices of the samples that hold a class of the role.

        Args:
            labels (dict[int, int]): From the host's label to the swap's, for the role's classes.
        """

    @abstractmethod
    def split_by_class(self, selected: np.ndarray) -> list[np.ndarray]:
        """Selected host indices, one array a class."""

    def members(self, indices: np.ndarray) -> list[np.ndarray]:
        """By class of the role those of some host indices that hold it, a sample for each."""
        if self.counts is None:
            return self.split_by_class(indices)
        return [indices[held] for held in self.counts.table[indices].T > 0]

    def count_classes(self, indices: np.ndarray) -> dict[str, int]:
        """How many of some samples hold each class of the role; empty if the view cannot tell."""
        return {}

    @abstractmethod
    def relabel(self, data_info: dict[str, Any]) -> dict[str, Any]:
        """Give a sample of the host the swap's labels before its pipeline runs."""

    def write_plain(
        self, folder: Path, labels: Mapping[int, int], classes: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write the role so that a data set of the host library reads it without this package.

        Args:
            folder (Path): A new folder for annotations; images are not copied.
            labels (Mapping[int, int]): From the label of the swap to the one to be written;
                classes without an entry are no classes there, nor are images without any class
                of the role.
            classes (Sequence[str]): Names in the order of the written labels.

        Returns:
            tuple[dict, dict]: Config of that data set with the absolute path of the folder, and
            :attr:`metainfo` for it.

        Raises:
            ConfigError: If the data cannot be written, or no sample is left.
        """
        fix = f'give {type(self).__name__} a method write_plain, or leave the test data out'
        raise ConfigError(self.key, type(self).__name__, 'writes no data for stock tools', fix)

    def _check_written(self, samples: Sequence[Any]) -> None:
        if not samples:
            fix = 'drop fewer classes, or leave the test data out'
            raise ConfigError(self.key, self.role, 'no sample has a class that is left', fix)

    def __len__(self) -> int:
        return len(self.indices)

    def host_index(self, position: int) -> int:
        """Where the host data set has the sample at a position; held out ones come last."""
        own = position - len(self.indices)
        return int(self.indices[position] if own < 0 else self.held_out[own])

    def data_info(self, position: int) -> dict[str, Any]:
        """The host's record of a sample of this view, with the labels of the swap."""
        return self.relabel(self.host.get_data_info(self.host_index(position)))

    def load(self, index: int, **metainfo: Any) -> dict[str, Any]:
        """Load one sample through the host's pipeline.

        Args:
            index (int): Index in the view.
            **metainfo: Written into the sample's metainfo together with its role.

        Returns:
            dict: What the pipeline gives, ``data_samples`` tagged with the role.

        Raises:
            SampleError: If the sample cannot be read and ``on_bad_sample='raise'``, or no sample
                of the view can be read.
        """
        problem: Exception | None = None
        for step in range(len(self)):
            position = (index + step) % len(self)
            data_info = self.data_info(position)
            try:
                sample = self._run_pipeline(data_info, position)
            except ConfigError:
                raise
            except Exception as error:  # any decoder may raise anything; it is reported by name
                sample, problem = None, error
                if self.on_bad_sample == 'raise':
                    break
                self._report_skipped(data_info, error)
            if sample is not None:  # None: the pipeline has no use for it (an empty crop)
                return self._tagged(sample, position, metainfo)
        path = data_info.get('img_path', f'index {position}')
        raise SampleError(
            f'{self.key}: the image {path} cannot be loaded ({problem}). Fix: fix or remove it, '
            f"or set {self.key}.on_bad_sample='skip'."
        ) from problem

    def load_watched(self, number: int, **metainfo: Any) -> dict[str, Any] | None:
        """Load one of the samples that the guard watches, as :meth:`load` does.

        Returns:
            dict | None: None if it cannot be loaded, or the pipeline has no use for it: no other
            one takes its place.
        """
        position = int(self.watched[number])
        data_info = self.data_info(position)
        try:
            sample = self._run_pipeline(data_info, position)
        except ConfigError:
            raise
        except Exception as error:  # any decoder may raise anything; the guard goes on without it
            self._report_skipped(data_info, error, 'the guard does without it')
            return None
        return None if sample is None else self._tagged(sample, position, metainfo)

    def _tagged(
        self, sample: dict[str, Any], position: int, metainfo: dict[str, Any]
    ) -> dict[str, Any]:
        if 'data_samples' not in sample:
            fix = "end it with the host's PackInputs, PackDetInputs or PackSegInputs"
            key = f'{self.key}.dataset.pipeline'
            raise ConfigError(key, sorted(sample), 'it gives no data_samples', fix)
        metainfo.setdefault('role', self.role)
        sample['data_samples'].set_metainfo(dict(sample_index=position, **metainfo))
        return sample

    def _report_skipped(
        self,
        data_info: Mapping[str, Any],
        error: Exception,
        instead: str = 'the next image is used instead',
    ) -> None:
        """Say once of each image what happens without it (``on_bad_sample='skip'``)."""
        path = str(data_info.get('img_path', 'an image'))
        if path not in self._reported:
            self._reported.add(path)
            text = f'{self.key}: {path} cannot be loaded ({error}); {instead}.'
            print_log(text, logger='current', level=logging.WARNING)

    def pipeline_at(self, position: int) -> Any:
        """The host's pipeline of a sample of this view, within wrappers, too."""
        return inner_sample(self.host, self.host_index(position))[0].pipeline

    def _run_pipeline(self, data_info: dict[str, Any], position: int) -> dict[str, Any] | None:
        if self.own_pipeline is not None or self.cached_pipeline is None:
            self.image_check(data_info)
            return (self.own_pipeline or self.pipeline_at(position))(data_info)
        return self.cached_pipeline(data_info, position)
