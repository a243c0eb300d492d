"""The data of a swap as an audit reads it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, Subset

from knowswap_mm.audit.progress import Progress
from knowswap_mm.audit.readers import UnitReader
from knowswap_mm.datasets.holdout import held_share
from knowswap_mm.datasets.host_config import inner_config, set_pipeline
from knowswap_mm.datasets.role_dataset import RoleDataset
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import FORGET, ROLES

TRAIN, TEST = 'train', 'test'
#: Bytes of loaded samples that an audit keeps of each split.
ROOM = 1 << 28
#: Options of a role that belong to its files, not to the choice among them.
_OF_THE_FILES = ('dataset', 'label_map', 'first_id', 'fraction', 'fraction_by', 'seed')


class AuditData:
    """The roles' training samples, without augmentation, and their test samples.

    Training samples are those that the swap drew (members, as far as forgetting is concerned); test
    samples were never trained on. Both are chosen by the options of the training roles (``mixed``
    above all), or images of another make-up would pass for members.

    Args:
        config (Mapping): The config of the swap.
        reader (UnitReader): The task.
        samples (int): At most so many samples of a role and a split.
        seed (int): Seed of the choice.
        workers (int): Processes that load images.

    Raises:
        ConfigError: If the config lacks data that the audit needs.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        reader: UnitReader,
        samples: int = 1000,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.samples, self.seed, self.workers = samples, seed, workers
        #: Counts the images that are loaded.
        self.progress = Progress()
        loaders = {
            split: config.get(f'{split}_dataloader') or {'dataset': {}} for split in (TRAIN, TEST)
        }
        configs = {split: copy.deepcopy(loader['dataset']) for split, loader in loaders.items()}
        for split, data in configs.items():
            if FORGET not in data.get('roles', {}):
                fix = "give it dataset = dict(type='knowswap_mm.RoleDataset', roles=...)"
                key = f'{split}_dataloader.dataset.roles'
                raise ConfigError(key, list(data.get('roles', ())), 'no forget data', fix)
            data['classes'] = copy.deepcopy(config['swap']['classes'])
        configs[TRAIN].setdefault('holdout', held_share(config['swap']))
        #: Samples at a time where answers alone are asked, as in a test.
        self.test_batch_size = loaders[TEST].get('batch_size', 32)
        self.batch_size = reader.batch_size or self.test_batch_size
        self._as_tested = copy.deepcopy(configs[TEST])
        for role, options in configs[TRAIN]['roles'].items():
            options.pop('view', None)  # e.g. one that gives wrong labels on purpose
            like = configs[TEST]['roles'].get(role, configs[TEST]['roles'][FORGET])
            set_pipeline(options['dataset'], _pipeline(like, TEST, role))
            chosen = {k: v for k, v in options.items() if k not in _OF_THE_FILES}
            if role in configs[TEST]['roles']:
                kept = {k: v for k, v in like.items() if k in _OF_THE_FILES}
                configs[TEST]['roles'][role] = kept | copy.deepcopy(chosen)
        for split, data in configs.items():
            for role, options in data['roles'].items():
                steps = _pipeline(options, split, role)
                set_pipeline(options['dataset'], reader.pipeline(steps))
        self.datasets: dict[str, RoleDataset] = {
            split: DATASETS.build(data) for split, data in configs.items()
        }
        # A worker ends with its loader, and what it kept with it.
        self._kept = {
            split: dataset if workers else KeptSamples(dataset)
            for split, dataset in self.datasets.items()
        }
        self.classes = self.datasets[TEST].classes
        if not self.classes.forget:
            fix = 'name the classes that were to be forgotten'
            raise ConfigError('swap.classes.forget', [], 'there is nothing to audit', fix)

    @cached_property
    def as_tested(self) -> RoleDataset:
        """The test data as the config has it, for the host's metrics."""
        return DATASETS.build(self._as_tested)

    def roles(self, split: str) -> list[str]:
        """Roles with samples in a split."""
        return [role for role in ROLES if role in self.datasets[split].views]

    def labels(self, role: str) -> set[int]:
        """Labels of the classes of a role."""
        names = self.classes.names
        return {names.index(name) for name in self.classes.of(role)}

    def positions(self, split: str, role: str) -> list[int]:
        """Positions in the data set of the chosen samples of a role."""
        views = self.datasets[split].views
        start = 0
        for name, view in views.items():
            if name == role:
                break
            start += len(view)
        rng = np.random.default_rng(derive_seed('audit', self.seed, split, role))
        chosen = rng.permutation(len(views[role]))[: self.samples]
        return [start + int(position) for position in np.sort(chosen)]

    def batches(
        self, split: str, positions: list[int], batch_size: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Batches of samples in a given order: lists ``inputs`` and ``data_samples``."""
        chosen = Subset(self._kept[split], positions)
        return self.load(chosen, batch_size or self.batch_size)

    def load(self, dataset: Any, batch_size: int) -> Iterator[dict[str, Any]]:
        """All batches of a data set."""
        loader = DataLoader(
            dataset, batch_size=batch_size, num_workers=self.workers, collate_fn=pseudo_collate
        )
        for batch in loader:
            yield batch
            self.progress.count(len(batch['inputs']))


class KeptSamples(Dataset):
    """Keeps the samples of a data set that always loads a position alike, as long as there is room.

    Attacks read the same images hundreds of times. Each time they get a copy, since hosts write
    into samples.

    Args:
        dataset (Dataset): The data set.
        room (int): Bytes.
    """

    def __init__(self, dataset: Dataset, room: int = ROOM) -> None:
        self.dataset, self.room = dataset, room
        self._samples: dict[int, Any] = {}

    def __getitem__(self, position: int) -> Any:
        sample = self._samples.get(position)
        if sample is None:
            sample = self.dataset[position]
            size = len(pickle.dumps(sample, pickle.HIGHEST_PROTOCOL))
            if size > self.room:
                return sample
            self.room -= size
            self._samples[position] = sample
        return copy.deepcopy(sample)


def _pipeline(options: Mapping[str, Any], split: str, role: str) -> list[dict[str, Any]]:
    steps = inner_config(options['dataset']).get('pipeline')
    if not steps:
        fix = 'give the data set its pipeline'
        key = f'{split}_dataloader.dataset.roles.{role}.dataset.pipeline'
        raise ConfigError(key, None, 'the audit needs to change it', fix)
    return steps
