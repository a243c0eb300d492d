"""Swin's window attention in one kernel."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.compat import NoticesNewWeights, version_of
from knowswap_mm.registry import ACCELERATIONS

# CUDA's kernels read a bias whose rows begin at multiples of 16 numbers; torch would pad a copy of
# it at every call.
_ROW = 16
# Windows, and windows times heads, are dimensions of a CUDA grid.
_LIMIT = 65535


class FrozenCache:
    """Keeps one value that is made of frozen tensors, and makes it again when they changed.

    A change is noticed by the address and the version counter of the tensors. Writing through
    ``tensor.data`` moves neither; whoever does so calls :meth:`clear`, or increments the version.

    The value is no part of anything that is saved: copies and pickles of a cache are empty.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenCache:
        return FrozenCache()

    def __reduce__(self) -> tuple[type[FrozenCache], tuple[()]]:
        return FrozenCache, ()

    def clear(self) -> None:
        """Forget the value."""
        self._key = self._value = None

    def get(self, tensors: Sequence[Tensor], dtype: torch.dtype, make: Callable[[], Any]) -> Any:
        """Return the value, made of frozen tensors of any shapes, in a type; compute it if needed.

        ``make`` computes it, without gradients and outside of autocast. One value is kept, for the
        type that was asked for last.
        """
        if any(tensor.is_inference() for tensor in tensors):
            return self._made(tensors, make)  # they have no version
        key = (dtype, *((tensor.data_ptr(), version_of(tensor)) for tensor in tensors))
        if key != self._key:
            self._value = self._made(tensors, make)
            self._key = key
        return self._value

    @staticmethod
    def _made(tensors: Sequence[Tensor], make: Callable[[], Any]) -> Any:
        # A tensor made in inference mode could not be used in training later on.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(tensors[0].device.type, enabled=False),
        ):
            return make()


class FusedWindowMSA(NoticesNewWeights):
    """Mixin of the hosts' ``WindowMSA``: attention without its matrix of weights in memory.

    The hosts write the products of queries and keys, add the bias of relative positions and the
    mask of shifted windows, take the softmax (under autocast all of it in fp32), and multiply with
    the values, each by a pass over a tensor of ``tokens ** 2`` numbers a head and window, and keep
    it for the backward pass. Here torch's scaled dot-product attention does it at once, with bias
    and mask in one tensor. The bias, frozen in a swap, is gathered once. Where it trains, the
    host's own forward runs: a fused gradient of the bias would be as large as that matrix.

    The cache of the bias is emptied where weights are replaced: when a state dict is loaded, when
    the module is moved or cast, and when its mode changes, because hooks that exchange weights for
    an evaluation write through ``tensor.data``.
    """

    _frozen_cache: FrozenCache

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute attention inside windows.

        Args:
            x (Tensor): Tokens, ``(images * windows, tokens, channels)``; the output has this shape.
            mask (Tensor | None): What is added to the products in shifted windows,
                ``(windows, tokens, tokens)``.
        """
        count, tokens, channels = x.shape
        windows = 1 if mask is None else len(mask)
        trains = self.relative_position_bias_table.requires_grad and torch.is_grad_enabled()
        if trains or max(count, windows * self.num_heads) > _LIMIT or torch.jit.is_tracing():
            return super().forward(x, mask)
        qkv = self.qkv(x)
        bias = self._bias(qkv.dtype)
        if mask is not None:
            padded = F.pad(mask.to(qkv.dtype), (0, bias.shape[-1] - tokens))
            bias = bias + padded[:, None]
        bias = bias[..., :tokens]
        # One bias serves all images if the windows of an image stand where heads do. With one
        # image, or one bias for all windows, they may stand where images do, and no copy of
        # queries, keys and values is needed.
        folded = windows > 1 and count > windows
        if folded:
            split = qkv.view(-1, windows, tokens, 3, self.num_heads, channels // self.num_heads)
            q, k, v = split.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
            bias = bias.flatten(0, 1)[None]
        else:
            split = qkv.view(count, tokens, 3, self.num_heads, channels // self.num_heads)
            q, k, v = (part.transpose(1, 2) for part in split.unbind(2))
        dropout = self.attn_drop.p if self.attn_drop.training else 0.0
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, scale=self.scale
        )
        if folded:
            out = out.unflatten(1, (windows, self.num_heads)).flatten(0, 1)
        out = out.transpose(1, 2).reshape(count, tokens, channels)
        return self.proj_drop(self.proj(out))

    def _bias(self, dtype: torch.dtype) -> Tensor:
        """Bias of relative positions, ``(1, heads, tokens, padded tokens)``; kept, if frozen."""
        table, index = self.relative_position_bias_table, self.relative_position_index

        def gather() -> Tensor:
            bias = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1).to(dtype)
            return F.pad(bias, (0, -len(index) % _ROW)).contiguous()[None]

        # A compiled graph cannot ask for addresses and versions.
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if not tracing and not table.requires_grad:
            return self._frozen_cache.get((table, index), dtype, gather)
        return gather()

    def train(self, mode: bool = True) -> FusedWindowMSA:
        """Set the mode."""
        if mode != self.training:
            self._frozen_cache.clear()
        return super().train(mode)

    def weights_change(self) -> None:
        """Forget what was made of the weights."""
        self._frozen_cache.clear()


#: Where the hosts have their ``WindowMSA``; they differ in names of arguments only.
_ATTENTIONS = (
    'mmpretrain.models.utils.attention.WindowMSA',
    'mmdet.models.backbones.swin.WindowMSA',
    'mmseg.models.backbones.swin.WindowMSA',
)


@ACCELERATIONS.register_module()
class FusedWindowAttention(Acceleration):
    """Makes the window attentions of Swin transformers :class:`FusedWindowMSA`.

    In fp32 the numbers differ by the order of sums. Under autocast the bias is rounded to half
    precision, where the hosts round the products of queries and keys. The cosine attention of
    Swin v2 and subclasses of the hosts stay as they are.
    """

    mixin = FusedWindowMSA

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The window attentions."""
        return exact_modules(host, *_ATTENTIONS)

    def change(self, module: nn.Module) -> None:
        """Change the class of an attention, which gets a cache."""
        super().change(module)
        module._frozen_cache = FrozenCache()
