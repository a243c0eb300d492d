"""A registry of this package alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.registry import Registry


class OwnRegistry(Registry):
    """A registry without a counterpart in mmengine or the hosts.

    mmengine looks for one in the host whose scope is the default, and warns that there is none.
    """

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Stay here, whatever the scope."""
        yield self
