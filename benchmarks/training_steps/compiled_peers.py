"""The strongest loops of thirty lines: peft, ``torch.compile`` and a fused optimizer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from knowswap_mm.compat import allow_recompilations
from training_steps.plain_loop import PlainLoop, group_norms
from training_steps.step_task import StepTask

#: Blocks that are compiled one by one where the whole host cannot be: that of mmdet and mmseg.
BLOCK = 'SwinBlock'
TIMM_KEYS = (
    (r'^backbone\.patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^backbone\.layers\.', 'blocks.'),
    (r'^(blocks\.\d+)\.ln(\d)\.', r'\1.norm\2.'),
    (r'^(blocks\.\d+)\.ffn\.layers\.0\.0\.', r'\1.mlp.fc1.'),
    (r'^(blocks\.\d+)\.ffn\.layers\.1\.', r'\1.mlp.fc2.'),
    (r'^backbone\.ln1\.', 'norm.'),
    (r'^backbone\.', ''),
    (r'^head\.layers\.head\.', 'head.'),
)


class MissingPeer(RuntimeError):
    """A row that cannot be measured here, and what is to be done about it."""


class CompiledLoop(PlainLoop):
    """The host with peft, compiled, and AdamW in fused kernels.

    A classifier is compiled as a whole, preprocessing included, and passes both roles at once.
    A detector or segmentor, whose heads look at their data, has the blocks of its backbone compiled
    one by one, and passes a role at a time.

    Args:
        task (StepTask): Model, batch, loss.
        precision (str): ``fp32``, ``tf32`` or ``bf16``.
        mode (str): Of ``torch.compile``.
    """

    def __init__(self, task: StepTask, precision: str, mode: str = 'default') -> None:
        whole = hasattr(task, 'logits')
        super().__init__(task, precision, fused=whole)
        settings = dict(mode=mode, dynamic=False)
        self.compiled = mode if whole else f'{mode}, blocks'
        allow_recompilations(64)
        for module in self.host.modules():
            # The hosts take drop rates from numpy, whose numbers end a graph.
            for name, value in vars(module).items():
                if isinstance(value, np.generic):
                    setattr(module, name, value.item())
        if whole:
            self.logits = torch.compile(task.logits, **settings)
        else:
            self.count = 0
            for module in self.host.backbone.modules():
                if type(module).__name__ == BLOCK:
                    module.compile(**settings)
                    self.count += 1
            if not self.count:
                fix = f'compile the blocks of {type(self.host.backbone).__name__}'
                raise MissingPeer(f'its backbone has no {BLOCK}. Fix: {fix} in {__file__}')
        self.norms = torch.compile(group_norms, **settings)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, weight_decay=0.05, fused=True)


class TimmLoop(CompiledLoop):
    """timm's ViT with the sizes, the weights and the dropout of the task's host."""

    def build(self) -> nn.Module:
        """Build timm's model and copy the host's weights."""
        try:
            from timm.models.vision_transformer import VisionTransformer
        except ImportError as error:
            fix = 'pip install --no-deps timm'
            raise MissingPeer(f'timm cannot be imported ({error}). Fix: {fix}') from None
        host = super().build()
        backbone, block = host.backbone, host.backbone.layers[0]
        model = VisionTransformer(
            img_size=tuple(backbone.img_size),
            patch_size=backbone.patch_embed.projection.kernel_size,
            num_classes=host.head.num_classes,
            embed_dim=backbone.embed_dims,
            depth=len(backbone.layers),
            num_heads=block.attn.num_heads,
            mlp_ratio=block.ffn.feedforward_channels / backbone.embed_dims,
            pos_drop_rate=backbone.drop_after_pos.p,
            proj_drop_rate=block.attn.proj_drop.p,
            attn_drop_rate=block.attn.attn_drop,
        )
        model.load_state_dict({timm_key(key): value for key, value in host.state_dict().items()})
        return model


def timm_key(key: str) -> str:
    """The name that timm gives a tensor of mmpretrain's ViT, adapters included."""
    for pattern, name in TIMM_KEYS:
        key = re.sub(pattern, name, key)
    return key


def peer_loops(name: str, modes: Sequence[str]) -> dict[str, tuple[type[CompiledLoop], str]]:
    """Rows of a task: by name, the class of the loop and the mode of the compiler."""
    kinds: dict[str, type[CompiledLoop]] = {'host + peft, compiled blocks': CompiledLoop}
    if name == 'classification':
        kinds = {'timm + peft, compiled': TimmLoop, 'mmpretrain + peft, compiled': CompiledLoop}
    return {
        row if mode == 'default' else f'{row} ({mode})': (kind, mode)
        for row, kind in kinds.items()
        for mode in modes
    }
