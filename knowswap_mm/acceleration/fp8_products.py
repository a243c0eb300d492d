"""Products with frozen weights in eight bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.acceleration import Acceleration, compute_dtype, mixed_class
from knowswap_mm.acceleration.class_token_only import ClassTokenBlock
from knowswap_mm.acceleration.compiled_blocks import CompiledBlock
from knowswap_mm.acceleration.fused_window_attention import FrozenCache
from knowswap_mm.acceleration.lean_lora import PLAIN_LINEARS, LeanLoRALinear
from knowswap_mm.checks import check_flag
from knowswap_mm.compat import NoticesNewWeights, has_hooks, scaled_product
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import ACCELERATIONS

FP8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(FP8).max
#: A row of zeros has a scale all the same.
_SMALLEST = 1e-12
#: What the matrix units ask of both sides of a weight.
_MULTIPLE = 16
_CAPABILITY = (8, 9)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows to eight bits, each with a scale of its own.

    It is written for a compiler, which does it in the kernel that writes ``x``.

    Args:
        x (Tensor): ``(N, M)``.

    Returns:
        tuple[Tensor, Tensor]: ``(N, M)`` in :data:`FP8`, and what to multiply it with, ``(N, 1)``
        in fp32.
    """
    x = x.float()
    scale = x.abs().amax(1, keepdim=True).clamp_min(_SMALLEST) / _LARGEST
    return (x * scale.reciprocal()).to(FP8), scale


@torch.library.custom_op(
    'knowswap_mm::fp8_linear',
    mutates_args=(),
    schema='(Tensor x, Tensor x8, Tensor x_scale, Tensor w8, Tensor w_scale, Tensor back8, '
    'Tensor back_scale, Tensor? bias, Tensor? a, Tensor? b) -> (Tensor, Tensor)',
)
def fp8_linear(
    x: Tensor,
    x8: Tensor,
    x_scale: Tensor,
    w8: Tensor,
    w_scale: Tensor,
    back8: Tensor,
    back_scale: Tensor,
    bias: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`x W^T + c + (x A^T) B^T`, the first product in eight bits.

    Args:
        x (Tensor): Rows, ``(N, in)``; it gets the gradient.
        x8 (Tensor): The same from :func:`quantise_rows`, and ``x_scale``.
        x_scale (Tensor): ``(N, 1)``.
        w8 (Tensor): Frozen weight W by :func:`quantise_rows`, ``(out, in)``.
        w_scale (Tensor): ``(out, 1)``.
        back8 (Tensor): Its transpose by :func:`quantise_rows`, ``(in, out)``, for the gradient.
        back_scale (Tensor): ``(in, 1)``.
        bias (Tensor | None): Frozen bias c, ``(out,)``, in the type of ``x``.
        a (Tensor | None): Matrix A, ``(rank, in)``, in the type of ``x``.
        b (Tensor | None): Matrix B, ``(out, rank)``, its scale folded in.

    Returns:
        tuple[Tensor, Tensor]: Rows, ``(N, out)``, and :math:`x A^T`, ``(N, rank)``, which the
        backward pass uses again; empty without A.
    """
    with torch.autocast(x.device.type, enabled=False):
        out = _multiply(x8, x_scale, w8, w_scale, bias, x.dtype)
        if a is None or b is None:
            return out, x.new_empty(len(x), 0)
        low = x @ a.t()
        return out.addmm_(low, b.t()), low


def _multiply(
    x8: Tensor,
    x_scale: Tensor,
    w8: Tensor,
    w_scale: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    if x8.is_cuda:
        return scaled_product(x8.contiguous(), x_scale, w8.t(), w_scale.view(1, -1), bias, dtype)
    out = (x8.float() @ w8.float().t()) * x_scale * w_scale.view(1, -1)
    return (out if bias is None else out + bias).to(dtype)


@fp8_linear.register_fake
def _(x: Tensor, x8: Any, x_scale: Any, w8: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    a = others[-2]
    return x.new_empty(len(x), len(w8)), x.new_empty(len(x), 0 if a is None else len(a))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep nothing of the activations but what the gradients of A and B are made of."""
    x, _, _, w8, w_scale, back8, back_scale, _, a, b = inputs
    ctx.set_materialize_grads(False)
    ctx.adapts = a is not None
    learns = ctx.adapts and (ctx.needs_input_grad[8] or ctx.needs_input_grad[9])
    adapter = (a, b) if ctx.adapts else ()
    ctx.save_for_backward(
        w8, w_scale, back8, back_scale, *adapter, *((x, output[1]) if learns else ())
    )


def _backward(
    ctx: Any, gradient: Tensor | None, of_low: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Compute the gradients of x, A and B; that of x by the same operator, with the transpose."""
    w8, w_scale, back8, back_scale, *kept = ctx.saved_tensors
    a, b = kept[:2] if ctx.adapts else (None, None)
    of_x, of_a, of_b = (ctx.needs_input_grad[place] for place in (0, 8, 9))
    dx = da = db = None
    if gradient is not None:
        with torch.autocast(gradient.device.type, enabled=False):
            up = None
            if of_x:
                back = (None, None) if a is None else (b.t(), a.t())
                eight = quantise_rows(gradient)
                dx, up = fp8_linear(gradient, *eight, back8, back_scale, w8, w_scale, None, *back)
            elif of_a:
                up = gradient @ b
            if of_a:
                da = up.t() @ kept[2]
            if of_b:
                db = gradient.t() @ kept[3]
    return dx, *[None] * 7, da, db


fp8_linear.register_autograd(_backward, setup_context=_keep)


class _EightBits(NoticesNewWeights):
    """Mixin of linear layers with a frozen weight, which :meth:`quantise` rounds when it changed.

    The rounded weight is no buffer, and no part of copies or of what is saved.
    """

    _frozen_cache: FrozenCache
    _eight: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
    _everywhere = False

    @property
    def frozen(self) -> nn.Module:
        """The layer that has weight and bias."""
        return self

    def quantise(self) -> None:
        """Round the weight, unless that was done; a weight that trains is not rounded."""
        weight = self.frozen.weight

        def rounded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
            return *quantise_rows(weight), *quantise_rows(weight.t().contiguous())

        fits = not weight.requires_grad and not any(side % _MULTIPLE for side in weight.shape)
        self._eight = self._frozen_cache.get((weight,), FP8, rounded) if fits else None

    def rounds(self, x: Tensor) -> bool:
        """Whether the product with ``x`` is to be made in eight bits."""
        return (
            self._eight is not None
            and self.training
            and (torch.compiler.is_compiling() or self._everywhere)
            and compute_dtype(x, self.frozen.weight) == torch.bfloat16
        )

    def multiply(
        self, x: Tensor, bias: Tensor | None, a: Tensor | None = None, b: Tensor | None = None
    ) -> Tensor:
        """Multiply rows in bf16, ``(N, in)``; A and B as in :func:`fp8_linear`."""
        return fp8_linear(x, *quantise_rows(x.detach()), *self._eight, bias, a, b)[0]

    def weights_change(self) -> None:
        """Forget what was made of the weight."""
        self._frozen_cache.clear()
        self._eight = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop('_eight', None)
        return state


class Fp8Linear(_EightBits):
    """Mixin of frozen linear layers."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer of ``(..., in)``."""
        bias = self.bias
        if not self.rounds(x) or (bias is not None and bias.requires_grad):
            return super().forward(x)
        rows = x.to(torch.bfloat16).reshape(-1, x.shape[-1])
        out = self.multiply(rows, None if bias is None else bias.to(rows.dtype))
        return out.reshape(*x.shape[:-1], -1)


class Fp8LoRALinear(_EightBits, LeanLoRALinear):
    """LoRA linear layers whose frozen part is multiplied in eight bits, the adapter in bf16."""

    @property
    def frozen(self) -> nn.Module:
        """The layer beneath the adapters."""
        return self.base_layer

    def product(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
    ) -> Tensor:
        """Multiply rows with the frozen weight and the adapters."""
        if self.rounds(x):
            return self.multiply(x, bias, a, b)
        return super().product(x, weight, bias, a, b)


class Fp8Block(nn.Module):
    """Mixin of blocks with such layers: their weights are rounded before compiled code runs."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the block computes, of the same arguments."""
        if self.training and not torch.compiler.is_compiling():
            for module in self.modules():
                if isinstance(module, _EightBits):
                    module.quantise()
        return super().forward(*args, **kwargs)


def missing_hardware() -> str | None:
    """Why this machine has no products in eight bits; None if it has."""
    if not torch.cuda.is_available() or torch.version.hip:
        return 'PyTorch sees no GPU of NVIDIA'
    found = torch.cuda.get_device_capability()
    if found < _CAPABILITY:
        shown = '{} has compute capability {}.{}'.format(torch.cuda.get_device_name(), *found)
        return f'{shown}, and it takes {_CAPABILITY[0]}.{_CAPABILITY[1]} (Ada, Hopper or newer)'
    return None


_BLOCK = 'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer'


@ACCELERATIONS.register_module()
class Fp8Products(Acceleration):
    """Rounds frozen weights, and what they are multiplied with, to eight bits: in training, bf16.

    For the compiled blocks of a ViT on a GPU with such matrix units (compute capability 8.9 or
    more); elsewhere it says so once and changes nothing. Linear layers without an adapter, and what
    lies beneath the adapters of ``LeanLoRA``, multiply e4m3 numbers forward and in the gradient of
    the input, a scale a row (of tokens; of weights once, along both sides). Adapters, norms,
    softmax and losses stay as they are, and so does evaluation. It changes numbers far more than
    the others do: products have 4 significant bits. Name it behind ``LeanLoRA`` and
    ``CompiledBlocks``, before ``GraphedBackbone``.

    Args:
        emulate (bool): Whether to compute the same roundings with ordinary products, on any device
            and without a compiler: slow, to try what they do to a training.

    Raises:
        ConfigError: If ``emulate`` is no flag, or no block is compiled.
    """

    mixin = Fp8Block

    def __init__(self, emulate: bool = False) -> None:
        check_flag('model.accelerations.Fp8Products.emulate', emulate)
        self.emulate = emulate

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The blocks, but for one that computes a single token, where the hardware is there."""
        blocks = [
            module
            for module in host.modules()
            if not isinstance(module, (Fp8Block, ClassTokenBlock))
            and any(f'{k.__module__}.{k.__qualname__}' == _BLOCK for k in type(module).__mro__)
        ]
        if not blocks or self.emulate:
            return blocks
        if not all(isinstance(block, CompiledBlock) for block in blocks):
            fix = "name 'CompiledBlocks' before it"
            problem = 'products in eight bits pay in compiled blocks alone'
            raise ConfigError('model.accelerations', 'Fp8Products', problem, fix)
        if reason := missing_hardware():
            warnings.warn(
                f'Fp8Products is left out, products stay in bf16: {reason}. Fix: leave it out of '
                'model.accelerations, or run on another GPU.',
                stacklevel=2,
            )
            return []
        return blocks

    def change(self, module: nn.Module) -> None:
        """Change the class of a block and of its linear layers."""
        for linear in _linears(module):
            linear._frozen_cache, linear._everywhere = FrozenCache(), self.emulate
            if type(linear) is LeanLoRALinear:
                linear.__class__ = Fp8LoRALinear
            else:
                linear.__class__ = mixed_class(Fp8Linear, type(linear))
        super().change(module)


def _linears(module: nn.Module) -> Iterator[nn.Module]:
    """Linear layers of ordinary classes, without what lies in those with an adapter."""
    for child in module.children():
        if type(child) is LeanLoRALinear or type(child) in PLAIN_LINEARS:
            if not has_hooks(child):
                yield child
        elif not hasattr(child, 'base_layer'):
            yield from _linears(child)
