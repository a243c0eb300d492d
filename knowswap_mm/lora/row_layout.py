"""Where the classes of a class-indexed tensor lie along its axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: What ``model.head.layouts`` may say of a tensor. "Rest" are rows of no class (background, boxes).
LAYOUTS = ('class_major', 'class_major_rest_first', 'group_major', 'group_major_rest_first')


@dataclass(frozen=True)
class RowLayout:
    """The order of the rows of a class-indexed tensor along one axis.

    The axis holds ``outer`` groups one after the other; each has ``before`` rows of no class, then
    ``inner`` rows for the first class, ``inner`` for the second and so on, then ``after`` rows of
    no class. An ordinary head is ``RowLayout()``; with a no-object row ``after`` is 1; four box
    deltas a class are ``inner=4`` (class-major); nine anchors with a score a class each are
    ``outer=9`` (anchor-major). Methods take a ``tensor`` with all rows, :meth:`size` of all classes
    long along :attr:`axis`, and the number of ``old`` classes.

    Attributes:
        axis (int): The axis, counted from the front.
        outer (int): Groups.
        inner (int): Rows of one class in one group.
        before (int): Rows of no class at the beginning of each group.
        after (int): Rows of no class at the end of each group.
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1
    before: int = 0
    after: int = 0

    def size(self, classes: int) -> int:
        """Length of the axis for a number of classes."""
        return self.outer * (self.before + classes * self.inner + self.after)

    def classes(self, shape: Sequence[int]) -> int | None:
        """Number of classes of a tensor of this shape; None if no number fits."""
        if len(shape) <= self.axis or shape[self.axis] % self.outer:
            return None
        rows = shape[self.axis] // self.outer - self.before - self.after
        return rows // self.inner if rows > 0 and not rows % self.inner else None

    def old_part(self, tensor: Tensor, old: int) -> Tensor:
        """The tensor without the new classes: what a checkpoint of the old ones holds."""
        blocks, (begin, end) = self._blocks(tensor), self._new_rows(tensor, old)
        parts = [self._cut(blocks, 0, begin), self._cut(blocks, end, blocks.shape[self._along])]
        return self._flat(torch.cat(parts, self._along))

    def new_part(self, tensor: Tensor, old: int) -> Tensor:
        """The rows of the new classes alone, a copy if they do not lie together."""
        return self._flat(self.new_view(tensor, old))

    def new_view(self, tensor: Tensor, old: int) -> Tensor:
        """The rows of the new classes, a view to write into; groups have an axis of their own."""
        return self._cut(self._blocks(tensor), *self._new_rows(tensor, old))

    def join(self, frozen: Tensor, new: Tensor, old: int) -> Tensor:
        """Put the result of :meth:`old_part` and that of :meth:`new_part` together."""
        frozen, new = self._blocks(frozen), self._blocks(new)
        begin, end = self.before + old * self.inner, frozen.shape[self._along]
        parts = [self._cut(frozen, 0, begin), new, self._cut(frozen, begin, end)]
        return self._flat(torch.cat(parts, self._along))

    def select(self, tensor: Tensor, kept: Sequence[int]) -> Tensor:
        """Keep the classes of these numbers, in the order given, and the rows of no class."""
        blocks = self._blocks(tensor)
        length = blocks.shape[self._along]
        first = [self.before + label * self.inner for label in kept]
        rows = [*range(self.before), *(i + j for i in first for j in range(self.inner))]
        rows += range(length - self.after, length)
        index = torch.tensor(rows, device=tensor.device)
        return self._flat(blocks.index_select(self._along, index))

    def class_of_rows(self, classes: int) -> Tensor:
        """The class of each row, -1 for rows of no class: integers, ``(rows,)``."""
        labels = torch.arange(classes).repeat_interleave(self.inner)
        none = torch.full((self.before + self.after,), -1)
        group = torch.cat([none[: self.before], labels, none[self.before :]])
        return group.repeat(self.outer)

    def to_list(self) -> list[int]:
        """The five numbers, for a file."""
        return [self.axis, self.outer, self.inner, self.before, self.after]

    @property
    def _along(self) -> int:
        return self.axis if self.outer == 1 else self.axis + 1

    def _new_rows(self, tensor: Tensor, old: int) -> tuple[int, int]:
        length = tensor.shape[self.axis] // self.outer
        return self.before + old * self.inner, length - self.after

    def _blocks(self, tensor: Tensor) -> Tensor:
        return tensor if self.outer == 1 else tensor.unflatten(self.axis, (self.outer, -1))

    def _flat(self, blocks: Tensor) -> Tensor:
        return blocks if self.outer == 1 else blocks.flatten(self.axis, self.axis + 1)

    def _cut(self, blocks: Tensor, begin: int, end: int) -> Tensor:
        return blocks[(slice(None),) * self._along + (slice(begin, end),)]


def possible_layouts(axis: int, rows: int, rest: int) -> list[RowLayout]:
    """All layouts of a tensor whose size is known for several numbers of classes.

    Args:
        axis (int): The class-indexed axis.
        rows (int): How many rows one class more adds.
        rest (int): Rows that belong to no class.
    """
    return [
        RowLayout(axis, outer, rows // outer, before, rest // outer - before)
        for outer in range(1, rows + 1)
        if not rows % outer and not rest % outer
        for before in dict.fromkeys((0, rest // outer))
    ]


def named_layout(name: str, axis: int, rows: int, rest: int) -> RowLayout | None:
    """That of :data:`LAYOUTS`, as for :func:`possible_layouts`; None if the sizes contradict it."""
    outer = rows if name.startswith('group') else 1
    if rest % outer:
        return None
    before = rest // outer if name.endswith('rest_first') else 0
    return RowLayout(axis, outer, rows // outer, before, rest // outer - before)
