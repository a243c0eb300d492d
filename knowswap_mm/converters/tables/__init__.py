"""Kinds of checkpoints by name."""

from knowswap_mm.converters.tables.official_dino import OFFICIAL_DINO
from knowswap_mm.converters.tables.official_mask2former import OFFICIAL_MASK2FORMER
from knowswap_mm.converters.tables.swin import HUGGING_FACE_SWIN, MICROSOFT_SWIN, TIMM_SWIN
from knowswap_mm.converters.tables.vit import (
    HUGGING_FACE_DINOV2,
    HUGGING_FACE_VIT,
    OFFICIAL_VIT,
    TIMM_VIT,
)

TABLES = {
    'official-vit': OFFICIAL_VIT,
    'official-dino': OFFICIAL_DINO,
    'official-mask2former': OFFICIAL_MASK2FORMER,
    'timm-vit': TIMM_VIT,
    'huggingface-vit': HUGGING_FACE_VIT,
    'huggingface-dinov2': HUGGING_FACE_DINOV2,
    'swin': MICROSOFT_SWIN,
    'timm-swin': TIMM_SWIN,
    'huggingface-swin': HUGGING_FACE_SWIN,
}
