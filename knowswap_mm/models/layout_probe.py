"""Which rows of a tensor belong to which class, seen from what a host predicts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.models.host_config import change_values, walk

CLASSES = 11  # of the probed host: a length that no other axis has by accident
SIZES = (128, 224, 320)
#: Modes of the host and numbers of images, until nothing is open.
ROUNDS = (('predict', 1), ('tensor', 1), ('predict', 2), ('predict', 2), ('predict', 2))
#: Settings of a detector that would hide most of what it says, or make it say too much.
_LIMITS = dict(score_thr=0.0, conf_thr=0.0, nms_pre=500, max_per_img=50)


class LayoutProbe:
    """Tells possible layouts of class-indexed tensors apart.

    A host with few classes and random weights looks at noise. The gradient of what it says of one
    class (scores, boxes and maps of its predictions, by label or along an axis with one entry a
    class) lies on the rows of this class; the layout that explains the gradients of all classes is
    the right one. Tensors that got no clear gradient take the layout of one with the same sizes in
    the same module, or in a module of the same type.

    Args:
        host_config (dict): Config of the host with :data:`CLASSES` classes; it is changed.
    """

    def __init__(self, host_config: dict[str, Any]) -> None:
        self.config = ConfigDict(host_config)  # hosts may read it by attribute
        change_values(self.config, _limited)
        self.reasons: list[str] = []
        self.host: nn.Module | None = None
        self._masses: dict[str, Tensor] = {}

    def find(
        self, possible: Mapping[str, Sequence[RowLayout]], known: Mapping[str, RowLayout]
    ) -> dict[str, RowLayout]:
        """Find the layouts that can be told.

        Args:
            possible (Mapping[str, Sequence[RowLayout]]): Layouts to choose from, by the tensor's
                name in the host.
            known (Mapping[str, RowLayout]): Those of the other class-indexed tensors.

        Returns:
            dict[str, RowLayout]: Those found; tensors that cannot be told are missing.
        """
        found: dict[str, RowLayout] = {}
        # A model may be built where gradients are switched off, for evaluation.
        gradients = torch.inference_mode(False), torch.enable_grad()
        with gradients[0], gradients[1], torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            try:
                self.host = MODELS.build(copy.deepcopy(self.config)).eval()
                wanted = self._parameters(possible)
                lengths = {name: layout.size(CLASSES) for name, layout in known.items()}
                lengths |= {n: p.shape[possible[n][0].axis] for n, p in wanted.items()}
                self._even_out(lengths)
                for observations in self._observations(wanted):
                    missing = {name: p for name, p in wanted.items() if name not in found}
                    self._measure(missing, observations, possible)
                    for name in missing:
                        if layout := _best(self._masses[name], possible[name]):
                            found[name] = layout
                    found |= self._like_others(found, possible)
                    if len(found) == len(possible):
                        break
            except Exception as error:  # a host that is not made for this may raise anything
                self.reasons.append(_line(error))
        return found

    def _parameters(self, possible: Mapping[str, Sequence[RowLayout]]) -> dict[str, Tensor]:
        wanted = {}
        self.host.requires_grad_(False)
        for name, parameter in self.host.named_parameters():
            if name in possible:
                if possible[name][0].classes(parameter.shape) != CLASSES:
                    continue  # it does not grow by the same number with each class
                wanted[name] = parameter.requires_grad_(True)
            elif not torch.isfinite(parameter).all() or parameter.abs().max() > 1e3:
                nn.init.normal_(parameter, std=0.02)  # memory that nobody has initialised
        return wanted

    def _observations(self, wanted: Mapping[str, Tensor]) -> Iterator[list[Tensor]]:
        """What is said of each class, tensors of ``(classes, numbers)``, a list a source."""
        yield from self._of_owners(wanted)
        for mode, images in ROUNDS:
            yield self._of_host(mode, images)
            for parameter in wanted.values():
                with torch.no_grad():
                    parameter.normal_(std=0.02)

    def _even_out(self, lengths: Mapping[str, int]) -> None:
        """Let every row have its say: an untrained host would always prefer the same few."""
        parameters = dict(self.host.named_parameters())
        for name, rows in lengths.items():
            if name in parameters:
                nn.init.normal_(parameters[name], std=0.02)
                self._owner(name).register_forward_hook(partial(_standardised, rows))

    def _of_owners(self, wanted: Mapping[str, Tensor]) -> Iterator[list[Tensor]]:
        """A layer that is no plain one may itself give one number a class."""
        for name in wanted:
            owner = self._owner(name)
            if wanted[name].ndim > 1 and not type(owner).__module__.startswith('torch.'):
                with suppress(Exception):
                    yield list(_by_class(owner(torch.randn(8, wanted[name].shape[-1]))))

    def _of_host(self, mode: str, count: int) -> list[Tensor]:
        for size in self._sizes():
            images = torch.randn(count, 3, *size)
            for samples in ([_sample(size) for _ in images], None):
                try:
                    with _Attached():
                        observations = list(_by_class(self.host(images, samples, mode=mode)))
                except Exception as error:
                    if samples is not None or not self.reasons:
                        self.reasons.append(_line(error))
                    continue
                if observations:
                    self.reasons.clear()
                    return observations
        return []

    def _measure(
        self,
        wanted: Mapping[str, Tensor],
        observations: Sequence[Tensor],
        possible: Mapping[str, Sequence[RowLayout]],
    ) -> None:
        """Add up the gradients of what is said of each class, ``(classes, rows)`` a tensor."""
        # Weighted: scores of all classes, or the sides of a box, could cancel each other out.
        weights = [torch.rand_like(each[0]) + 0.5 for each in observations]
        for label in range(CLASSES if wanted else 0):
            parts = [(w * o[label]).sum() for w, o in zip(weights, observations, strict=True)]
            found = [None] * len(wanted)
            if parts:
                found = torch.autograd.grad(
                    torch.stack(parts).sum(), list(wanted.values()), None, True, allow_unused=True
                )
            for (name, parameter), gradient in zip(wanted.items(), found, strict=True):
                rows = (torch.zeros_like(parameter) if gradient is None else gradient).abs()
                rows = rows.double().movedim(possible[name][0].axis, 0).flatten()
                rows = rows.view(parameter.shape[possible[name][0].axis], -1).sum(1)
                empty = torch.zeros(CLASSES, len(rows), dtype=torch.double)
                self._masses.setdefault(name, empty)[label] += rows

    def _sizes(self) -> list[tuple[int, int]]:
        sizes = [(size, size) for size in SIZES]
        for _, value in walk(self.config, ('img_size',), (int, list, tuple)):
            pair = (value, value) if isinstance(value, int) else tuple(value)
            if len(pair) == 2 and pair not in sizes:
                sizes.insert(0, pair)
        return sizes

    def _like_others(
        self, found: Mapping[str, RowLayout], possible: Mapping[str, Sequence[RowLayout]]
    ) -> dict[str, RowLayout]:
        taken = {}
        for name in possible:
            if name not in found:
                same = {
                    layout
                    for other, layout in found.items()
                    if _numbers(possible[other]) == _numbers(possible[name])
                    and layout.axis == possible[name][0].axis
                    and (self._owner(other) is self._owner(name) or self._alike(other, name))
                }
                if len(same) == 1:
                    taken[name] = same.pop()
        return taken

    def _owner(self, name: str) -> nn.Module:
        return self.host.get_submodule(name.rpartition('.')[0])

    def _alike(self, one: str, other: str) -> bool:
        """The same attribute of modules of the same type, e.g. of the stages of a cascade."""
        owners = [name.rpartition('.')[0].rpartition('.') for name in (one, other)]
        kinds = [type(self.host.get_submodule(home)) for home, _, _ in owners]
        names = ['' if leaf.isdigit() else leaf for _, _, leaf in owners]
        return kinds[0] is kinds[1] and names[0] == names[1]


class _Attached(TorchFunctionMode):
    """Keeps the gradient where a host cuts it off before it reads out its predictions."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is Tensor.detach:
            return args[0].view_as(args[0])
        if func is Tensor.__deepcopy__:
            return args[0].clone()
        return func(*args, **(kwargs or {}))


def _standardised(rows: int, module: nn.Module, inputs: Any, output: Any) -> Any:
    if not isinstance(output, Tensor) or output.ndim < 2:
        return None
    axes = [axis for axis in range(1, output.ndim) if output.shape[axis] == rows]
    if len(axes) != 1:
        return None
    others = [axis for axis in range(output.ndim) if axis != axes[0]]
    with torch.no_grad():
        mean, std = output.mean(others, keepdim=True), output.std(others, False, keepdim=True)
    return (output - mean) / std.nan_to_num().clamp(min=1e-12)


def _best(mass: Tensor, possible: Sequence[RowLayout]) -> RowLayout | None:
    """The one layout that fits ``(classes, rows)`` of gradients; None if several do, or none."""
    total = mass.sum(0)
    if not torch.isfinite(total).all() or not total.any():
        return None
    share, label = (mass / total.clamp(min=1e-300)).max(0)
    clear = (share > 0.5) & (total > 1e-6 * total.max())
    if len(label[clear].unique()) < 3:
        return None
    fits = [
        float((layout.class_of_rows(CLASSES)[clear] == label[clear]).double().mean())
        for layout in possible
    ]
    first, second = [*sorted(fits, reverse=True), 0.0][:2]
    return possible[fits.index(first)] if first >= 0.95 and second <= 0.75 else None


def _by_class(value: Any) -> Iterator[Tensor]:
    """What an output says of each class, as far as it can be seen."""
    if isinstance(value, Tensor):
        axes = [axis for axis, length in enumerate(value.shape) if length == CLASSES]
        if len(axes) == 1 and value.requires_grad:
            yield value.movedim(axes[0], 0).flatten(1)
        return
    if isinstance(value, BaseDataElement):
        value = dict(value.items())
    if isinstance(value, Mapping):
        labels = value.get('labels')
        if isinstance(labels, Tensor) and labels.ndim == 1:
            parts = [getattr(part, 'tensor', part) for part in value.values()]
            for part in parts:
                if isinstance(part, Tensor) and part.requires_grad and len(part) == len(labels):
                    flat = part.flatten(1) if part.ndim > 1 else part[:, None]
                    masks = [labels == label for label in range(CLASSES)]
                    yield torch.stack([(flat * mask[:, None]).flatten() for mask in masks])
            return
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _by_class(part)


def _sample(size: tuple[int, int]) -> BaseDataElement:
    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
    return BaseDataElement(metainfo=dict(shapes, scale_factor=(1.0, 1.0), img_path=''))


def _numbers(layouts: Sequence[RowLayout]) -> tuple[int, int]:
    """Rows that a class adds, and rows of no class: the same for all layouts of a tensor."""
    first = layouts[0]
    return first.outer * first.inner, first.outer * (first.before + first.after)


def _limited(path: str, value: Any) -> Any:
    most = _LIMITS.get(path.rpartition('.')[2])
    return value if most is None or not isinstance(value, (int, float)) else min(value, most)


def _line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0][:200]
