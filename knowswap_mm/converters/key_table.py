"""All rules of one kind of checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from knowswap_mm.converters.conversion import Conversion
from knowswap_mm.converters.key_rule import KeyRule
from knowswap_mm.errors import CheckpointError


class KeyTable:
    """Converts strictly: every key is used or dropped for a stated reason.

    Args:
        rules (Sequence[KeyRule]): The first rule that fits a source key is used. Several rules may
            lead to one key of the host, where the source stores a tensor twice; the copies must be
            equal then.
        dropped (Mapping[str, str]): Regular expressions of keys without a place in the host, and
            why.
        derived (Sequence[str]): Ends of keys that the host computes itself.
    """

    def __init__(
        self,
        rules: Sequence[KeyRule],
        dropped: Mapping[str, str] | None = None,
        derived: Sequence[str] = (),
    ) -> None:
        self.rules, self.derived = list(rules), tuple(derived)
        self.dropped = {re.compile(key): reason for key, reason in (dropped or {}).items()}

    def convert(self, source: Mapping[str, Tensor]) -> Conversion:
        """Rename and change the tensors of a source.

        Args:
            source (Mapping[str, Tensor]): A state dict; a leading ``module.`` is ignored.

        Returns:
            Conversion: Weights under the host's keys.

        Raises:
            CheckpointError: If a key has no rule, a part of a joined tensor is missing, or two
                copies of a tensor differ.
        """
        parts: dict[tuple[KeyRule, str], dict[int, Tensor]] = {}
        result, unknown = Conversion({}), []
        for full_key, tensor in source.items():
            key = full_key.removeprefix('module.')
            if reason := next((r for p, r in self.dropped.items() if p.fullmatch(key)), None):
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
            if target in result.state and not torch.equal(result.state[target], tensor):
                raise CheckpointError(f'The file holds two different tensors for {target}.')
            result.state[target] = tensor
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
