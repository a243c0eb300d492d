"""Data sets as their publishers ship them."""

from knowswap_mm.datasets.publishers.boxed_picture import BoxedPicture
from knowswap_mm.datasets.publishers.class_folders import ClassFolders
from knowswap_mm.datasets.publishers.coco_tree import CocoTree
from knowswap_mm.datasets.publishers.cub import Cub
from knowswap_mm.datasets.publishers.cub_boxes import CubBoxes
from knowswap_mm.datasets.publishers.deepglobe import DeepGlobe
from knowswap_mm.datasets.publishers.map_tree import MapTree
from knowswap_mm.datasets.publishers.mapped_picture import MappedPicture
from knowswap_mm.datasets.publishers.oxford_pet import OxfordPet
from knowswap_mm.datasets.publishers.pet_maps import PetMaps
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.publishers.picture_tree import PictureTree
from knowswap_mm.datasets.publishers.selection import select_pictures
from knowswap_mm.datasets.publishers.stanford_dogs import StanfordDogs
from knowswap_mm.datasets.publishers.voc_maps import VocMaps

__all__ = [
    'DeepGlobe',
    'MapTree',
    'MappedPicture',
    'PetMaps',
    'VocMaps',
    'BoxedPicture',
    'ClassFolders',
    'CocoTree',
    'Cub',
    'CubBoxes',
    'OxfordPet',
    'Picture',
    'PictureTree',
    'SourceError',
    'StanfordDogs',
    'select_pictures',
]
