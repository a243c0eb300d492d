"""ViT's last block for its class token."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS


class ClassTokenBlock(nn.Module):
    """Mixin of mmpretrain's last ``TransformerEncoderLayer``: in training, the class token alone.

    The classifier reads nothing else of the last block. Keys and values are those of all tokens;
    the query, everything after it and its gradients are those of one. In evaluation the whole
    block is computed, for those who look at it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block of tokens ``(images, tokens, channels)``, the class token first.

        In training the output is that token alone, ``(images, 1, channels)``, otherwise all tokens.
        """
        if not self.training:
            return super().forward(x)
        attention, heads = self.attn, (self.attn.num_heads, self.attn.head_dims)
        tokens = self.ln1(x)
        if type(attention.qkv) is nn.Linear:
            parts = (attention.embed_dims, 2 * attention.embed_dims)
            weights, bias = attention.qkv.weight.split(parts), attention.qkv.bias
            biases = (None, None) if bias is None else bias.split(parts)
            query = F.linear(tokens[:, :1], weights[0], biases[0]).unflatten(2, heads)
            both = F.linear(tokens, weights[1], biases[1]).unflatten(2, (2, *heads))
            key, value = both.unbind(2)
        else:  # an adapter
            query, key, value = attention.qkv(tokens).unflatten(2, (3, *heads)).unbind(2)
            query = query[:, :1]
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        out = attention.scaled_dot_product_attention(
            query, key, value, dropout_p=attention.attn_drop
        )
        out = attention.proj(out.transpose(1, 2).flatten(2))
        x = x[:, :1] + attention.out_drop(attention.gamma1(attention.proj_drop(out)))
        return self.ffn(self.ln2(x), identity=x)


_BACKBONE = 'mmpretrain.models.backbones.vision_transformer.VisionTransformer'
_BLOCK = 'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer'


@ACCELERATIONS.register_module()
class ClassTokenOnly(Acceleration):
    """Makes the last block of a ViT a :class:`ClassTokenBlock`.

    Outputs and gradients are those of the host up to the order of sums; dropout draws fewer random
    numbers. Only where the class token of the last block is all that the backbone gives away.
    """

    mixin = ClassTokenBlock

    def find(self, host: nn.Module) -> Iterator[nn.Module]:
        """The last blocks whose other tokens nobody reads."""
        for backbone in exact_modules(host, _BACKBONE):
            last = backbone.layers[-1]
            if (
                backbone.out_type == 'cls_token'
                and list(backbone.out_indices) == [len(backbone.layers) - 1]
                and exact_modules(last, _BLOCK)[:1] == [last]
                and not last.attn.v_shortcut
            ):
                yield last
