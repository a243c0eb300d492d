"""LoRA linear layers that move little memory."""

from __future__ import annotations

from typing import Any

import mmcv.cnn
import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.acceleration import Acceleration, compute_dtype
from knowswap_mm.compat import has_hooks, reshaped
from knowswap_mm.registry import ACCELERATIONS

# Numbers in a row of what matrix units read; with another count, products take slower ways.
_ALIGNED = 8


@torch.library.custom_op(
    'knowswap_mm::low_rank_linear',
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor? bias, Tensor a, Tensor b) -> (Tensor, Tensor)',
)
def low_rank_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`x W^T + c + (x A^T) B^T` with little memory traffic.

    The output and the gradient of the input are each written by one large product. Where the output
    is the wider side, :math:`x A^T` stands beside a copy of x, and B beside W, so that the large
    product adds the small one; elsewhere the small product is added in place, which then moves less
    memory than that copy. Composed of ordinary operations, each of the two would be copied or
    summed by passes of its own. It is an operator of torch because compilers take it as it is: they
    would turn the addition in place into a copy (and torch 2.11 lost the gradient at it).

    Args:
        x (Tensor): Rows, ``(N, in)``; all tensors have one type.
        weight (Tensor): Frozen weight W, ``(out, in)``; it gets no gradient.
        bias (Tensor | None): Frozen bias c, ``(out,)``; it gets no gradient.
        a (Tensor): Matrix A, ``(rank, in)``.
        b (Tensor): Matrix B, ``(out, rank)``, its scale folded in.

    Returns:
        tuple[Tensor, Tensor]: Rows, ``(N, out)``, and their low-rank part :math:`x A^T`,
        ``(N, rank)``, which the backward pass uses again.
    """
    # A backward pass inside of autocast would round gradients that are not to be rounded.
    with torch.autocast(x.device.type, enabled=False):
        low = x @ a.t()
        if _widens(x, weight):
            padding = -(x.shape[1] + len(a)) % _ALIGNED
            wide = torch.cat([x, low, x.new_zeros(len(x), padding)], 1)
            out = F.linear(wide, _beside(weight, b, b.new_zeros(len(b), padding)), bias)
        else:
            out = F.linear(x, weight, bias).addmm_(low, b.t())
        return out, low


def _widens(x: Tensor, weight: Tensor) -> bool:
    """Whether a copy of the input is cheaper than another pass over the output.

    Reading and writing x costs ``2 N in``, the output ``2 N out``; the copy of W, ``2 in out``, is
    to be nothing beside them.
    """
    return 2 * weight.shape[1] <= weight.shape[0] and len(x) >= 4 * weight.shape[1]


def _beside(*matrices: Tensor) -> Tensor:
    """Matrices side by side, with the memory format of the first."""
    if matrices[0].is_contiguous():
        return torch.cat(matrices, 1)
    return torch.cat([matrix.t() for matrix in matrices]).t()


@low_rank_linear.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], weight.shape[0]), x.new_empty(x.shape[0], a.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what gradients are made of: nothing of the activations if A and B are frozen."""
    x, weight, _, a, b = inputs
    ctx.set_materialize_grads(False)
    learns = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
    ctx.save_for_backward(weight, a, b, *((x, output[1]) if learns else ()))


def _backward(
    ctx: Any, gradient: Tensor | None, of_low: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Compute the gradients of x, A and B; ``of_low`` is there in second derivatives only."""
    weight, a, b, *kept = ctx.saved_tensors
    of_x, _, _, of_a, of_b = ctx.needs_input_grad
    dx = da = db = up = None
    with torch.autocast(weight.device.type, enabled=False):
        if gradient is not None and of_x:
            dx, up = low_rank_linear(gradient, weight.t(), None, b.t(), a.t())
        elif gradient is not None and of_a:
            up = gradient @ b
        if of_low is not None:
            up = of_low if up is None else up + of_low
            if of_x:
                dx = of_low @ a if dx is None else dx + of_low @ a
        if of_a and up is not None:
            da = up.t() @ kept[0]
        if of_b and gradient is not None:
            db = gradient.t() @ kept[1]
    return dx, None, None, da, db


low_rank_linear.register_autograd(_backward, setup_context=_keep)


#: Linear layers whose forward is one matrix product.
PLAIN_LINEARS = (nn.Linear, mmcv.cnn.Linear)


class LeanLoRALinear(lora.Linear):
    """peft's linear layer, with a forward pass in the type of autocast.

    peft's own casts its input to the type of the adapter, which under autocast is a copy in fp32
    of the whole activation, made only to be cast back; scales the output of B and adds it to that
    of the base by passes of their own; and does the same for the gradients. Here the scale is
    folded into B, and all adapters without active dropout are one low-rank part of
    :func:`low_rank_linear`. Whatever is not an ordinary LoRA on an ordinary frozen linear layer
    (merged or disabled adapters, variants, a bias in B, hooks on inner layers, ...) is left to
    peft.

    It has no state of its own: a ``lora.Linear`` becomes one by a change of its class.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the base and its active adapters; further arguments are left to peft.

        The input is ``(..., in)``, the output ``(..., out)`` in the type of autocast, or of ``x``
        outside of it.
        """
        names = [name for name in self.active_adapters if name in self.lora_A]
        dtype = compute_dtype(x, self.base_layer.weight)
        if args or kwargs or dtype is None or not self._is_ordinary(x, names):
            return super().forward(x, *args, **kwargs)
        weight, bias = self.base_layer.weight.to(dtype), self.base_layer.bias
        bias = None if bias is None else bias.to(dtype)
        rows = x.to(dtype).reshape(-1, x.shape[-1])
        dropouts = self.lora_dropout
        dropping = [
            name
            for name in names
            if not isinstance(dropouts[name], nn.Identity) and dropouts[name].training
        ]
        steady = [name for name in names if name not in dropping]
        if steady:
            out = low_rank_linear(rows, weight, bias, *self._matrices(steady, dtype))[0]
        else:
            out = F.linear(rows, weight, bias)
        for name in dropping:
            a, b = self._matrices([name], dtype)
            out = torch.addmm(out, F.linear(dropouts[name](rows), a), b.t())
        # Not `view`: an activation that acts in place on a view makes autograd copy the whole
        # gradient three times (mmcv's FFN has such a ReLU).
        return reshaped(out, [*x.shape[:-1], out.shape[-1]])

    def _is_ordinary(self, x: Tensor, names: list[str]) -> bool:
        """Whether the output is that of a frozen linear layer plus products with A and B."""
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
        if unusual or type(base) not in PLAIN_LINEARS or has_hooks(base):
            return False
        return not any(self.lora_bias.get(name) for name in names) and all(
            type(linear) is nn.Linear and not has_hooks(linear)
            for name in names
            for linear in (self.lora_A[name], self.lora_B[name])
        )

    def _matrices(self, names: list[str], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and scaled B of several adapters, as one of the sum of their ranks."""
        a = [self.lora_A[name].weight for name in names]
        b = [self.lora_B[name].weight * self.scaling[name] for name in names]
        if len(names) == 1:
            return a[0].to(dtype), b[0].to(dtype)
        return torch.cat(a).to(dtype), torch.cat(b, dim=1).to(dtype)


@ACCELERATIONS.register_module()
class LeanLoRA(Acceleration):
    """Makes peft's LoRA linear layers :class:`LeanLoRALinear`.

    In fp32 the numbers differ by the order of sums; under autocast by fewer roundings, since base
    and adapter are summed before the result is rounded. Layers of another class (convolutions,
    quantized linear layers) stay as they are.
    """

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The LoRA linear layers of peft's own class."""
        return [m for m in host.modules() if type(m) is lora.Linear and not m.fan_in_fan_out]

    def change(self, module: nn.Module) -> None:
        """Change the class, which has no state of its own."""
        module.__class__ = LeanLoRALinear
