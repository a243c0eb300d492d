"""A linear with LoRA adapters that moves little memory."""

from __future__ import annotations

from typing import Any

import mmcv.cnn
import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.compute_dtype import compute_dtype
from knowswap_mm.acceleration.low_rank_linear import low_rank_linear

#: Linears whose forward is one matrix product.
PLAIN_LINEARS = (nn.Linear, mmcv.cnn.Linear)


class LeanLoRALinear(lora.Linear):
    """peft's linear, with a forward pass in the type of autocast.

    peft's own casts its input to the type of the adapter, which under autocast is a copy in fp32
    of the whole activation, made only to be cast back; scales the output of B and adds it to that
    of the base by passes of their own; and does the same for the gradients. Here the scale is
    folded into B, and all adapters without active dropout are one low-rank part of
    :func:`low_rank_linear`. Whatever is not an ordinary LoRA on an ordinary frozen linear (merged
    or disabled adapters, variants, a bias in B, hooks on inner layers, ...) is left to peft.

    It has no state of its own: a ``lora.Linear`` becomes one by a change of its class.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the base and its active adapters.

        Args:
            x (Tensor): Input, ``(..., in)``.
            *args: For the base layer; peft's forward takes over if there are any.
            **kwargs: Likewise.

        Returns:
            Tensor: Output, ``(..., out)``, in the type of autocast, or of ``x`` outside of it.
        """
        names = [name for name in self.active_adapters if name in self.lora_A]
        dtype = compute_dtype(x, self.base_layer.weight)
        if args or kwargs or dtype is None or not self._is_ordinary(x, names):
            return super().forward(x, *args, **kwargs)
        weight, bias = self._base_weights(dtype)
        rows = x.to(dtype).reshape(-1, x.shape[-1])
        dropping = [name for name in names if self._drops(name)]
        steady = [name for name in names if name not in dropping]
        if steady:
            out = low_rank_linear(rows, weight, bias, *self._matrices(steady, dtype))[0]
        else:
            out = F.linear(rows, weight, bias)
        for name in dropping:
            a, b = self._matrices([name], dtype)
            low = F.linear(self.lora_dropout[name](rows), a)
            out = torch.addmm(out, low, b.t())
        # Not `view`: an activation that acts in place on a view makes autograd copy the whole
        # gradient three times (mmcv's FFN has such a ReLU).
        return torch.ops.aten._unsafe_view(out, [*x.shape[:-1], out.shape[-1]])

    def _is_ordinary(self, x: Tensor, names: list[str]) -> bool:
        """Whether the output is that of a frozen linear plus products with A and B."""
        base = self.base_layer
        unusual = (
            not names
            or self.disable_adapters
            or self.merged_adapters
            or self.lora_variant
            or x.dim() < 2
            or base.weight.requires_grad
            or (base.bias is not None and base.bias.requires_grad)
            or torch.jit.is_tracing()
        )
        if unusual or type(base) not in PLAIN_LINEARS or _has_hooks(base):
            return False
        return not any(self.lora_bias.get(name) for name in names) and all(
            type(linear) is nn.Linear and not _has_hooks(linear)
            for name in names
            for linear in (self.lora_A[name], self.lora_B[name])
        )

    def _base_weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.base_layer.weight, self.base_layer.bias
        return weight.to(dtype), None if bias is None else bias.to(dtype)

    def _drops(self, name: str) -> bool:
        dropout = self.lora_dropout[name]
        return not isinstance(dropout, nn.Identity) and dropout.training

    def _matrices(self, names: list[str], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and scaled B of several adapters, as one of the sum of their ranks."""
        a = [self.lora_A[name].weight for name in names]
        b = [self.lora_B[name].weight * self.scaling[name] for name in names]
        if len(names) == 1:
            return a[0].to(dtype), b[0].to(dtype)
        return torch.cat(a).to(dtype), torch.cat(b, dim=1).to(dtype)


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
