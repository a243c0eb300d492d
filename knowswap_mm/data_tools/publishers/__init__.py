"""Data sets as their publishers ship them."""

from knowswap_mm.data_tools.publishers.ade20k import Ade20k, Ade20kFull
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders
from knowswap_mm.data_tools.publishers.coco import CocoFolder, CocoMasks, CocoStuff
from knowswap_mm.data_tools.publishers.cub import Cub, CubBoxes
from knowswap_mm.data_tools.publishers.deepglobe import DeepGlobe
from knowswap_mm.data_tools.publishers.imagenet import ImageNet
from knowswap_mm.data_tools.publishers.oxford_pet import OxfordPet, PetMaps
from knowswap_mm.data_tools.publishers.stanford_dogs import StanfordDogs
from knowswap_mm.data_tools.publishers.voc import VocBoxes, VocMaps

__all__ = [
    'Ade20k',
    'Ade20kFull',
    'ClassFolders',
    'CocoFolder',
    'CocoMasks',
    'CocoStuff',
    'Cub',
    'CubBoxes',
    'DeepGlobe',
    'ImageNet',
    'OxfordPet',
    'PetMaps',
    'StanfordDogs',
    'VocBoxes',
    'VocMaps',
]
