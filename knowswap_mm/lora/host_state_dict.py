"""Reading plain host weights into a model with adapters and an enlarged head."""

from __future__ import annotations

import re
from collections.abc import MutableMapping

from torch import Tensor, nn

from knowswap_mm.lora.lora_injector import lora_layers

_ADAPTER_KEY = re.compile(r'\.lora_(A|B|embedding_A|embedding_B)\.')


class HostStateDict:
    """Translates the keys of a plain host checkpoint into those of the adapted model.

    Args:
        model (nn.Module): The adapted model.
        prefix (str): Where the host sits inside it, e.g. ``host.``; empty for the model itself.
    """

    def __init__(self, model: nn.Module, prefix: str = '') -> None:
        self.model = model
        self.prefix = prefix

    def translate(self, state_dict: MutableMapping[str, Tensor], outer: str = '') -> None:
        """Rewrite the keys of a plain host checkpoint in place.

        Adds the host's prefix unless the keys have it, renames ``X.weight`` to
        ``X.base_layer.weight`` where X carries an adapter, and, if the checkpoint holds no adapter
        at all, fills in the adapters' tensors with their present values, so that a strict load
        accepts exactly the host's keys. A checkpoint with adapters keeps its keys. What the model
        holds beside the host keeps its values under a plain checkpoint, too.

        Args:
            state_dict (MutableMapping[str, Tensor]): The weights to be loaded.
            outer (str): Prefix of the model itself, as state-dict hooks receive it.
        """
        keys = [key for key in state_dict if key.startswith(outer)]
        adapted = {self.prefix + name for name, _ in lora_layers(self._host())}
        # A swapper around a model with adapters may have filled those in already, hence the `not`.
        inside = [key for key in keys if key.startswith(outer + self.prefix)]
        whole = bool(self.prefix) and any(not is_adapter_key(key) for key in inside)
        for key in keys:
            inner = key[len(outer) :]
            if not whole and not inner.startswith(self.prefix):
                inner = self.prefix + inner
            module, _, leaf = inner.rpartition('.')
            if module in adapted:
                inner = f'{module}.base_layer.{leaf}'
            if outer + inner != key:
                state_dict[outer + inner] = state_dict.pop(key)
        without_adapters = not any(is_adapter_key(key) for key in keys)
        for name, tensor in self.model.state_dict().items():
            beside = not whole and not name.startswith(self.prefix)
            if beside or (without_adapters and is_adapter_key(name)):
                state_dict[outer + name] = tensor

    def _host(self) -> nn.Module:
        return self.model.get_submodule(self.prefix.rstrip('.')) if self.prefix else self.model


def is_adapter_key(key: str) -> bool:
    """Whether a state-dict key names a LoRA matrix."""
    return bool(_ADAPTER_KEY.search(key))


def plain_key(key: str) -> str:
    """Key of the same tensor in a model without adapters."""
    return key.replace('.base_layer.', '.')
