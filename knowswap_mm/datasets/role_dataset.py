"""The role views of a swap as one data set."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.sample_address import SampleAddress
from knowswap_mm.datasets.sample_cache import SampleCache
from knowswap_mm.datasets.seeding import derive_seed, seeded_cpu
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS
from knowswap_mm.roles import ROLES
from knowswap_mm.value_checks import check_mapping, check_text, check_whole


@DATASETS.register_module()
class RoleDataset(Dataset):
    """Serves samples of all roles, each tagged with its role.

    For training it is indexed by the sampler's :class:`SampleAddress`; for evaluation by a plain
    number over all views one after the other.

    Args:
        roles (dict[str, dict]): Per role the host data set under ``dataset`` and the options of
            :class:`RoleView` (``fraction``, ``seed``, ``label_map``, ...); ``view`` gives one role
            a view of another type.
        classes (dict): Class lists, see :meth:`ClassRoles.resolve`. The runner fills this in from
            ``swap.classes``.
        view (str): Type of the role views.
        seed (int): Seed of the augmentation.
        cache (dict | None): Options of :class:`SampleCache`, which keeps what the deterministic
            first steps of the host's pipelines make of a picture. Samples are the same with it.

    Raises:
        ConfigError: If a role or an option is unknown, or data does not fit the class lists.
    """

    def __init__(
        self,
        roles: Mapping[str, Mapping[str, Any]],
        classes: Mapping[str, Any],
        view: str = 'knowswap_mm.ClassificationRoleView',
        seed: int = 0,
        cache: Mapping[str, Any] | None = None,
    ) -> None:
        check_mapping('dataset.roles', roles, 'dict(learn=dict(dataset=...), ...)')
        check_mapping('swap.classes', classes, "dict(old=[...], forget=['cat'])")
        check_text('dataset.view', view, 'knowswap_mm.ClassificationRoleView')
        check_whole('dataset.seed', seed, 0)
        self.seed = seed
        # Its options are checked before the data is read, which may take long.
        sample_cache = None if cache is None else SampleCache.from_config(cache)
        for role in roles:
            if role not in ROLES:
                raise ConfigError('dataset.roles', role, 'unknown role', f'use {ROLES}')
            if not isinstance(roles[role], Mapping) or 'dataset' not in roles[role]:
                fix = f'put the host data set under dataset.roles.{role}.dataset'
                raise ConfigError(f'dataset.roles.{role}', roles[role], 'no data set', fix)
        for role, given in roles.items():
            chosen = given.get('view', view)
            check_text(f'dataset.roles.{role}.view', chosen, view)
            kind = DATASETS.get(chosen)
            if kind is None:
                fix = "e.g. 'knowswap_mm.ClassificationRoleView'"
                raise ConfigError(f'dataset.roles.{role}.view', chosen, 'unknown type', fix)
            options = ['view', *inspect.signature(kind).parameters]
            if unknown := sorted(set(given) - set(options)):
                key = f'dataset.roles.{role}.{unknown[0]}'
                raise ConfigError(key, given[unknown[0]], 'unknown key', f'use {options}')
        self.views: dict[str, RoleView] = {
            role: DATASETS.build(_view_config(view, role, roles[role]))
            for role in ROLES
            if role in roles
        }
        names = {role: view.occurring_classes for role, view in self.views.items()}
        numbers = {role: view.class_numbers for role, view in self.views.items()}
        self.classes = ClassRoles.resolve(classes, names, numbers)
        for role_view in self.views.values():
            role_view.bind(self.classes)
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
    def role_sizes(self) -> dict[str, int]:
        """Number of samples per role."""
        return {role: len(view) for role, view in self.views.items()}

    def span(self, role: str) -> range:
        """The plain numbers under which the samples of a role are found."""
        position = list(self.views).index(role)
        end = int(self._ends[position])
        return range(end - len(self.views[role]), end)

    @property
    def drawn_indices(self) -> dict[str, list[int]]:
        """Host indices of the roles that use a fraction of their data, for the run folder."""
        return {r: v.indices.tolist() for r, v in self.views.items() if v.fraction < 1}

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


def _view_config(view: str, role: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the view of a role, which may be of a type of its own."""
    config = dict(config)
    return dict(type=config.pop('view', view), role=role, **config)
