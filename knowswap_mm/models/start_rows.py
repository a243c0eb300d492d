"""The class-indexed tensors of a host as they were before the swap."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from torch import Tensor, nn


class StartRows(nn.Module):
    """Remembers the head with which a swap began, in every checkpoint of it.

    The frozen weights beneath the adapters never change, but class rows may train: with these
    tensors the model before the swap can be had back bit by bit, also from a checkpoint.

    Args:
        tensors (dict[str, Tensor]): Full name in the host, and the tensor.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(_buffer(name), tensor.detach().clone())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by their name in the host."""
        return {name.replace('/', '.'): tensor for name, tensor in self.named_buffers()}

    @staticmethod
    def record(
        state_dict: MutableMapping[str, Tensor], names: Iterable[str], host: str, own: str
    ) -> None:
        """Let the weights of a host that are about to be loaded be the start.

        Args:
            state_dict (MutableMapping[str, Tensor]): The weights; entries are added.
            names (Iterable[str]): Names of the class-indexed tensors.
            host (str): Prefix of the host's keys.
            own (str): Prefix of this module's keys.
        """
        for name in names:
            if host + name in state_dict:
                state_dict[own + _buffer(name)] = state_dict[host + name]


def _buffer(name: str) -> str:
    return name.replace('.', '/')  # torch allows no dots in the name of a buffer
