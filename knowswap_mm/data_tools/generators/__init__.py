"""Data that needs no download: Fashion-MNIST readers, procedural shapes, ImageFolder writing.

Nothing here imports torch or an OpenMMLab package; numpy and pillow are enough.
"""

from knowswap_mm.data_tools.generators.fashion_mnist import (
    FASHION_CLASSES,
    find_source,
    hash_source,
    hold_out,
    load_part,
    read_idx,
)
from knowswap_mm.data_tools.generators.scenes import (
    Scene,
    encode_mask,
    make_scene,
    read_scene_manifest,
    write_shape_scenes,
)
from knowswap_mm.data_tools.generators.shapes import (
    SHAPE_CLASSES,
    TEXTURE_KINDS,
    make_shape_images,
    make_texture,
    shape_coverage,
    shape_mask,
)
from knowswap_mm.data_tools.generators.trees import Split, read_manifest, write_image_folder

__all__ = [
    'FASHION_CLASSES',
    'SHAPE_CLASSES',
    'TEXTURE_KINDS',
    'Scene',
    'Split',
    'encode_mask',
    'find_source',
    'hash_source',
    'hold_out',
    'load_part',
    'make_scene',
    'make_shape_images',
    'make_texture',
    'read_idx',
    'read_manifest',
    'read_scene_manifest',
    'shape_coverage',
    'shape_mask',
    'write_image_folder',
    'write_shape_scenes',
]
