"""Data sets as their publishers ship them."""

from knowswap_mm.data_tools.images import (
    BoxedObject,
    BoxedPicture,
    MappedPicture,
    Picture,
    SourceError,
)
from knowswap_mm.data_tools.label_trees import CocoTree, MapTree
from knowswap_mm.data_tools.publishers.ade20k import Ade20k, Ade20kFull
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders
from knowswap_mm.data_tools.publishers.coco import CocoFolder, CocoMasks, CocoStuff
from knowswap_mm.data_tools.publishers.cub import Cub, CubBoxes
from knowswap_mm.data_tools.publishers.deepglobe import DeepGlobe
from knowswap_mm.data_tools.publishers.imagenet import ImageNet
from knowswap_mm.data_tools.publishers.oxford_pet import OxfordPet, PetMaps
from knowswap_mm.data_tools.publishers.stanford_dogs import StanfordDogs
from knowswap_mm.data_tools.publishers.voc import VocBoxes, VocMaps
from knowswap_mm.data_tools.selection import match_names, select_pictures
from knowswap_mm.data_tools.trees import PictureTree

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
