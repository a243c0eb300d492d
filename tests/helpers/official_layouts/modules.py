"""Names and shapes of the official models, written down from the modules of their sources.

Nothing here comes from a host or a converter: the ViT of GS-LoRA's `vit_bird`, the DINO of
IDEA-Research with Swin, and detectron2's Mask2Former with Swin. With ``rank``, the linear layers
that loralib replaces there have their two matrices beside the weight.
"""

from __future__ import annotations

import torch


class Layout(dict):
    """Shapes by name. ``copies`` names tensors that a file holds twice, by the first of both."""

    def __init__(self, rank: int = 0) -> None:
        super().__init__()
        self.rank, self.copies = rank, {}

    def linear(self, name, outputs, inputs, lora=False):
        self.update({f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)})
        if lora and self.rank:
            matrices = {'lora_A': (self.rank, inputs), 'lora_B': (outputs, self.rank)}
            self.update({f'{name}.{key}': shape for key, shape in matrices.items()})

    def norm(self, name, size):
        self.update({f'{name}.weight': (size,), f'{name}.bias': (size,)})

    def conv(self, name, outputs, inputs, kernel, bias=True):
        self[f'{name}.weight'] = (outputs, inputs, kernel, kernel)
        if bias:
            self[f'{name}.bias'] = (outputs,)

    def mlp(self, name, *sizes):
        for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
            self.linear(f'{name}.layers.{i}', outputs, inputs)

    def multihead(self, name, size):
        self.update(
            {f'{name}.in_proj_weight': (3 * size, size), f'{name}.in_proj_bias': (3 * size,)}
        )
        self.linear(f'{name}.out_proj', size, size)

    def deformable(self, name, size, levels, heads=8, points=4):
        self.linear(f'{name}.sampling_offsets', heads * levels * points * 2, size)
        self.linear(f'{name}.attention_weights', heads * levels * points, size)
        self.linear(f'{name}.value_proj', size, size)
        self.linear(f'{name}.output_proj', size, size)

    def copy(self, first, second):
        """Store every tensor below ``first`` under ``second``, too."""
        for key in [key for key in self if key.startswith(f'{first}.')]:
            copied = second + key.removeprefix(first)
            self[copied], self.copies[copied] = self[key], key

    def without_memory(self):
        """Tensors of these shapes that share one number each."""
        return {key: torch.zeros(1).expand(shape) for key, shape in self.items()}

    def random(self, seed=0, dtype=torch.float64):
        """Weights that are all different, with outputs of about the size of the inputs."""
        generator, state = torch.Generator().manual_seed(seed), {}
        for key, shape in self.items():
            if key in self.copies:
                state[key] = state[self.copies[key]].clone()
                continue
            if key.endswith('relative_position_index'):
                state[key] = relative_positions(int(shape[0] ** 0.5))
                continue
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            if len(shape) > 1:
                noise = noise / noise[0].numel() ** 0.5
            else:
                noise = 0.1 * noise + float(key.endswith('weight'))
            state[key] = noise.to(dtype)
        return state


def relative_positions(window):
    """Row of the bias table for each pair of places in a window of Swin."""
    places = torch.stack(
        torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    ).flatten(1)
    apart = places[:, :, None] - places[:, None] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def merged(state, rank, alpha=1.0):
    """The weights with which a model of loralib computes."""
    found = {key: value for key, value in state.items() if '.lora_' not in key}
    for key in found:
        if (a := key.replace('.weight', '.lora_A')) != key and a in state:
            change = state[a.replace('lora_A', 'lora_B')] @ state[a]
            found[key] = found[key] + alpha / rank * change
    return found


def vit(size=768, layers=12, hidden=3072, patch=16, side=224, classes=200, rank=0):
    """`vit_bird`: 100 old classes and 100 rows for new ones."""
    found, embeddings = Layout(rank), 'transformer.embeddings'
    found[f'{embeddings}.cls_token'] = (1, 1, size)
    found[f'{embeddings}.position_embeddings'] = (1, (side // patch) ** 2 + 1, size)
    found.conv(f'{embeddings}.patch_embeddings', size, 3, patch)
    for i in range(layers):
        layer = f'transformer.encoder.layer.{i}'
        found.norm(f'{layer}.attention_norm', size)
        found.norm(f'{layer}.ffn_norm', size)
        found.linear(f'{layer}.ffn.fc1', hidden, size, lora=True)
        found.linear(f'{layer}.ffn.fc2', size, hidden, lora=True)
        for name in ('query', 'key', 'value', 'out'):
            found.linear(f'{layer}.attn.{name}', size, size)
    found.norm('transformer.encoder.encoder_norm', size)
    found.linear('head', classes, size)
    return found


def swin(found, name, size, depths, heads, window, norms):
    """Microsoft's Swin as a backbone, with a norm for each stage in ``norms``."""
    found.conv(f'{name}.patch_embed.proj', size, 3, 4)
    found.norm(f'{name}.patch_embed.norm', size)
    for stage, depth in enumerate(depths):
        width = size * 2**stage
        for number in range(depth):
            block = f'{name}.layers.{stage}.blocks.{number}'
            found.norm(f'{block}.norm1', width)
            table = (2 * window - 1) ** 2, heads[stage]
            found[f'{block}.attn.relative_position_bias_table'] = table
            found[f'{block}.attn.relative_position_index'] = (window**2, window**2)
            found.linear(f'{block}.attn.qkv', 3 * width, width)
            found.linear(f'{block}.attn.proj', width, width)
            found.norm(f'{block}.norm2', width)
            found.linear(f'{block}.mlp.fc1', 4 * width, width, lora=True)
            found.linear(f'{block}.mlp.fc2', width, 4 * width, lora=True)
        if stage < len(depths) - 1:
            merge = f'{name}.layers.{stage}.downsample'
            found[f'{merge}.reduction.weight'] = (2 * width, 4 * width)
            found.norm(f'{merge}.norm', 4 * width)
    for stage in norms:
        found.norm(f'{name}.norm{stage}', size * 2**stage)


def dino(
    size=192,
    depths=(2, 2, 18, 2),
    heads=(6, 12, 24, 48),
    window=12,
    queries=900,
    classes=101,
    rank=0,
):
    """DINO-4scale; the official detector has 101 rows, IDEA-Research's files have 91."""
    found = Layout(rank)
    swin(found, 'backbone.0', size, depths, heads, window, norms=(1, 2, 3))
    for level in range(3):
        found.conv(f'input_proj.{level}.0', 256, size * 2 ** (level + 1), 1)  # with biases
        found.norm(f'input_proj.{level}.1', 256)
    found.conv('input_proj.3.0', 256, size * 8, 3)
    found.norm('input_proj.3.1', 256)
    found['transformer.level_embed'] = (4, 256)
    for i in range(6):
        layer = f'transformer.encoder.layers.{i}'
        found.deformable(f'{layer}.self_attn', 256, levels=4)
        found.linear(f'{layer}.linear1', 2048, 256, lora=True)
        found.linear(f'{layer}.linear2', 256, 2048, lora=True)
        for number in (1, 2):
            found.norm(f'{layer}.norm{number}', 256)
        layer = f'transformer.decoder.layers.{i}'
        found.deformable(f'{layer}.cross_attn', 256, levels=4)
        found.multihead(f'{layer}.self_attn', 256)
        found.linear(f'{layer}.linear1', 2048, 256, lora=True)
        found.linear(f'{layer}.linear2', 256, 2048, lora=True)
        for number in (1, 2, 3):
            found.norm(f'{layer}.norm{number}', 256)
        found.linear(f'class_embed.{i}', classes, 256)
        found.mlp(f'bbox_embed.{i}', 256, 256, 256, 4)
    found.norm('transformer.decoder.norm', 256)
    found.mlp('transformer.decoder.ref_point_head', 512, 256, 256)
    found['transformer.tgt_embed.weight'] = (queries, 256)
    found.linear('transformer.enc_output', 256, 256)
    found.norm('transformer.enc_output_norm', 256)
    found.linear('transformer.enc_out_class_embed', classes, 256)
    found.mlp('transformer.enc_out_bbox_embed', 256, 256, 256, 4)
    found['label_enc.weight'] = (classes + (2 if classes == 101 else 1), 256)
    for name in ('class_embed', 'bbox_embed'):
        found.copy(name, f'transformer.decoder.{name}')
    return found


def mask2former(
    size=128,
    depths=(2, 2, 18, 2),
    heads=(4, 8, 16, 32),
    window=12,
    queries=100,
    classes=160,
    rank=0,
):
    """Mask2Former for semantic segmentation: 150 classes of ADE20K, six new ones, four spare."""
    found, pixel = Layout(rank), 'sem_seg_head.pixel_decoder'
    swin(found, 'backbone', size, depths, heads, window, norms=(0, 1, 2, 3))
    for i, stage in enumerate((3, 2, 1)):
        found.conv(f'{pixel}.input_proj.{i}.0', 256, size * 2**stage, 1)
        found.norm(f'{pixel}.input_proj.{i}.1', 256)
    found[f'{pixel}.transformer.level_embed'] = (3, 256)
    for i in range(6):
        layer = f'{pixel}.transformer.encoder.layers.{i}'
        found.deformable(f'{layer}.self_attn', 256, levels=3)
        found.linear(f'{layer}.linear1', 1024, 256, lora=True)
        found.linear(f'{layer}.linear2', 256, 1024, lora=True)
        for number in (1, 2):
            found.norm(f'{layer}.norm{number}', 256)
    # detectron2's Conv2d with a norm inside has no bias.
    found.conv(f'{pixel}.adapter_1', 256, size, 1, bias=False)
    found.norm(f'{pixel}.adapter_1.norm', 256)
    found.conv(f'{pixel}.layer_1', 256, 256, 3, bias=False)
    found.norm(f'{pixel}.layer_1.norm', 256)
    found.conv(f'{pixel}.mask_features', 256, 256, 1)
    head = 'sem_seg_head.predictor'
    for i in range(9):
        layer = f'{head}.transformer_cross_attention_layers.{i}'
        found.multihead(f'{layer}.multihead_attn', 256)
        found.norm(f'{layer}.norm', 256)
        layer = f'{head}.transformer_self_attention_layers.{i}'
        found.multihead(f'{layer}.self_attn', 256)
        found.norm(f'{layer}.norm', 256)
        layer = f'{head}.transformer_ffn_layers.{i}'
        found.linear(f'{layer}.linear1', 2048, 256, lora=True)
        found.linear(f'{layer}.linear2', 256, 2048, lora=True)
        found.norm(f'{layer}.norm', 256)
    found.norm(f'{head}.decoder_norm', 256)
    for name, rows in (('query_feat', queries), ('query_embed', queries), ('level_embed', 3)):
        found[f'{head}.{name}.weight'] = (rows, 256)
    found.linear(f'{head}.class_embed', classes + 1, 256)
    found.mlp(f'{head}.mask_embed', 256, 256, 256, 256)
    found['criterion.empty_weight'] = (classes + 1,)
    return found
