"""Data sets as their publishers ship them."""

from typing import Any

from knowswap_mm.data_tools.publishers.ade20k import Ade20k, Ade20kFull
from knowswap_mm.data_tools.publishers.camvid import CamVid
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders
from knowswap_mm.data_tools.publishers.coco import CocoFolder, CocoMasks, CocoStuff
from knowswap_mm.data_tools.publishers.coco_file import CocoFile
from knowswap_mm.data_tools.publishers.csv_list import CsvList
from knowswap_mm.data_tools.publishers.cub import Cub, CubBoxes
from knowswap_mm.data_tools.publishers.deepglobe import DeepGlobe
from knowswap_mm.data_tools.publishers.grocery import GroceryStore
from knowswap_mm.data_tools.publishers.imagenet import ImageNet
from knowswap_mm.data_tools.publishers.mask_folder import MaskFolder
from knowswap_mm.data_tools.publishers.oxford_pet import OxfordPet, PetMaps
from knowswap_mm.data_tools.publishers.stanford_dogs import StanfordDogs
from knowswap_mm.data_tools.publishers.voc import VocBoxes, VocMaps

#: By task and name: what reads a layout.
SOURCES: dict[str, dict[str, Any]] = dict(
    classification={
        'class-folders': ClassFolders,
        'csv': CsvList,
        'cub': Cub,
        'grocery': GroceryStore,
        'imagenet': ImageNet,
        'oxford-pet': OxfordPet,
    },
    detection={
        'coco': CocoFolder,
        'coco-json': CocoFile,
        'cub': CubBoxes,
        'stanford-dogs': StanfordDogs,
        'voc': VocBoxes,
    },
    segmentation={
        'ade20k': Ade20k,
        'ade20k-full': Ade20kFull,
        'camvid': CamVid,
        'coco': CocoMasks,
        'coco-stuff': CocoStuff,
        'deepglobe': DeepGlobe,
        'masks': MaskFolder,
        'oxford-pet': PetMaps,
        'voc': VocMaps,
    },
)
