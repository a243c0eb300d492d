"""A model under audit."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS
from torch import Tensor, nn

from knowswap_mm.audit.data import AuditData
from knowswap_mm.audit.readers import UnitReader
from knowswap_mm.audit.readers.reader import Units
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.lora.manifest import hash_tensors
from knowswap_mm.lora.tensors import is_adapter_key
from knowswap_mm.models import RoleModel, merged_host, original_host
from knowswap_mm.models.loading import load_weights

#: What a model config says of training alone: it does not shape the host.
_OF_TRAINING = ('loss', 'fuse', 'fp32_losses')


class ModelFile:
    """A weight file: a state of a swap with its adapters, or a plain host.

    Args:
        config (Mapping): The config of the swap.
        path (str | Path): A checkpoint of a swap, an exported host, or any other plain checkpoint
            of the host with a row for every class, or for every old one.
        base (bool): Whether a plain file is the base beneath the adapters of earlier swaps
            (``model.adapters``); otherwise it is a whole model by itself.

    Attributes:
        adapted (bool): Whether the file holds adapters.
        key (Hashable): What :meth:`key_of` gave before the file was read.

    Raises:
        CheckpointError: If the file cannot be read as data or does not fit.
    """

    def __init__(self, config: Mapping[str, Any], path: str | Path, base: bool = False) -> None:
        self.key = self.key_of(config, path, base)
        state = state_dict_of(safe_load(path))
        self.adapted = any(is_adapter_key(key) for key in state)
        model = copy.deepcopy(config['model'])
        if not self.adapted and not base:
            model.pop('adapters', None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # rows that a file lacks must not differ from file to file
            self.swapper: RoleModel = MODELS.build(model)
        fix = (
            'give a file with a row for every class; an export without the rows of forgotten '
            'classes cannot be audited'
        )
        load_weights(self.swapper, state, path, fix)

    @staticmethod
    def key_of(config: Mapping[str, Any], path: str | Path, base: bool = False) -> Hashable:
        """What tells a file as it is now, if at all, and what it is read into, from all others."""
        path = Path(os.path.realpath(path))  # resolve() fails at a link to itself
        found = path.stat() if os.path.isfile(path) else None
        stamp = None if found is None else (found.st_size, found.st_mtime_ns)
        shape = {key: value for key, value in config['model'].items() if key not in _OF_TRAINING}
        return str(path), stamp, repr(shape), base

    def host(self) -> nn.Module:
        """The model as it is in the file, its adapters merged."""
        return merged_host(self.swapper) if self.adapted else original_host(self.swapper)


class HostStore:
    """Plain hosts on the device of an audit: equal ones are kept once, a file is read once."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._by_weights: dict[str, nn.Module] = {}
        self._by_file: dict[Hashable, nn.Module] = {}

    def kept(self, host: nn.Module) -> nn.Module:
        """The host of the store with these weights; a copy, if there was none."""
        key = hash_tensors(host.state_dict())
        if key not in self._by_weights:
            self._by_weights[key] = copy.deepcopy(host).to(self.device)
        return self._by_weights[key]

    def opened(self, file: ModelFile) -> nn.Module:
        """The host of a file that was read for other reasons."""
        if file.key not in self._by_file:
            self._by_file[file.key] = self.kept(file.host())
        return self._by_file[file.key]

    def of_file(self, config: Mapping[str, Any], path: str | Path, base: bool = False) -> nn.Module:
        """The host of a file, which is read unless it is known and as it was; see ModelFile."""
        known = self._by_file.get(ModelFile.key_of(config, path, base))
        return self.opened(ModelFile(config, path, base)) if known is None else known


@contextmanager
def recorded_blocks(
    host: nn.Module, names: Iterable[str], read: Callable[[Tensor], Tensor] | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Gives a dict that keeps the first output of each block, averaged over its positions.

    Whoever empties it gets the next ones. With ``read`` that is kept which it gives of an output.
    """
    found: dict[str, np.ndarray] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if name not in found:
            found[name] = _rows(output, read or _pooled)

    blocks = {name: host.get_submodule(name) for name in names}
    handles = [block.register_forward_hook(partial(keep, name)) for name, block in blocks.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _rows(output: Any, read: Callable[[Tensor], Tensor]) -> np.ndarray:
    while not isinstance(output, Tensor):
        output = output[0]
    return read(output.detach().float()).cpu().numpy()


def _pooled(output: Tensor) -> Tensor:
    if output.dim() == 4:  # a map of features
        return output.mean(dim=(2, 3))
    return output.mean(dim=1) if output.dim() == 3 else output  # tokens


class Subject:
    """A plain host (a row for every class) and what it makes of the data, each computed once.

    The outputs of the given blocks are kept.
    """

    def __init__(
        self, host: nn.Module, data: AuditData, reader: UnitReader, blocks: Sequence[str] = ()
    ) -> None:
        self.host = host.eval()
        self.data, self.reader, self.blocks = data, reader, list(blocks)
        self._remembered: dict[Hashable, Any] = {}

    def units(self, split: str, role: str) -> Units:
        """What the model makes of the chosen samples of a role."""
        given = (self.host, self.data, self.reader, split, role, self.blocks)

        def read() -> Units:
            with self.data.progress.shared():
                return read_units(*given)

        return self.remembered(('units', split, role), read)

    def remembered(self, key: Hashable, measure: Callable[[], Any]) -> Any:
        """A measurement of this model; it is made once for each key, which holds its settings."""
        if key not in self._remembered:
            self._remembered[key] = measure()
        return self._remembered[key]

    def metrics(self) -> dict[str, float]:
        """The host's metrics by role on the whole test data, with those of single classes."""
        return self.remembered(('metrics',), self._measured_metrics)

    @torch.no_grad()
    def _measured_metrics(self) -> dict[str, float]:
        dataset, reader = self.data.as_tested, self.reader
        metric = dict(metric=reader.metric, primary=reader.primary, scale=reader.scale)
        evaluator = Evaluator(dict(type='knowswap_mm.RoleMetric', **metric))
        evaluator.dataset_meta = dataset.metainfo
        for batch in self.data.load(dataset, self.data.test_batch_size):
            evaluator.process(self.host.test_step(batch), batch)
        return evaluator.evaluate(len(dataset))


@torch.no_grad()
def read_units(
    host: nn.Module,
    data: AuditData,
    reader: UnitReader,
    split: str,
    role: str,
    blocks: Sequence[str] = (),
) -> Units:
    """Read the chosen samples of a role by a host in evaluation mode, with outputs of blocks."""
    own = data.labels(role)
    parts = []
    at_block = reader.at_block(host) if blocks else None
    with (
        recorded_blocks(host, blocks) as found,
        recorded_blocks(host, blocks if at_block else (), at_block) as seen,
    ):
        for batch in data.batches(split, data.positions(split, role)):
            units = reader.read(host, batch, own)
            samples = len(batch['inputs'])
            units.blocks = {name: rows for name, rows in found.items() if len(rows) == samples}
            units.layers |= {n: seen[n] for n in blocks if len(seen.get(n, ())) == samples}
            found.clear()
            seen.clear()
            parts.append(units)
    return Units.joined(parts)
