"""LoRA linears that move little memory."""

from __future__ import annotations

from peft.tuners import lora
from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.lean_lora_linear import LeanLoRALinear
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class LeanLoRA(Acceleration):
    """Makes peft's LoRA linears :class:`LeanLoRALinear`.

    In fp32 the numbers differ by the order of sums; under autocast by fewer roundings, since base
    and adapter are summed before the result is rounded. Layers of another class (convolutions,
    quantized linears) stay as they are.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's LoRA linears.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Linears that were changed.
        """
        linears = [m for m in host.modules() if type(m) is lora.Linear and not m.fan_in_fan_out]
        for linear in linears:
            linear.__class__ = LeanLoRALinear
        return len(linears)
