"""ViT's attention without copies of queries, keys and values."""

from __future__ import annotations

from torch import Tensor, nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS


class PackedMultiheadAttention(nn.Module):
    """Mixin of mmpretrain's ``MultiheadAttention``: the gradient of ``qkv`` is written once.

    The host takes queries, keys and values by three indices. In the backward pass each of them
    fills a tensor as large as all three with zeros and its own part, and the three are summed:
    about ten times the memory traffic of one ``unbind``, which writes them side by side.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute attention: ``(images, tokens, channels)`` to ``(images, tokens, embed_dims)``."""
        if self.v_shortcut:
            return super().forward(x)
        images, tokens, _ = x.shape
        split = self.qkv(x).view(images, tokens, 3, self.num_heads, self.head_dims)
        query, key, value = (part.transpose(1, 2) for part in split.unbind(2))
        dropout = self.attn_drop if self.training else 0.0
        out = self.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        out = out.transpose(1, 2).reshape(images, tokens, self.embed_dims)
        return self.out_drop(self.gamma1(self.proj_drop(self.proj(out))))


_ATTENTION = 'mmpretrain.models.utils.attention.MultiheadAttention'


@ACCELERATIONS.register_module()
class PackedAttention(Acceleration):
    """Makes mmpretrain's attentions :class:`PackedMultiheadAttention`; the numbers are the same."""

    mixin = PackedMultiheadAttention

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The attentions; subclasses of the hosts stay as they are."""
        return exact_modules(host, _ATTENTION)
