"""The data set of all roles, its checks, and which samples a run has, as hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from torch.utils.data import Dataset, get_worker_info

from knowswap_mm.checks import (
    arguments_of,
    check_keys,
    check_mapping,
    check_number,
    check_text,
    check_whole,
    did_you_mean,
)
from knowswap_mm.datasets.cache import SampleCache
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.datasets.holdout import LEAST_OF_CLASS, MOST, SHARE
from knowswap_mm.datasets.host_config import inner_config, shared_hosts
from knowswap_mm.datasets.role_counts import warn_of_counts
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.sampler import SampleAddress
from knowswap_mm.datasets.seeding import derive_seed, seeded_cpu
from knowswap_mm.errors import ConfigError, reason_of
from knowswap_mm.registry import DATASETS, class_of, name_types
from knowswap_mm.roles import ROLES

#: Type of the views of a data set that names none.
VIEW = 'knowswap_mm.ClassificationRoleView'


@DATASETS.register_module()
class RoleDataset(Dataset):
    """Serves samples of all roles, each tagged with its role.

    For training it is indexed by the sampler's :class:`SampleAddress`; for evaluation by a plain
    number over all views one after the other.

    Args:
        roles (dict[str, dict]): Per role the host data set under ``dataset`` and the options of
            :class:`RoleView` (``fraction``, ``seed``, ``label_map``, ...); ``view`` gives one role
            a view of another type.
        classes (dict | str | None): Class lists, see :meth:`ClassRoles.resolve`. The runner fills
            this in from ``swap.classes``; for tools without it (the hosts' ``browse_dataset``), the
            path of the config, whose ``swap.classes`` are taken.
        view (str): Type of the role views.
        seed (int): Seed of the augmentation.
        cache (dict | None): Options of :class:`SampleCache`, which keeps what the deterministic
            first steps of the host's pipelines make of an image. Samples are the same with it.
        holdout (float): Share of the samples of each class that is held out, see :func:`hold_out`.
            The runner fills this in from ``swap.holdout``, for training data alone.
        held_most (int): Samples of a role that are held out at most. The runner fills in what the
            objective wants.
        held_each (int | dict[str, int]): Samples of a class that are held out at least, up to a
            third of it, of every role or by role; likewise.

    Raises:
        ConfigError: If a role or an option is unknown, or data does not fit the class lists.
    """

    def __init__(
        self,
        roles: Mapping[str, Mapping[str, Any]],
        classes: Mapping[str, Any] | str | None = None,
        view: str = VIEW,
        seed: int = 0,
        cache: Mapping[str, Any] | None = None,
        holdout: float = 0.0,
        held_most: int = MOST,
        held_each: int | Mapping[str, int] = 1,
    ) -> None:
        check_mapping('dataset.roles', roles, 'dict(learn=dict(dataset=...), ...)')
        classes = _class_lists(classes)
        view = name_types(view)
        check_text('dataset.view', view, VIEW)
        check_whole('dataset.seed', seed, 0)
        check_number('dataset.holdout', holdout, 'in [0, 1)', SHARE)
        check_whole('dataset.held_most', held_most, 1, MOST)
        held_each = _by_role('dataset.held_each', held_each)
        self.seed, self.holdout = seed, float(holdout)
        # Its options are checked before the data is read, which may take long.
        sample_cache = None if cache is None else SampleCache.from_config(cache)
        check_roles(roles, view)
        with shared_hosts():
            self.views: dict[str, RoleView] = {
                role: DATASETS.build(_view_config(view, role, roles[role]))
                for role in ROLES
                if role in roles
            }
        names = {role: view.occurring_classes for role, view in self.views.items()}
        numbers = {role: view.class_numbers for role, view in self.views.items()}
        self.classes = ClassRoles.resolve(classes, names, numbers)
        for role_view in self.views.values():
            role_view.holdout = self.holdout
            role_view.held_most, role_view.held_each = held_most, held_each[role_view.role]
            role_view.bind(self.classes)
        warn_of_counts(self.views)
        if held := {role: n for role, n in self.held_out_sizes.items() if n}:
            told = ', '.join(
                f'{n} of {n + len(self.views[role])} {role}' for role, n in held.items()
            )
            print_log(f'Held out of training: {told} samples.', logger='current')
        trained = [r for r, v in self.views.items() if len(v.watched) and not len(v.held_out)]
        if trained:
            print_log(
                f'Nothing is held out of {", ".join(trained)}: it takes classes with at least '
                f'{LEAST_OF_CLASS} samples, in data that is not repeated. The guard watches '
                'samples that train, which shows less.',
                logger='current',
            )
        if sample_cache is not None:
            sample_cache.attach(self.views.values())
        self._ends = np.cumsum([len(view) for view in self.views.values()])

    @property
    def metainfo(self) -> dict[str, Any]:
        """Class names of the union, the classes of each role, and what its metrics must know."""
        return dict(
            classes=tuple(self.classes.names),
            class_roles={role: tuple(self.classes.of(role)) for role in ROLES},
            role_metainfo={role: view.metainfo for role, view in self.views.items()},
        )

    @property
    def pipeline(self) -> Any:
        """The pipeline that all roles have; the hosts' ``browse_dataset`` puts its own around it.

        Raises:
            ConfigError: If the roles have different ones.
        """
        views = list(self.views.values())
        steps = [inner_config(view.dataset).get('pipeline') for view in views]
        if any(each != steps[0] for each in steps):
            fix = 'give all roles the same pipeline to look at them together'
            raise ConfigError('dataset.roles', list(self.views), 'the pipelines differ', fix)
        return views[0].pipeline_at(0)

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        for view in self.views.values():
            view.own_pipeline, view.cached_pipeline = pipeline, None

    @property
    def role_sizes(self) -> dict[str, int]:
        """Number of samples per role."""
        return {role: len(view) for role, view in self.views.items()}

    @property
    def held_out_sizes(self) -> dict[str, int]:
        """Number of samples per role that are held out of training."""
        return {role: len(view.held_out) for role, view in self.views.items()}

    @property
    def watched_sizes(self) -> dict[str, int]:
        """Number of samples per role that the guard watches, see :attr:`RoleView.watched`."""
        return {role: min(len(view.watched), MOST) for role, view in self.views.items()}

    def load_watched(self, role: str, number: int) -> dict[str, Any] | None:
        """Load one of the samples that the guard watches; the same image whenever it is called.

        Args:
            role (str): The role.
            number (int): Which one, from 0.

        Returns:
            dict | None: The sample; None if it cannot be loaded.
        """
        with seeded_cpu(derive_seed('holdout', self.seed, role, number)):
            return self.views[role].load_watched(number, role=role, source=role)

    def span(self, role: str) -> range:
        """The plain numbers under which the samples of a role are found."""
        position = list(self.views).index(role)
        end = int(self._ends[position])
        return range(end - len(self.views[role]), end)

    @property
    def drawn_indices(self) -> dict[str, list[int]]:
        """Host indices of the roles that train on a part of their data, for the run folder."""
        parts = {r: v for r, v in self.views.items() if v.fraction < 1 or len(v.held_out)}
        return {role: view.indices.tolist() for role, view in parts.items()}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, address: SampleAddress | int) -> dict[str, Any]:
        if not isinstance(address, tuple):
            return self._load_plain(int(address))
        seed = derive_seed(self.seed, address.source, address.role, address.draw)
        view = self.views[address.source]
        # A worker of a data loader loads samples and nothing else.
        with seeded_cpu(seed, restore=get_worker_info() is None):
            return view.load(
                address.index, role=address.role, source=address.source, phase=address.phase
            )

    def _load_plain(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of {len(self)}')
        index %= len(self)
        position = int(np.searchsorted(self._ends, index, side='right'))
        role = list(self.views)[position]
        start = int(self._ends[position - 1]) if position else 0
        # A random test pipeline would make two evaluations differ: seed it as well.
        seed = derive_seed(self.seed, role, index)
        with seeded_cpu(seed, restore=get_worker_info() is None):
            return self.views[role].load(index - start)


def check_roles(roles: Any, view: Any, key: str = 'dataset') -> None:
    """Check the options of the roles of a data set, without reading its data.

    Raises:
        ConfigError: If a role, the type of a view or an option is unknown.
    """
    check_mapping(f'{key}.roles', roles, 'dict(learn=dict(dataset=...), ...)')
    for role in roles:
        if role not in ROLES:
            raise ConfigError(f'{key}.roles', role, 'unknown role', did_you_mean(role, ROLES))
        if not isinstance(roles[role], Mapping) or 'dataset' not in roles[role]:
            fix = f'put the host data set under {key}.roles.{role}.dataset'
            raise ConfigError(f'{key}.roles.{role}', roles[role], 'no data set', fix)
    for role, given in roles.items():
        chosen = name_types(given.get('view', view))
        check_text(f'{key}.roles.{role}.view', chosen, str(view))
        kind = class_of(chosen, DATASETS) or DATASETS.get(chosen)
        if kind is None:
            views = sorted(name for name in DATASETS.module_dict if name.endswith('View'))
            fix = f"e.g. '{VIEW}'; {did_you_mean(chosen, views)}"
            raise ConfigError(f'{key}.roles.{role}.view', chosen, 'unknown type', fix)
        names = [name for name in arguments_of(kind) or given if name != 'role']
        check_keys(f'{key}.roles.{role}', given, ['view', *names])


def _class_lists(classes: Any) -> Mapping[str, Any]:
    """Class lists as the runner gives them, or those of the config that is named instead."""
    if classes is None:
        problem = 'the data set does not know the class lists; only SwapRunner fills them in'
        fix = 'name the config itself, e.g. --cfg-options train_dataloader.dataset.classes=CONFIG, '
        fix += 'or take the config that a run wrote into its work dir'
        raise ConfigError('swap.classes', None, problem, fix)
    if isinstance(classes, str):
        try:
            found = Config.fromfile(classes)['swap']['classes']
        except Exception as error:  # a config is a program, which may fail in any way
            problem = f'no config with swap.classes can be read there ({reason_of(error)})'
            fix = "give the path of the swap's config, or the class lists"
            raise ConfigError('swap.classes', classes, problem, fix) from error
        classes = found
    check_mapping('swap.classes', classes, "dict(old=[...], forget=['cat'])")
    return classes


def _view_config(view: str, role: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the view of a role, which may be of a type of its own."""
    config = dict(config)
    return dict(type=name_types(config.pop('view', view)), role=role, **config)


def _by_role(key: str, value: Any) -> dict[str, int]:
    """A count of each role, given as one for all or by role."""
    if not isinstance(value, Mapping):
        check_whole(key, value, 1, 1)
        return dict.fromkeys(ROLES, value)
    check_keys(key, value, ROLES)
    for role, count in value.items():
        check_whole(f'{key}.{role}', count, 1, 1)
    return dict.fromkeys(ROLES, 1) | dict(value)


def data_manifest(dataset: RoleDataset) -> dict[str, Any]:
    """Hash the list of samples of each role: names, annotations, labels of the swap, order.

    Paths are counted from the host data set's ``data_root``, so the place of the data does not
    matter. Images are named, not read: the hash of a folder whose images changed is the same.

    Returns:
        dict: ``samples``, ``sha256`` and, where the task counts it, ``counts`` by role (see
        :class:`RoleCounts`), and ``sha256`` of all samples.
    """
    roles = {role: _of_view(view) for role, view in dataset.views.items()}
    text = json.dumps(roles, sort_keys=True)
    return dict(sha256=hashlib.sha256(text.encode()).hexdigest(), roles=roles)


def _of_view(view: RoleView) -> dict[str, Any]:
    root = os.path.abspath(getattr(view.host, 'data_root', None) or os.sep)
    digest = hashlib.sha256(json.dumps(sorted(view.labels.items())).encode())
    for position in range(len(view)):
        record = dict(view.host.get_data_info(view.host_index(position)))
        record.pop('sample_idx', None)  # its place among samples of other roles
        text = json.dumps(_plain(record, root), sort_keys=True, separators=(',', ':'))
        digest.update(text.encode() + b'\n')
    return dict(samples=len(view), sha256=digest.hexdigest())


@lru_cache(maxsize=4096)
def _folder_inside(folder: str, root: str, here: str) -> str | None:
    """Path of a folder from another one that it lies in or is; None if it is elsewhere.

    ``here`` is the current folder, from which relative paths lead.
    """
    folder = os.path.join(here, folder)
    inside = f'{os.path.abspath(folder)}{os.sep}'.startswith(root + os.sep)
    return os.path.relpath(folder, root) if inside and root != os.sep else None


def _plain(value: Any, root: str) -> Any:
    """Data that json can write, equal for equal samples wherever they lie."""
    if isinstance(value, dict):
        return {str(key): _plain(item, root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, root) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), root)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        folder, _, name = text.rpartition(os.sep)
        if os.sep not in text or name in ('', os.curdir, os.pardir):
            return text
        inside = _folder_inside(folder or os.sep, root, os.getcwd())
        return text if inside is None else os.path.normpath(os.path.join(inside, name))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return type(value).__name__
