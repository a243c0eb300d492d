"""DINOv2 (arXiv 2304.07193) on the keys of Hugging Face's ``Dinov2Model``."""

import torch
import torch.nn.functional as F

from tests.helpers.official_layouts.modules import Layout
from tests.helpers.official_layouts.parts import conv, linear

DIMS, HEADS, HIDDEN, LAYERS, PATCH, GRID = 32, 2, 48, 3, 14, 37
#: The arch of the host for it.
ARCH = dict(embed_dims=DIMS, num_layers=LAYERS, num_heads=HEADS, feedforward_channels=HIDDEN)


def weights(swiglu=False, dtype=torch.float32):
    """Weights of a small one, all at random, with 37 x 37 positions as the published ones have."""
    found = Layout()
    found['embeddings.cls_token'] = (1, 1, DIMS)
    found['embeddings.mask_token'] = (1, DIMS)
    found['embeddings.position_embeddings'] = (1, GRID**2 + 1, DIMS)
    found.conv('embeddings.patch_embeddings.projection', DIMS, 3, PATCH)
    for i in range(LAYERS):
        layer = f'encoder.layer.{i}'
        for name in ('query', 'key', 'value'):
            found.linear(f'{layer}.attention.attention.{name}', DIMS, DIMS)
        found.linear(f'{layer}.attention.output.dense', DIMS, DIMS)
        if swiglu:
            found.linear(f'{layer}.mlp.weights_in', 2 * HIDDEN, DIMS)
            found.linear(f'{layer}.mlp.weights_out', DIMS, HIDDEN)
        else:
            found.linear(f'{layer}.mlp.fc1', HIDDEN, DIMS)
            found.linear(f'{layer}.mlp.fc2', DIMS, HIDDEN)
        for number in (1, 2):
            found.norm(f'{layer}.norm{number}', DIMS)
            found[f'{layer}.layer_scale{number}.lambda1'] = (DIMS,)
    found.norm('layernorm', DIMS)
    return found.random(dtype=dtype)


def forward(w, images):
    """Tokens ``(B, 1 + H / 14 * W / 14, DIMS)`` behind each layer; the last ones are normed."""

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[f'{name}.weight'], w[f'{name}.bias'], 1e-6)

    patches = conv(w, 'embeddings.patch_embeddings.projection', images, stride=PATCH)
    places = w['embeddings.position_embeddings']
    grid = places[:, 1:].unflatten(1, (GRID, GRID)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, patches.shape[-2:], mode='bicubic', align_corners=False)
    x = (patches + grid).flatten(2).transpose(1, 2)
    first = (w['embeddings.cls_token'] + places[:, :1]).expand(len(images), -1, -1)
    x, found = torch.cat([first, x], 1), []
    for i in range(LAYERS):
        layer = f'encoder.layer.{i}'
        y = norm(f'{layer}.norm1', x)
        q, k, v = (
            linear(w, f'{layer}.attention.attention.{name}', y)
            .unflatten(-1, (HEADS, -1))
            .transpose(1, 2)
            for name in ('query', 'key', 'value')
        )
        seen = (q @ k.transpose(-1, -2) / (DIMS / HEADS) ** 0.5).softmax(-1) @ v
        seen = linear(w, f'{layer}.attention.output.dense', seen.transpose(1, 2).flatten(2))
        x = x + w[f'{layer}.layer_scale1.lambda1'] * seen
        y = norm(f'{layer}.norm2', x)
        if f'{layer}.mlp.weights_in.weight' in w:
            gate, value = linear(w, f'{layer}.mlp.weights_in', y).chunk(2, -1)
            y = linear(w, f'{layer}.mlp.weights_out', F.silu(gate) * value)
        else:
            y = linear(w, f'{layer}.mlp.fc2', F.gelu(linear(w, f'{layer}.mlp.fc1', y)))
        x = x + w[f'{layer}.layer_scale2.lambda1'] * y
        found.append(x)
    return [*found[:-1], norm('layernorm', x)]
