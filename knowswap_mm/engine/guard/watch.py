"""Measures the watched samples, without a trace in the training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch import Tensor, nn

from knowswap_mm.compat import version_of
from knowswap_mm.datasets.seeding import seeded_cpu
from knowswap_mm.engine.guard.look import Nats
from knowswap_mm.errors import reason_of
from knowswap_mm.models.samples import SampleLosses

#: Bytes of images that a process keeps, so that it need not load them again for the next look.
_KEPT = 1 << 28

#: A batch of a role: the numbers of its samples, and what the data loader would make of them.
_Batch = tuple[list[int], dict[str, Any]]


class WatchError(Exception):
    """The watched samples cannot be measured, in one of the processes; says why."""


class HeldOut:
    """The watched samples of all roles, of which each process has its share.

    Args:
        loader (DataLoader): The data loader of training, over a role data set.
        batch_size (int): Samples that are measured at once.
    """

    def __init__(self, loader: Any, batch_size: int) -> None:
        self.dataset, self.collate = loader.dataset, loader.collate_fn
        self.batch_size = batch_size
        self._kept: dict[tuple[str, range, int], _Batch] = {}
        self._bytes = 0

    def measure(self, runner: Any, samples: Mapping[str, int]) -> dict[str, Nats]:
        """Measure samples of each role; all processes call it together and get the same.

        Dropout is off, norms do not learn, and random numbers of the training stay as they are.

        Args:
            runner (SwapRunner): The runner with the model.
            samples (dict[str, int]): By role how many samples, the first ones, are measured.

        Returns:
            dict[str, Nats]: By role; one of which nothing could be measured is left out.

        Raises:
            WatchError: In all processes, if one of them cannot.
        """
        found: dict[str, Any] = {}
        try:
            with measuring(runner.swapper), runner.optim_wrapper.optim_context(runner.model):
                for role, count in samples.items():
                    found[role] = self._measure(runner.swapper, role, count)
        except Exception as error:  # a host may raise anything; what was trained is worth more
            found = dict(error=f'{type(error).__name__}: {reason_of(error)}')
        parts = all_gather_object(found)
        if problem := next((part['error'] for part in parts if 'error' in part), None):
            raise WatchError(problem)
        # In the order of the samples, whoever measured them.
        whole = {role: [row for part in parts for row in part[role]] for role in samples}
        return {
            role: {(i, c): x for i, c, x in sorted(rows)} for role, rows in whole.items() if rows
        }

    def samples(
        self, swapper: Any, role: str, chosen: range, blocks: int = 0
    ) -> Iterator[tuple[list[int], SampleLosses]]:
        """Numbers and samples of this process's share of the chosen ones of a role, in batches.

        To be called as :meth:`measure` does: in :func:`measuring`. With ``blocks``, samples of a
        classifier have the features after so many of its last blocks, too.
        """
        for numbers, batch in self._batches(role, chosen):
            # Preprocessors pad maps and masks in place.
            data = dict(batch, data_samples=copy.deepcopy(batch['data_samples']))
            done = swapper.data_preprocessor(data, training=True)
            inputs, samples = done['inputs'][role], done['data_samples'][role]
            yield numbers, swapper.sample_losses(inputs, samples, blocks)

    def drop(self) -> None:
        """Keep no image that was loaded: there is room for those that are looked at again."""
        self._kept.clear()
        self._bytes = 0

    def _measure(self, swapper: Any, role: str, count: int) -> list[tuple[int, int, float]]:
        rows = []
        for numbers, losses in self.samples(swapper, role, range(count)):
            rows += _means(losses.nats, losses.images, losses.labels, numbers)
        return rows

    def _batches(self, role: str, chosen: range) -> Iterator[_Batch]:
        own = chosen[get_rank() :: get_world_size()]
        for first in range(0, len(own), self.batch_size):
            key = (role, chosen, first)
            batch = self._kept.get(key) or self._load(role, own[first : first + self.batch_size])
            if batch is None:
                continue
            size = _bytes(batch[1]['inputs'])
            if key not in self._kept and self._bytes + size <= _KEPT:
                self._kept[key] = batch
                self._bytes += size
            yield batch

    def _load(self, role: str, numbers: range) -> _Batch | None:
        loaded = [(number, self.dataset.load_watched(role, number)) for number in numbers]
        found = [(number, sample) for number, sample in loaded if sample is not None]
        if not found:
            return None
        return [number for number, _ in found], self.collate([sample for _, sample in found])


def _bytes(images: Tensor | list[Tensor]) -> int:
    return sum(image.numel() * image.element_size() for image in images)


def _means(
    nats: Tensor, images: Tensor, labels: Tensor, numbers: list[int]
) -> list[tuple[int, int, float]]:
    """Mean loss by sample and class, over objects and layers: sample, class, nats."""
    sums: dict[tuple[int, int], list[float]] = {}
    rows = torch.stack([images.double(), labels.double(), nats.detach().double()], 1).tolist()
    for image, label, value in rows:
        sums.setdefault((numbers[int(image)], int(label)), []).append(value)
    return [(*key, sum(values) / len(values)) for key, values in sums.items()]


@contextmanager
def measuring(swapper: nn.Module) -> Iterator[None]:
    """Measure a model in the block as if it were evaluated, and leave it as it was.

    The flags are set one by one: ``train()`` of a host may freeze and thaw what trains. Images are
    not mixed with one another, and buffers that a loss counts in get their values back.
    """
    flags = [(module, module.training) for module in swapper.modules()]
    buffers = [(buffer, version_of(buffer), buffer.clone()) for buffer in swapper.buffers()]
    preprocessor = swapper.data_preprocessor.host
    mixes = getattr(preprocessor, 'batch_augments', None)
    try:
        for module, _ in flags:
            module.training = False
        if mixes:
            preprocessor.batch_augments = None
        with seeded_cpu(0), torch.no_grad():
            yield
    finally:
        for module, flag in flags:
            module.training = flag
        if mixes:
            preprocessor.batch_augments = mixes
        with torch.no_grad():
            for buffer, version, value in buffers:
                if version_of(buffer) != version:
                    buffer.copy_(value)
