"""Data sets as their publishers ship them."""

from knowswap_mm.datasets.publishers.ade20k import Ade20k
from knowswap_mm.datasets.publishers.ade20k_full import Ade20kFull
from knowswap_mm.datasets.publishers.boxed_picture import BoxedObject, BoxedPicture
from knowswap_mm.datasets.publishers.class_folders import ClassFolders
from knowswap_mm.datasets.publishers.coco_folder import CocoFolder
from knowswap_mm.datasets.publishers.coco_masks import CocoMasks
from knowswap_mm.datasets.publishers.coco_stuff import CocoStuff
from knowswap_mm.datasets.publishers.coco_tree import CocoTree
from knowswap_mm.datasets.publishers.cub import Cub
from knowswap_mm.datasets.publishers.cub_boxes import CubBoxes
from knowswap_mm.datasets.publishers.deepglobe import DeepGlobe
from knowswap_mm.datasets.publishers.imagenet import ImageNet
from knowswap_mm.datasets.publishers.map_tree import MapTree
from knowswap_mm.datasets.publishers.mapped_picture import MappedPicture
from knowswap_mm.datasets.publishers.oxford_pet import OxfordPet
from knowswap_mm.datasets.publishers.pet_maps import PetMaps
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.publishers.picture_tree import PictureTree
from knowswap_mm.datasets.publishers.selection import match_names, select_pictures
from knowswap_mm.datasets.publishers.stanford_dogs import StanfordDogs
from knowswap_mm.datasets.publishers.voc_boxes import VocBoxes
from knowswap_mm.datasets.publishers.voc_maps import VocMaps

__all__ = [
    'Ade20k',
    'Ade20kFull',
    'BoxedObject',
    'BoxedPicture',
    'ClassFolders',
    'CocoFolder',
    'CocoMasks',
    'CocoStuff',
    'CocoTree',
    'Cub',
    'CubBoxes',
    'DeepGlobe',
    'ImageNet',
    'MapTree',
    'MappedPicture',
    'OxfordPet',
    'PetMaps',
    'Picture',
    'PictureTree',
    'SourceError',
    'StanfordDogs',
    'VocBoxes',
    'VocMaps',
    'match_names',
    'select_pictures',
]
