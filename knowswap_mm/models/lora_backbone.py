"""A backbone with adapters, for any host config."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS as HOST_MODELS
from torch import Tensor, nn

from knowswap_mm.lora import HostStateDict, LoRAInjector
from knowswap_mm.registry import MODELS


@MODELS.register_module()
class LoRABackbone(BaseModule):
    """Slot-in for ``backbone`` in an ordinary host config: the same backbone with LoRA adapters.

    Only the adapters require gradients. Plain checkpoints of the host load as they are.

    Args:
        backbone (dict): Config of the backbone, e.g. a ViT or a Swin transformer.
        lora (dict | None): Arguments of :class:`LoRAInjector`.

    Raises:
        ConfigError: If the LoRA targets match nothing.
    """

    def __init__(self, backbone: dict[str, Any], lora: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.backbone = HOST_MODELS.build(backbone)
        self.backbone.init_weights()
        self.backbone.requires_grad_(False)
        LoRAInjector(**(lora or {})).inject(self.backbone)
        self._host_keys = HostStateDict(self, 'backbone.')
        self.register_load_state_dict_pre_hook(self._fit_state_dict)

    def init_weights(self) -> None:
        """Do nothing: the backbone was initialised when it was built."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the backbone."""
        return self.backbone(*args, **kwargs)

    def _fit_state_dict(
        self, module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        self._host_keys.translate(state_dict, prefix)
