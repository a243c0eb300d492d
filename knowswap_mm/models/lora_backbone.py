"""A backbone with adapters, for any host config."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS as HOST_MODELS
from torch import Tensor, nn

from knowswap_mm.checks import check_mapping
from knowswap_mm.lora import HostStateDict, LoRAInjector
from knowswap_mm.models.foreign_code import closed_to_foreign_code, no_foreign_code
from knowswap_mm.models.host_state import prepare_state
from knowswap_mm.models.trainable import keep_trainable
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

    #: Where config and module have what is left without this package.
    plain_part = 'backbone'

    @closed_to_foreign_code('model.host.backbone.backbone', 'backbone')
    def __init__(self, backbone: dict[str, Any], lora: dict[str, Any] | None = None) -> None:
        super().__init__()
        check_mapping('model.host.backbone.backbone', backbone, "dict(type='VisionTransformer')")
        self._config = copy.deepcopy(backbone)
        self.backbone = HOST_MODELS.build(backbone)
        prepare_state(self.backbone, 'model.host.backbone.backbone')
        self.backbone.requires_grad_(False)
        self._injector = LoRAInjector.from_config({} if lora is None else lora)
        self._injector.inject(self.backbone)
        self._host_keys = HostStateDict(self, 'backbone.')
        self.register_load_state_dict_pre_hook(self._fit_state_dict)

    def init_weights(self) -> None:
        """Initialise the backbone as its own config says, and the adapters as LoRA says.

        The host calls this after it applied its ``init_cfg`` to all its layers, adapters included.
        A plain twin is initialised in place of the backbone: ``init_cfg`` may name a pretrained
        file, whose keys fit a backbone without adapters only.
        """
        with no_foreign_code('model.host.backbone.backbone', self._config):
            plain = HOST_MODELS.build(copy.deepcopy(self._config))
            plain.init_weights()
        self.load_state_dict(plain.state_dict())
        self._injector.initialise(self.backbone)

    def train(self, mode: bool = True) -> LoRABackbone:
        """Set the mode; the adapters train, whatever the backbone's ``train()`` freezes."""
        with keep_trainable(self, mode):
            return super().train(mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the backbone."""
        return self.backbone(*args, **kwargs)

    def _fit_state_dict(
        self, module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        self._host_keys.translate(state_dict, prefix)
