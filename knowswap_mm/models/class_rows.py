"""The class-indexed tensors of a host: found by construction, never by name."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from knowswap_mm.checks import check_choice, check_mapping
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.lora.row_layout import LAYOUTS, RowLayout, named_layout, possible_layouts
from knowswap_mm.models.host_config import one_count, replace_counts, walk
from knowswap_mm.models.layout_probe import CLASSES, LayoutProbe


@dataclass(frozen=True)
class ClassTensor:
    """A class-indexed tensor: its full name in the host, and where its classes lie."""

    name: str
    layout: RowLayout

    @property
    def tail(self) -> int:
        """Rows after those of the classes (Mask2Former's no-object row), of each group."""
        return self.layout.after


class ClassRows:
    """Knows which tensors of a host are indexed by class, and grows them.

    A twin of the host with one class more is built; the tensors whose shape differs are the
    class-indexed ones, whatever the axis and however many rows a class has. That covers linear
    heads, embeddings of labels and convolutions alike. Where the order of the rows does not follow
    from the sizes, :class:`~knowswap_mm.models.layout_probe.LayoutProbe` looks at what a small
    twin predicts.

    Args:
        host (nn.Module): The host, built from ``host_config`` and without adapters.
        host_config (dict): Its config.
        old_classes (int | None): Number of classes that the pretrained weights know; None if the
            host has no new classes.
        count_keys (Sequence[str]): Config keys that hold the number of classes; with dots for one
            place, e.g. ``roi_head.bbox_head.num_classes``.
        layouts (Mapping[str, str] | None): Orders of rows (:data:`LAYOUTS`) by regular expressions
            of tensor names, for those that cannot be told.

    Attributes:
        old (int): Number of old classes.
        total (int): Number of old and new classes.
        tensors (tuple[ClassTensor, ...]): The class-indexed tensors.
        unclear (tuple[str, ...]): Those whose layout could not be told. Always empty if there are
            new classes.

    Raises:
        ConfigError: If the number of classes cannot be read from the config, nothing of the host
            grows with it, or a tensor grows in a way that cannot be followed.
    """

    def __init__(
        self,
        host: nn.Module,
        host_config: dict[str, Any],
        old_classes: int | None = None,
        count_keys: Sequence[str] = ('num_classes',),
        layouts: Mapping[str, str] | None = None,
    ) -> None:
        self.total: int = one_count(host_config, count_keys)
        self.old = self.total if old_classes is None else old_classes
        if type(self.old) is not int or not 0 < self.old <= self.total:
            fix = f'use a number from 1 to {self.total}, the classes of model.host'
            raise ConfigError('model.head.old_classes', old_classes, 'does not fit the host', fix)
        self._keys = tuple(count_keys)
        self._config = copy.deepcopy(host_config)
        sizes = self._sizes(host)
        found = self._layouts(sizes, _checked(layouts))
        self.tensors = tuple(ClassTensor(name, found[name]) for name in sizes)
        self._check_heads(host, host_config)
        self._check_weights(host_config)

    def build(self, classes: int) -> nn.Module:
        """Build a host of the same config with ``classes`` classes and random weights."""
        with torch.random.fork_rng(devices=[]):
            return MODELS.build(self._config_with(classes))

    def _config_with(self, classes: int) -> dict[str, Any]:
        config = copy.deepcopy(self._config)
        replace_counts(config, self._keys, self.total, classes)
        return config

    def _sizes(self, host: nn.Module) -> dict[str, tuple[int, int, int]]:
        """Axis, rows that a class adds, and rows of no class of each tensor that grows."""
        try:
            twin = self.build(self.total + 1).state_dict()
        except Exception as error:  # part of a host may need another number, too
            problem = f'cannot be built with one class more ({type(error).__name__}: {error})'
            fix = 'name in model.head.count_keys every key that counts the classes'
            raise ConfigError('model.host', self.total, problem, fix) from error
        state, sizes = host.state_dict(), {}
        if own := sorted(set(twin) ^ set(state)):
            self._refuse(own[0], 'each class has tensors of its own')
        for name, tensor in state.items():
            shape, more = tensor.shape, twin.get(name, tensor).shape
            if shape == more:
                continue
            axes = [i for i in range(tensor.ndim) if shape[i] != more[i]]
            if len(shape) != len(more) or len(axes) != 1:
                self._refuse(name, f'it is {tuple(shape)}, and {tuple(more)} with one class more')
                continue
            rows = more[axes[0]] - shape[axes[0]]
            rest = shape[axes[0]] - rows * self.total
            if rows < 1 or rest < 0:
                self._refuse(name, f'{rows} rows more with one class more, of {shape[axes[0]]}')
                continue
            sizes[name] = axes[0], rows, rest
        return sizes

    def _refuse(self, name: str, problem: str) -> None:
        """Say that a tensor cannot be enlarged; where nothing is enlarged it does no harm."""
        if self.old < self.total:
            fix = (
                'swap without new classes (all classes of model.host in swap.classes.old), or use '
                'a head with rows for its classes'
            )
            problem = f'cannot be enlarged by new classes: {problem}'
            raise ConfigError('model.host', name, problem, fix)

    def _layouts(
        self, sizes: Mapping[str, tuple[int, int, int]], given: Mapping[str, str]
    ) -> dict[str, RowLayout]:
        found: dict[str, RowLayout] = {}
        self._assumed: tuple[str, ...] = ()
        for name, (axis, rows, rest) in sizes.items():
            named = [given[pattern] for pattern in given if re.fullmatch(pattern, name)]
            if named:
                layout = named_layout(named[0], axis, rows, rest)
                if layout is None:
                    problem = f'{rest} rows of no class are no part of {rows} groups'
                    fix = f'use another of {LAYOUTS} for {name}'
                    raise ConfigError('model.head.layouts', named[0], problem, fix)
                found[name] = layout
            elif rows == 1 and (rest == 0 or (rest == 1 and axis == 0)):
                # One row more than classes: background or no object, last in all three libraries.
                found[name] = RowLayout(axis, after=rest)
                self._assumed += (name,) if rest else ()
        for pattern in given:
            if not any(re.fullmatch(pattern, name) for name in sizes):
                fix = f'name one of {sorted(sizes)[:8]}'
                problem = 'no class-indexed tensor has such a name'
                raise ConfigError('model.head.layouts', pattern, problem, fix)
        open_ones = {n: possible_layouts(*sizes[n]) for n in sizes if n not in found}
        self.unclear: tuple[str, ...] = ()
        if open_ones:
            probe = LayoutProbe(self._config_with(CLASSES))
            found |= probe.find(open_ones, found)
            self.unclear = tuple(name for name in open_ones if name not in found)
            if self.unclear and self.old < self.total:
                self._refuse_unclear(sizes[self.unclear[0]], probe.reasons)
            found |= {name: open_ones[name][0] for name in self.unclear}
        return found

    def check_rest(self) -> None:
        """Look whether the one row that belongs to no class is the last one, as is assumed.

        It takes a small host and a look at noise, hence not at each construction.

        Raises:
            ConfigError: If it is the first one.
        """
        if self.old == self.total or not self._assumed:
            return
        known = {t.name: t.layout for t in self.tensors if t.name not in self._assumed}
        possible = {name: possible_layouts(0, 1, 1) for name in self._assumed}
        found = LayoutProbe(self._config_with(CLASSES)).find(possible, known)
        for name, layout in found.items():
            if layout.before:
                fix = f"model.head.layouts = {{r'{re.escape(name)}': 'class_major_rest_first'}}"
                problem = 'has its row of no class (background) before those of the classes'
                raise ConfigError('model.host', name, problem, f'say it: {fix}')

    def _refuse_unclear(self, size: tuple[int, int, int], reasons: Sequence[str]) -> None:
        axis, rows, rest = size
        name = self.unclear[0]
        more = f' (and {len(self.unclear) - 1} more)' if len(self.unclear) > 1 else ''
        why = f'; the probe said: {reasons[-1]}' if reasons else ''
        problem = (
            f'has {rows} rows a class and {rest} of no class along axis {axis}{more}, and their '
            f'order cannot be told from what the host predicts{why}'
        )
        pattern = re.escape(name)
        fix = f"say it: model.head.layouts = {{r'{pattern}': ...}} with one of {LAYOUTS}"
        raise ConfigError('model.host', name, problem, fix)

    def _check_heads(self, host: nn.Module, config: dict[str, Any]) -> None:
        """Refuse a host, and speak of a part, that says its classes with no tensor of its own."""
        parameters = {name for name, _ in host.named_parameters(remove_duplicate=False)}
        grown = {tensor.name for tensor in self.tensors} & parameters
        if self.old == self.total:
            return
        if not grown:
            name = type(host).__name__
            problem = (
                f'no parameter of {name} grows with the {self.total} classes: it takes them from '
                'texts or prototypes, so that there are no rows for new classes'
            )
            fix = 'use a host whose head has a row a class, or swap without new classes'
            raise ConfigError('model.host', config.get('type', name), problem, fix)
        for key, part in config.items():
            module = getattr(host, key, None)
            counts = any(v == self.total for _, v in walk({key: part}, self._keys))
            if not counts or not isinstance(module, nn.Module):
                continue
            own = any(name.startswith(f'{key}.') for name in parameters)
            if own and not any(name.startswith(f'{key}.') for name in grown):
                print_log(
                    f'model.host.{key} counts {self.total} classes, but none of its parameters '
                    'grows with them: it tells no classes apart, or has them from elsewhere, and '
                    'then it will not know the new ones.',
                    'current',
                    level=logging.WARNING,
                )

    def _check_weights(self, config: dict[str, Any]) -> None:
        lengths = {self.total + tensor.tail for tensor in self.tensors}
        for _, value in walk(config, ('class_weight',), (list, tuple)):
            if lengths and len(value) not in lengths:
                fix = f'give {sorted(lengths)[0]} weights: old classes, new ones, then the rest'
                problem = f'{len(value)} weights do not fit the enlarged head'
                raise ConfigError('model.host class_weight', list(value)[:4], problem, fix)

    @torch.no_grad()
    def initialise(self, host: nn.Module, how: str) -> None:
        """Initialise the new rows of a host.

        ``host`` keeps what the host's own initialisation gave; ``xavier`` draws matrices from
        Xavier-uniform over the new rows alone and zeroes vectors, as the official classifier does;
        ``zeros``.

        Raises:
            ConfigError: If ``how`` is unknown.
        """
        if how not in ('host', 'xavier', 'zeros'):
            fix = "use 'host', 'xavier' or 'zeros'"
            raise ConfigError('model.head.new_rows_init', how, 'unknown initialisation', fix)
        if how == 'host' or self.old == self.total:
            return
        state = host.state_dict()
        for tensor in self.tensors:
            view = tensor.layout.new_view(state[tensor.name], self.old)
            rows = tensor.layout.new_part(state[tensor.name], self.old).clone()
            if how == 'xavier' and rows.dim() > 1:
                rows = rows.movedim(tensor.layout.axis, 0)  # as if it were an ordinary head
                matrix = rows.flatten(1).clone() if tensor.layout.axis else rows
                nn.init.xavier_uniform_(matrix)
                view.copy_(
                    matrix.view(rows.shape).movedim(0, tensor.layout.axis).reshape(view.shape)
                )
            else:
                view.zero_()

    def grow(self, tensor: ClassTensor, loaded: Tensor, current: Tensor) -> Tensor:
        """Fit a loaded class-indexed tensor to the enlarged host.

        Args:
            tensor (ClassTensor): Its name and layout.
            loaded (Tensor): Tensor of the checkpoint, with the old or with all classes along the
                axis of the layout.
            current (Tensor): Tensor of the model, with all classes; its new rows are kept.

        Returns:
            Tensor: All rows, in the shape of the model's: old ones and those of no class loaded,
            new ones current.

        Raises:
            CheckpointError: If the checkpoint has another number of classes.
        """
        if loaded.shape == current.shape:
            return loaded
        layout, axis = tensor.layout, tensor.layout.axis
        others = [[n for i, n in enumerate(t.shape) if i != axis] for t in (loaded, current)]
        classes = layout.classes(loaded.shape) if others[0] == others[1] else None
        if classes != self.old:
            fix = (
                f'set model.head.old_classes to the classes of the checkpoint ({classes}) and the '
                'number of classes of model.host to old + new'
            )
            if classes is None:
                fix = 'use the model.host that the checkpoint was made with; no number of classes '
                fix += 'gives this shape'
            raise CheckpointError(
                f'The checkpoint has {tensor.name} of shape {tuple(loaded.shape)}, the model '
                f'{tuple(current.shape)} with model.head.old_classes = {self.old}. Fix: {fix}.'
            )
        new = layout.new_part(current.detach(), self.old)
        return layout.join(loaded.detach().to(current), new, self.old)


def _checked(layouts: Any) -> dict[str, str]:
    key, fix = 'model.head.layouts', "e.g. {r'bbox_head\\.fc_reg\\.(weight|bias)': 'class_major'}"
    if layouts is None:
        return {}
    check_mapping(key, layouts, fix)
    for pattern, name in layouts.items():
        check_choice(key, name, LAYOUTS, 'order of rows')
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            raise ConfigError(key, pattern, 'no regular expression', fix) from None
    return dict(layouts)
