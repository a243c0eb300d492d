"""A block that computes one token."""

from __future__ import annotations

from torch import Tensor, nn


class ClassTokenBlock(nn.Module):
    """Mixin of mmpretrain's last ``TransformerEncoderLayer``: in training, the class token alone.

    The classifier reads nothing else of the last block. Keys and values are those of all tokens;
    the query, everything behind it and its gradients are those of one. In evaluation the whole
    block is computed, for those who look at it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block.

        Args:
            x (Tensor): Tokens, ``(pictures, tokens, channels)``, the class token first.

        Returns:
            Tensor: In training ``(pictures, 1, channels)``, otherwise all tokens.
        """
        if not self.training:
            return super().forward(x)
        attention, (pictures, tokens, _) = self.attn, x.shape
        split = attention.qkv(self.ln1(x))
        split = split.view(pictures, tokens, 3, attention.num_heads, attention.head_dims)
        query, key, value = (part.transpose(1, 2) for part in split.unbind(2))
        out = attention.scaled_dot_product_attention(
            query[:, :, :1], key, value, dropout_p=attention.attn_drop
        )
        out = attention.proj(out.transpose(1, 2).reshape(pictures, 1, attention.embed_dims))
        x = x[:, :1] + attention.out_drop(attention.gamma1(attention.proj_drop(out)))
        return self.ffn(self.ln2(x), identity=x)
