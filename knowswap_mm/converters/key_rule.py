"""How one kind of key is called elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_FIELDS = dict(i=r'\d+', j=r'\d+', p=r'[\w.]+')


class KeyRule:
    """Pairs one or more keys of a source with a key of the host.

    Keys are templates: ``{i}`` and ``{j}`` stand for numbers, ``{p}`` for the rest of a name
    (``weight``, ``bias``, ``lora_A``, ...). Several sources are joined along dimension 0, as
    query, key and value are.

    Args:
        sources (str | Sequence[str]): Templates of the source.
        target (str): Template of the host, with the same fields.
        forward (Callable | None): Change of the tensor on the way to the host.
        backward (Callable | None): Its inverse.
        reads_only (bool): Whether the name is an old one, which is read but not written.
    """

    def __init__(
        self,
        sources: str | Sequence[str],
        target: str,
        forward: Callable[[Tensor], Tensor] | None = None,
        backward: Callable[[Tensor], Tensor] | None = None,
        reads_only: bool = False,
    ) -> None:
        self.sources = [sources] if isinstance(sources, str) else list(sources)
        self.target, self.reads_only = target, reads_only
        self.forward, self.backward = forward or _same, backward or _same
        self._source_patterns = [_pattern(source) for source in self.sources]
        self._target_pattern = _pattern(target)

    def match(self, key: str) -> tuple[int, dict[str, str]] | None:
        """Which of the sources a key is, and its fields; None if it is none of them."""
        for position, pattern in enumerate(self._source_patterns):
            if found := pattern.fullmatch(key):
                return position, found.groupdict()
        return None

    def to_target(self, parts: Sequence[Tensor]) -> Tensor:
        """The host's tensor from those of the source."""
        return self.forward(parts[0] if len(parts) == 1 else torch.cat(list(parts)))

    def to_sources(self, key: str, tensor: Tensor) -> dict[str, Tensor] | None:
        """Keys and tensors of the source for a key of the host; None if the rule is not for it."""
        found = self._target_pattern.fullmatch(key)
        if not found or self.reads_only:
            return None
        parts = self.backward(tensor).chunk(len(self.sources))
        names = [source.format(**found.groupdict()) for source in self.sources]
        return {name: part.clone() for name, part in zip(names, parts, strict=True)}


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r'\{(\w+)\}', template)
    text = ''
    for number, piece in enumerate(pieces):
        text += f'(?P<{piece}>{_FIELDS[piece]})' if number % 2 else re.escape(piece)
    return re.compile(text)
