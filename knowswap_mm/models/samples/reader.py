"""What a sample is, and what all readers of samples share."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.registry import SAMPLE_READERS

if TYPE_CHECKING:
    from knowswap_mm.models.samples.depth import Depth

#: Losses that are cross entropies of classes, in all three libraries, by class name.
CLASS_LOSSES = ('CrossEntropyLoss', 'FocalLoss', 'LabelSmoothLoss', 'QualityFocalLoss')


@dataclass(frozen=True)
class SampleLosses:
    """Losses and features of the ``N`` samples in a role's part of a batch (issue 26).

    A sample is an image of a classifier; the region of a class in an image of a dense segmentor,
    where the nats are the mean over its labelled pixels; a pair of a ground-truth object and the
    query that is matched to it, of one decoder layer, of a detection or mask transformer. A batch
    may have none.

    Samples are in the order of layers, images and labels, whatever the queries, so that two
    measurements of one batch can be compared sample by sample; only objects of one class in one
    image may change places.

    Attributes:
        nats (Tensor): ``-log p`` of the right class, ``(N,)``, float32, with graph: softmax or
            sigmoid, whatever the head's loss takes. Weights, smoothing and focus of the loss are
            not in it.
        images (Tensor): Position of the sample's image in the role's part, ``(N,)``, int64.
        labels (Tensor): Its class, the swap's label, ``(N,)``, int64.
        layers (Tensor): Its decoder layer, ``(N,)``, int64; 0 where there is one.
        features (Tensor): What the class layer saw of it, ``(N, D)``, with graph; the mean over a
            region at the resolution of that layer, or over the queries that lie on an object.
        logits (Tensor): What the class layer said of it, ``(N, K)``, with graph; likewise.
        depth (tuple[Tensor, ...]): Its features after blocks of the backbone, ``(N, D)`` each, with
            graph; none unless an objective asks, see :class:`Depth`.
    """

    nats: Tensor
    images: Tensor
    labels: Tensor
    layers: Tensor
    features: Tensor
    logits: Tensor
    depth: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.nats)


class Calls:
    """Context manager that keeps the calls of modules, in their order.

    Args:
        modules (Iterable[nn.Module]): The modules; repeated ones count once.

    Attributes:
        made (list[tuple]): Positional arguments, keyword arguments and output of each call.
        callers (list[nn.Module]): The module of each call.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = list(dict.fromkeys(modules))
        self.made: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
        self.callers: list[nn.Module] = []

    def __enter__(self) -> Calls:
        self._handles = [
            m.register_forward_hook(self._keep, with_kwargs=True) for m in self.modules
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.made.append((args, kwargs, output))
        self.callers.append(module)

    def clear(self) -> None:
        """Forget the calls so far."""
        self.made.clear()
        self.callers.clear()


class SampleReader(metaclass=ABCMeta):
    """Reads samples off a kind of host, while it computes its own loss.

    A reader knows names of modules and keeps no tensors, so that it reads any host that is built
    alike: the swapper's, a teacher, the merged one. A subclass is one file, registered in
    ``knowswap_mm.registry.SAMPLE_READERS``.

    Args:
        columns (int): What the head chooses among: its rows, those of all classes and, where there
            is one, that of no object.

    Attributes:
        chance (float): Nats of a head that knows nothing, ``log(columns)``. For heads with a
            sigmoid, too: there it is a unit rather than what a guess would have.
        silence (float): Nats from which the head does not answer with a class: those of chance,
            where the likeliest class is the answer.
    """

    def __init__(self, columns: int) -> None:
        self.silence = self.chance = math.log(columns)

    @classmethod
    @abstractmethod
    def of(cls, host: nn.Module, rows: ClassRows) -> SampleReader | None:
        """The reader of a host, by its structure; None if it is of another kind."""

    @abstractmethod
    def listen(self, host: nn.Module) -> AbstractContextManager[Callable[[], SampleLosses]]:
        """Keep what passes through a host in the block, in which its loss is computed once.

        It gives the function that reads the samples then. Neither losses nor gradients change.
        """

    def depth(self, host: nn.Module, count: int) -> Depth | None:
        """Where the last ``count`` blocks of a host are read; None where samples have none.

        Only images have: those of a transformer's decoder have its layers instead.
        """
        return None

    def run(
        self, host: nn.Module, inputs: Tensor, samples: list[Any]
    ) -> tuple[dict[str, Tensor], SampleLosses]:
        """Compute the loss of a host and read it.

        Args:
            host (nn.Module): The host.
            inputs (Tensor): Preprocessed images, ``(N, C, H, W)``.
            samples (list): Their samples.

        Returns:
            tuple[dict, SampleLosses]: What ``host.loss`` gives, and the samples.

        Raises:
            ConfigError: If the loss of the host is computed in another way than the reader knows.
        """
        with self.listen(host) as read:
            losses = host.loss(inputs, samples)
        return losses, read()


class OneCallReader(SampleReader):
    """Reads hosts whose one class layer and one class loss are called once each.

    Args:
        loss (str): Full name of the loss module.
        layer (str): Full name of the class layer.
        sigmoid (bool): Whether probabilities are sigmoids.
        columns (int): As for :class:`SampleReader`.
    """

    def __init__(self, loss: str, layer: str, sigmoid: bool, columns: int) -> None:
        super().__init__(columns)
        self.loss, self.layer, self.sigmoid = loss, layer, sigmoid

    @contextmanager
    def listen(self, host: nn.Module) -> Iterator[Callable[[], SampleLosses]]:
        """Keep logits and targets of the loss, and the input of the class layer."""
        with (
            Calls([host.get_submodule(self.loss)]) as losses,
            Calls([host.get_submodule(self.layer)]) as layers,
        ):
            yield lambda: self._read(host, losses, layers)

    @abstractmethod
    def samples_of(
        self, logits: Tensor, target: Tensor, seen: Tensor, said: Tensor
    ) -> SampleLosses:
        """The samples, from what the loss gets, and the input and output of the class layer."""

    def _read(self, host: nn.Module, losses: Calls, layers: Calls) -> SampleLosses:
        if len(losses.made) != 1 or len(layers.made) != 1:
            raise unreadable(host, f'it calls its loss {len(losses.made)} times')
        (logits, target, *_), _, _ = losses.made[0]
        (seen, *_), _, said = layers.made[0]
        return self.samples_of(logits, target, seen, said)


def reader_of(host: nn.Module, rows: ClassRows) -> SampleReader | None:
    """The reader that fits a host, None if none does.

    Args:
        host (nn.Module): The host with all its classes.
        rows (ClassRows): Its class-indexed tensors.
    """
    SAMPLE_READERS.import_from_location()
    found = (kind.of(host, rows) for kind in SAMPLE_READERS.module_dict.values())
    return next((reader for reader in found if reader is not None), None)


def class_layers(host: nn.Module, rows: ClassRows, part: str, kind: type[nn.Module]) -> list[str]:
    """Names of the class layers in a part of a host.

    Args:
        host (nn.Module): The host.
        rows (ClassRows): Its class-indexed tensors.
        part (str): Full name of the part.
        kind (type): What the layers are.

    Returns:
        list[str]: Empty if there are none, or others of another kind or with several rows a class.
    """
    names: dict[str, int] = {}
    for tensor in rows.tensors:
        owner, _, leaf = tensor.name.rpartition('.')
        if not tensor.name.startswith(f'{part}.' if part else ''):
            continue
        plain = (tensor.layout.axis, tensor.layout.outer, tensor.layout.inner) == (0, 1, 1)
        if not plain or leaf not in ('weight', 'bias'):
            return []
        names.setdefault(owner, 0)
    return list(names) if all(isinstance(host.get_submodule(n), kind) for n in names) else []


def columns_of(host: nn.Module, layer: str) -> int:
    """Rows of a class layer by its full name."""
    return host.get_submodule(layer).weight.shape[0]


def kinds_of(module: nn.Module) -> set[str]:
    """Names of the classes that a module is of, so that no library is imported to ask."""
    return {kind.__name__ for kind in type(module).__mro__}


def predicts_by_sigmoid(loss: nn.Module | None) -> bool | None:
    """Whether probabilities of a head with this loss are sigmoids, not a softmax.

    None if the loss is no cross entropy of classes with logits.
    """
    if loss is None or not kinds_of(loss) & set(CLASS_LOSSES):
        return None
    if getattr(loss, 'use_mask', False) or getattr(loss, 'activated', False):
        return None
    if 'LabelSmoothLoss' in kinds_of(loss):
        return predicts_by_sigmoid(loss.ce)
    return bool(getattr(loss, 'use_sigmoid', 'FocalLoss' in kinds_of(loss)))


def nats_of(logits: Tensor, labels: Tensor, sigmoid: bool) -> Tensor:
    """Minus the logarithm of the probability of the right class.

    Args:
        logits (Tensor): ``(N, K, ...)``.
        labels (Tensor): Less than ``K``, ``(N, ...)``.
        sigmoid (bool): Whether probabilities are sigmoids.

    Returns:
        Tensor: ``(N, ...)``, float32.
    """
    logits = logits.float()
    if sigmoid:
        return -F.logsigmoid(logits.gather(1, labels.unsqueeze(1)).squeeze(1))
    return F.cross_entropy(logits, labels, reduction='none')


def unreadable(host: nn.Module, problem: str) -> ConfigError:
    """The error for a host whose loss is computed otherwise than its structure promised."""
    fix = "use an objective that needs no samples, e.g. model.loss = dict(hinge='mean')"
    problem = f'its samples cannot be read: {problem}'
    return ConfigError('model.host', type(host).__name__, problem, fix)


@contextmanager
def as_in_training(host: nn.Module) -> Iterator[None]:
    """Let ``host.loss`` run as in training, while dropout and norms stay in the mode they are in.

    Detectors prepare the inputs of their losses only if the flag of the model itself is set. Random
    points and queries are the same each time, and the caller's random numbers go on as if none had
    been drawn.
    """
    device = next(host.parameters()).device
    devices = [device] if device.type == 'cuda' else []
    flag = host.training
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        host.training = True
        try:
            yield
        finally:
            host.training = flag
