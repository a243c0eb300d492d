"""Kinds of checkpoints by name."""

from knowswap_mm.converters.tables.official_dino import OFFICIAL_DINO
from knowswap_mm.converters.tables.official_mask2former import OFFICIAL_MASK2FORMER
from knowswap_mm.converters.tables.official_vit import OFFICIAL_VIT

TABLES = {
    'official-vit': OFFICIAL_VIT,
    'official-dino': OFFICIAL_DINO,
    'official-mask2former': OFFICIAL_MASK2FORMER,
}
