"""The merged plain host against the unmerged one, on real images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from knowswap_mm.datasets.seeding import seeded_cpu
from knowswap_mm.errors import CheckpointError
from knowswap_mm.exporting.files import plain_key_prefixes, plain_name
from knowswap_mm.lora.injector import lora_layers

ROWS = 64


class LayerProbe:
    """Keeps some real inputs of every layer with adapters or class rows, and what came out.

    A merged layer can then be compared on the very same inputs: a deviation is its own and not
    that of the layers before it. Of a linear layer some of the tokens of its first call are kept,
    of any other the first image. ``seen`` has input and output by name in the plain host.
    """

    def __init__(self, class_tensors: Iterable[str] = ()) -> None:
        self._owners = {name.rpartition('.')[0] for name in class_tensors}
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def watch(self, host: nn.Module) -> Iterator[None]:
        """Look on while the host, with its adapters, runs inside the block."""
        prefixes = plain_key_prefixes(host)
        layers = dict(lora_layers(host)) | {n: host.get_submodule(n) for n in self._owners}
        handles = [
            layer.register_forward_hook(self._keep(plain_name(name, prefixes)))
            for name, layer in layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, name: str) -> Any:
        def keep(layer: nn.Module, inputs: tuple, output: Any) -> None:
            tensors = len(inputs) == 1 and all(isinstance(t, Tensor) for t in (*inputs, output))
            if name not in self.seen and tensors:  # else it is a whole head that holds a tensor
                self.seen[name] = _part(layer, inputs[0]), _part(layer, output)

        return keep

    @torch.no_grad()
    def outputs(self, plain: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """What came out, and what comes out of the layers of the plain host."""
        for name, (given, output) in self.seen.items():
            yield output, plain.get_submodule(name)(given)


def _part(layer: nn.Module, tensor: Tensor) -> Tensor:
    base = layer.get_base_layer() if hasattr(layer, 'get_base_layer') else layer
    part = tensor.flatten(0, -2)[:ROWS] if isinstance(base, nn.Linear) else tensor[:1]
    return part.detach().clone()


#: Largest deviation, relative to the largest value. Predictions are allowed more: detectors choose
#: their queries by rank, so a difference in the last digit may exchange two that are alike.
TOLERANCES = dict(
    float32=dict(layers=1e-4, features=1e-4, predictions=1e-3),
    float16=dict(layers=1e-2, features=5e-2, predictions=5e-2),
)
KEPT_VALUES = 100_000


class ExportCheck:
    """Runs the host before it is merged, and compares a plain host with that.

    Compared are the layers with adapters or class rows on the inputs that they really got, the
    extracted features, and the numbers in the predictions: by their sorted values, since equal
    detections may come in another order, and by the mean of the differences. Both hosts run in
    fp32 and evaluation mode on one image after the other.

    Args:
        host (nn.Module): The host with its adapters.
        samples (Sequence[dict]): What its test pipeline gives.
        class_tensors (Iterable[str]): Names of the host's tensors with class rows.

    Attributes:
        deviations (dict[str, float]): Largest deviation of each kind.
    """

    def __init__(
        self, host: nn.Module, samples: Sequence[dict[str, Any]], class_tensors: Iterable[str] = ()
    ) -> None:
        self.samples = list(samples)
        self.deviations: dict[str, float] = {}
        self.probe = LayerProbe(class_tensors)
        with self.probe.watch(host):
            self._wanted = list(self._run(host))

    def compare(self, plain: nn.Module) -> dict[str, float]:
        """Measure how far the plain host that is to be written is off: :attr:`deviations`."""
        features, predictions = [], []
        for wanted, given in zip(self._wanted, self._run(plain), strict=True):
            features += map(_deviation, wanted[0], given[0])
            predictions += map(_mean_deviation, wanted[1], given[1])
        layers = [_deviation(*pair) for pair in self.probe.outputs(plain)]
        kinds = dict(layers=layers, features=features, predictions=predictions)
        self.deviations = {
            kind: float(torch.tensor(found).max()) for kind, found in kinds.items() if found
        }
        return self.deviations

    def refuse_deviations(self, precision: str) -> None:
        """Raise if the plain host is too far off for ``float32`` or ``float16``.

        Raises:
            CheckpointError: Names what deviates, by how much, and the tolerance.
        """
        for kind, deviation in self.deviations.items():
            tolerance = TOLERANCES[precision][kind]
            if not deviation <= tolerance:  # also if it is NaN
                raise CheckpointError(
                    f'The merged model differs from the swapped one: {kind} deviate by '
                    f'{deviation:.1e}, more than {tolerance:.0e}. Fix: export another checkpoint, '
                    'or without --half; --check 0 leaves the check out.'
                )

    @torch.no_grad()
    def _run(self, host: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        """Features and predictions of each sample."""
        host.float().eval().to(get_device())
        extract, features = host.extract_feat, []

        def extract_feat(*args: Any, **kwargs: Any) -> Any:
            features.append(extract(*args, **kwargs))
            return features[-1]

        host.extract_feat = extract_feat
        try:
            for number, sample in enumerate(self.samples):
                with seeded_cpu(number):
                    found = host.test_step(pseudo_collate([sample]))
                yield list(_numbers(features)), [_in_order(part) for part in _numbers(found)]
                features.clear()
        finally:
            del host.extract_feat


def _numbers(value: Any) -> Iterator[Tensor]:
    """All tensors of floating-point numbers in what a host gives."""
    if isinstance(value, Tensor) and value.is_floating_point():
        yield value.detach().float().cpu().clone()
    elif isinstance(value, BaseDataElement):
        yield from _numbers([part for _, part in sorted(value.items()) if part is not None])
    elif isinstance(value, dict):
        yield from _numbers(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _numbers(part)


def _deviation(wanted: Tensor, given: Tensor) -> float:
    if torch.equal(wanted, given):
        return 0.0
    return float((wanted - given).abs().max() / wanted.abs().max().clamp(min=1e-12))


def _in_order(tensor: Tensor) -> Tensor:
    """The values from large to small; of the millions in a map of logits evenly chosen ones."""
    values = tensor.flatten().sort(descending=True).values
    return values[:: max(len(values) // KEPT_VALUES, 1)].clone()


def _mean_deviation(wanted: Tensor, given: Tensor) -> float:
    if torch.equal(wanted, given):
        return 0.0
    longer, shorter = max(len(wanted), len(given)), min(len(wanted), len(given))
    largest = torch.cat([wanted, given]).abs().max().clamp(min=1e-12)
    mean = (wanted[:shorter] - given[:shorter]).abs().sum() / longer / largest
    return float(mean) + (longer - shorter) / longer
