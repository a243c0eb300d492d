"""Tables that rename and change the weights of one kind of checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knowswap_mm.errors import CheckpointError

if TYPE_CHECKING:
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
        """The host's tensor from those of the source, joined along dimension 0."""
        import torch  # only now: a command line lists the tables

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
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = [f'(?P<{field}>{_FIELDS[field]})' for field in pieces[1::2]]
    return re.compile(''.join(pieces))


def without_prefix(rules: Sequence[KeyRule], prefix: str) -> list[KeyRule]:
    """The rules that begin with a prefix, without it, to be read and not written.

    Hugging Face saves a model without a head so: ``embeddings.cls_token``, not
    ``vit.embeddings.cls_token``.
    """
    return [
        KeyRule(
            [s.removeprefix(prefix) for s in rule.sources],
            rule.target,
            rule.forward,
            reads_only=True,
        )
        for rule in rules
        if rule.sources[0].startswith(prefix)
    ]


@dataclass
class Conversion:
    """Result of :meth:`KeyTable.convert`.

    Attributes:
        state (dict[str, Tensor]): Weights under the host's keys.
        dropped (dict[str, str]): Source keys that have no place in the host, with the reason.
    """

    state: dict[str, Tensor]
    dropped: dict[str, str] = field(default_factory=dict)


class KeyTable:
    """Converts strictly: every key is used or dropped for a stated reason.

    Args:
        rules (Sequence[KeyRule]): The first rule that fits a source key is used. Several rules may
            lead to one key of the host, where the source stores a tensor twice; the copies must be
            equal then.
        dropped (Mapping[str, str]): Regular expressions of keys without a place in the host, and
            why.
        refused (Mapping[str, str]): Regular expressions of keys that the host would need, and why
            the file cannot be used.
        derived (Sequence[str]): Ends of keys that the host computes itself.
        computed (Callable | None): Gives, for the converted weights, derived ones that the host
            wants to find in a file all the same.
    """

    def __init__(
        self,
        rules: Sequence[KeyRule],
        dropped: Mapping[str, str] | None = None,
        derived: Sequence[str] = (),
        refused: Mapping[str, str] | None = None,
        computed: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> None:
        self.rules, self.derived, self.computed = list(rules), tuple(derived), computed
        self.dropped = {re.compile(key): reason for key, reason in (dropped or {}).items()}
        self.refused = {re.compile(key): reason for key, reason in (refused or {}).items()}

    def convert(self, source: Mapping[str, Tensor]) -> Conversion:
        """Rename and change the tensors of a source.

        Args:
            source (Mapping[str, Tensor]): A state dict; a leading ``module.`` is ignored.

        Returns:
            Conversion: Weights under the host's keys.

        Raises:
            CheckpointError: If a key has no rule or is refused, a part of a joined tensor is
                missing, or two copies of a tensor differ.
        """
        parts: dict[tuple[KeyRule, str], dict[int, Tensor]] = {}
        result, unknown = Conversion({}), []
        for full_key, tensor in source.items():
            key = full_key.removeprefix('module.')
            if reason := _reason(self.refused, key):
                raise CheckpointError(f'The file holds {key}: {reason}.')
            if reason := _reason(self.dropped, key):
                result.dropped[key] = reason
                continue
            for rule in self.rules:
                if found := rule.match(key):
                    position, fields = found
                    target = rule.target.format(**fields)
                    parts.setdefault((rule, target), {})[position] = tensor
                    break
            else:
                unknown.append(key)
        if unknown:
            raise CheckpointError(
                f'{len(unknown)} keys are none of this kind of checkpoint: {unknown[:5]}. Fix: '
                'choose the kind that fits the file.'
            )
        for (rule, target), found in parts.items():
            if len(found) < len(rule.sources):
                lacks = [s for n, s in enumerate(rule.sources) if n not in found]
                raise CheckpointError(f'{target} is not whole: {lacks} is missing in the file.')
            tensor = rule.to_target([found[n] for n in range(len(rule.sources))])
            if target in result.state and not result.state[target].equal(tensor):
                raise CheckpointError(f'The file holds two different tensors for {target}.')
            result.state[target] = tensor
        if self.computed:
            result.state |= self.computed(result.state)
        return result

    def revert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a host's weights the keys of the source, with every copy that it stores.

        Raises:
            CheckpointError: If a key of the host has no rule.
        """
        source: dict[str, Tensor] = {}
        for key, tensor in state.items():
            found = [made for rule in self.rules if (made := rule.to_sources(key, tensor))]
            if not found and not (self.derived and key.endswith(self.derived)):
                raise CheckpointError(f'{key} has no place in this kind of checkpoint.')
            for made in found:
                source.update(made)
        return source


def _reason(patterns: Mapping[re.Pattern[str], str], key: str) -> str | None:
    return next((reason for pattern, reason in patterns.items() if pattern.fullmatch(key)), None)


#: Ids that COCO gives its 80 categories: the rows of a head that uses raw ids as labels.
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
_CLASS_KEYS = re.compile(
    r'(.*\.)?(cls_branches\.\d+|cls_embed|label_embedding|head\.layers\.head)\.(weight|bias)'
)


def parse_rows(text: str) -> list[int]:
    """Read numbers and ranges of rows, ``0-155,160``; ``coco`` stands for its 80 category ids.

    Raises:
        ValueError: If it is no such list, or names a row twice.
    """
    rows: list[int] = []
    for part in text.split(','):
        if part == 'coco':
            rows.extend(COCO_IDS)
            continue
        found = re.fullmatch(r'(\d+)(?:-(\d+))?', part.strip())
        if not found:
            raise ValueError(f'{part!r} is no row, no range and not coco. Fix: e.g. coco,91-95')
        rows.extend(range(int(found[1]), int(found[2] or found[1]) + 1))
    if len(set(rows)) < len(rows):
        raise ValueError(f'{text!r} names a row twice. Fix: list every row once')
    return rows


def select_rows(state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Keep rows of the class-indexed tensors under a host's keys, in the order given.

    That of "no object" must be among them where the host has one.

    Raises:
        CheckpointError: If a tensor has no such row, or none is indexed by class.
    """
    selected = dict(state)
    found = [key for key in state if _CLASS_KEYS.fullmatch(key)]
    if not found:
        raise CheckpointError('No tensor is indexed by class. Fix: leave the rows as they are.')
    for key in found:
        if max(rows) >= len(state[key]):
            raise CheckpointError(
                f'{key} has {len(state[key])} rows, none with number {max(rows)}.'
            )
        selected[key] = state[key][list(rows)].clone()
    return selected
