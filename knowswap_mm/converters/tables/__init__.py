"""Kinds of checkpoints by name, and by what their keys say."""

import re
from collections.abc import Iterable

from knowswap_mm.converters.tables.beit import BEIT, HUGGING_FACE_BEIT
from knowswap_mm.converters.tables.clip import HUGGING_FACE_CLIP
from knowswap_mm.converters.tables.official_dino import OFFICIAL_DINO
from knowswap_mm.converters.tables.official_mask2former import OFFICIAL_MASK2FORMER
from knowswap_mm.converters.tables.swin import (
    HUGGING_FACE_SWIN,
    HUGGING_FACE_SWIN_V2,
    MICROSOFT_SWIN,
    MICROSOFT_SWIN_V2,
    TIMM_SWIN,
    TIMM_SWIN_V2,
)
from knowswap_mm.converters.tables.vit import (
    HUGGING_FACE_DEIT,
    HUGGING_FACE_DINOV2,
    HUGGING_FACE_VIT,
    OFFICIAL_VIT,
    TIMM_VIT,
)
from knowswap_mm.errors import CheckpointError

TABLES = {
    'official-vit': OFFICIAL_VIT,
    'official-dino': OFFICIAL_DINO,
    'official-mask2former': OFFICIAL_MASK2FORMER,
    'timm-vit': TIMM_VIT,
    'huggingface-vit': HUGGING_FACE_VIT,
    'huggingface-deit': HUGGING_FACE_DEIT,
    'huggingface-dinov2': HUGGING_FACE_DINOV2,
    'huggingface-clip': HUGGING_FACE_CLIP,
    'huggingface-beit': HUGGING_FACE_BEIT,
    'beit': BEIT,
    'swin': MICROSOFT_SWIN,
    'timm-swin': TIMM_SWIN,
    'huggingface-swin': HUGGING_FACE_SWIN,
    'swinv2': MICROSOFT_SWIN_V2,
    'timm-swinv2': TIMM_SWIN_V2,
    'huggingface-swinv2': HUGGING_FACE_SWIN_V2,
}
_BLOCK, _LAYER = r'blocks\.0\.', r'(\w+\.)?encoder\.layer\.0\.'
_SWIN_BLOCK = r'(\w+\.)?encoder\.layers\.0\.blocks\.0\.attention\.self\.'
_LOGITS = r'layers\.0\.blocks\.0\.attn\.logit_scale'
#: A key, or several, that no kind but this and those above has: the first that is found decides.
_MARKS: dict[str, str | tuple[str, ...]] = {
    'official-dino': r'transformer\.decoder\.ref_point_head\..*',
    'official-mask2former': r'sem_seg_head\..*',
    'official-vit': r'transformer\.encoder\.encoder_norm\..*',
    'huggingface-swinv2': _SWIN_BLOCK + 'logit_scale',
    'huggingface-swin': _SWIN_BLOCK + 'relative_position_bias_table',
    'huggingface-clip': r'(vision_model\.)?pre_layrnorm\..*',
    'huggingface-dinov2': _LAYER + r'layer_scale1\..*',
    'huggingface-deit': r'(\w+\.)?embeddings\.distillation_token',
    'huggingface-beit': rf'{_LAYER}lambda_1|(beit\.)?encoder\..*relative_position_bias_table',
    'huggingface-vit': _LAYER + r'attention\.attention\.query\..*',
    'beit': rf'{_BLOCK}attn\.q_bias',
    'timm-vit': rf'{_BLOCK}attn\.qkv\..*',
    # timm's stages begin with a merging, Microsoft's end with it.
    'timm-swinv2': (_LOGITS, r'layers\.3\.downsample\..*'),
    'swinv2': _LOGITS,
    'timm-swin': r'layers\.3\.downsample\..*',
    'swin': r'layers\.0\.blocks\.0\.attn\.relative_position_bias_table',
}


def kind_of(keys: Iterable[str]) -> str:
    """Tell the kind of a checkpoint by its keys.

    Raises:
        CheckpointError: If it is none that is known, or needs no conversion.
    """
    names = [key.removeprefix('module.') for key in keys]
    for kind, marks in _MARKS.items():
        wanted = (marks,) if isinstance(marks, str) else marks
        if all(any(re.fullmatch(mark, name) for name in names) for mark in wanted):
            return kind
    if any(re.match(r'(host\.)?backbone\.', name) for name in names):
        raise CheckpointError(
            'The keys are those of a host already. Fix: use the file as it is, with --checkpoint '
            'or load_from.'
        )
    raise CheckpointError(
        f'The kind of checkpoint is not known by its {len(names)} keys ({", ".join(names[:3])}, '
        f'...). Fix: give a file of one of {", ".join(sorted(TABLES))}.'
    )
