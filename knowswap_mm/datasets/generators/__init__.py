"""Data that needs no download: Fashion-MNIST readers, procedural shapes, ImageFolder writing.

Nothing here imports torch or an OpenMMLab package; numpy and pillow are enough.
"""

from .fashion_mnist import FASHION_CLASSES, find_source, hash_source, hold_out, load_part, read_idx
from .image_folder import Split, read_manifest, write_image_folder
from .scene_files import encode_mask, read_scene_manifest, write_shape_scenes
from .shape_pictures import make_shape_pictures
from .shape_scenes import Scene, make_scene
from .shapes import SHAPE_CLASSES, shape_coverage, shape_mask
from .textures import TEXTURE_KINDS, make_texture

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
    'make_shape_pictures',
    'make_texture',
    'read_idx',
    'read_manifest',
    'read_scene_manifest',
    'shape_coverage',
    'shape_mask',
    'write_image_folder',
    'write_shape_scenes',
]
