"""Data of one's own with odd but legal properties, and hosts with ordinary configs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from knowswap_mm.data_tools.generators.scenes import STUFF
from tests.helpers import detection_configs, segmentation_configs, swap_configs

#: Classes to learn, by task.
LEARN = dict(mmpretrain=['x', 'ÿ 2'], mmdet=['crôss', 'Pfeil 2'], mmseg=['crôss', 'Pfeil 2'])
_KINDS = ('L', 'RGBA', 'RGB')


def save(image: Image.Image, path: Path) -> None:
    """Write an image in the format that its ending names, whatever the case of its letters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = Image.registered_extensions()[path.suffix.lower()]
    image.convert('RGB' if kind == 'JPEG' and image.mode == 'RGBA' else image.mode).save(path, kind)


def odd(image: Image.Image, number: int) -> Image.Image:
    """An image in another mode."""
    return image.convert(_KINDS[number % 3])


def classifier(root: Path, tree: Path, checkpoint: Path, batch_size: int = 16) -> dict[str, Any]:
    """A ViT of five classes, and photos of two new ones.

    Names have spaces and letters beyond ASCII; images are grey, RGBA, PNG, WebP and JPEG with an
    ending in capitals; some lie in folders below that of their class, two of them under one name.
    """
    for split in ('train', 'val'):
        for name in swap_configs.OLD:
            shutil.copytree(tree / split / name, root / 'old' / split / name)
    for name, source in zip(LEARN['mmpretrain'], ('x', 'y'), strict=True):
        for number, path in enumerate(sorted((tree / 'train' / source).iterdir())):
            ending = ('png', 'JPG', 'webp', 'jpeg')[number % 4]
            below = ('', 'a/', 'b b/')[number % 3]
            place = root / 'new' / name / f'{below}photo {number // 2}.{ending}'
            kind = number if source == 'y' and ending == 'png' else 2  # x is known by its colour
            save(odd(Image.open(path), kind), place)
        (root / 'new' / name / 'Thumbs.db').write_bytes(b'left by a file manager')
    load = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

    def loader(split: str) -> dict[str, Any]:
        data = dict(type='CustomDataset', data_root=str(root / 'old'), data_prefix=split)
        return dict(batch_size=batch_size, dataset=dict(data, pipeline=load))

    model = swap_configs.host_config(len(swap_configs.OLD))
    preprocessor = model.pop('data_preprocessor')
    config = dict(
        default_scope='mmpretrain',
        data_preprocessor=preprocessor,
        model=model,
        train_dataloader=loader('train'),
        val_dataloader=loader('val'),
    )
    return _host(root, config, checkpoint, root / 'new', 'b')


def detector(root: Path) -> dict[str, Any]:
    """A DINO of four shapes, and a COCO json of two new ones.

    Ids of categories begin at 17 and have gaps, those of images are strings; an object is a crowd;
    an image has no object; images are grey and RGBA, their names have spaces and capitals.
    """
    scenes = detection_configs.write_scenes(root / 'scenes')
    checkpoint = detection_configs.write_host(root / 'host.pth')
    content = json.loads((scenes / 'new/annotations/instances_train.json').read_text())
    names = dict(zip(detection_configs.NEW, LEARN['mmdet'], strict=True))
    numbers = {}
    for place, category in enumerate(content['categories']):
        numbers[category['id']] = 17 + 5 * place
        category.update(id=17 + 5 * place, name=names[category['name']])
    for image in content['images']:
        number = image['id']
        picture = Image.open(scenes / 'new' / 'train' / image['file_name'])
        image['id'] = f'image {number}'
        image['file_name'] = f'sub {number % 2}/scene {number}.{"PNG" if number % 2 else "png"}'
        save(odd(picture, number), root / 'photos' / image['file_name'])
    for item in content['annotations']:
        item.update(image_id=f'image {item["image_id"]}', category_id=numbers[item['category_id']])
    content['annotations'][0]['iscrowd'] = 1
    empty = dict(content['images'][0], id='empty', file_name='nothing here.png')
    save(Image.new('RGB', (empty['width'], empty['height'])), root / 'photos/nothing here.png')
    content['images'].append(empty)
    (root / 'new.json').write_text(json.dumps(content))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]

    def loader(split: str, steps: list) -> dict[str, Any]:
        data = dict(
            type='CocoDataset',
            data_root=f'{scenes}/old/',
            ann_file=f'annotations/instances_{split}.json',
            data_prefix=dict(img=f'{split}/'),
            metainfo=dict(classes=detection_configs.OLD),
            pipeline=steps,
        )
        return dict(batch_size=4, dataset=data)

    config = dict(
        default_scope='mmdet',
        model=detection_configs.host_config(len(detection_configs.OLD)),
        train_dataloader=loader('train', [*load, dict(type='PackDetInputs')]),
        val_dataloader=loader('val', test),
    )
    return _host(root, config, checkpoint, root / 'new.json', 'star', images=root / 'photos')


def segmentor(root: Path) -> dict[str, Any]:
    """A Mask2Former of eight classes, and masks of two new ones.

    Masks have a palette, and 255 where no class is; the first class of the list is a background;
    images are grey and RGBA, some end in capitals, and their names have spaces.
    """
    scenes = segmentation_configs.write_scenes(root / 'scenes')
    checkpoint = segmentation_configs.write_host(root / 'host.pth')
    for number, path in enumerate(sorted((scenes / 'new' / 'train').glob('*.png'))):
        values = np.array(Image.open(scenes / 'new/semantic/train' / path.name)).astype(np.uint8)
        values[:4, :] = 255
        mask = Image.fromarray(values)
        mask.putpalette([each for each in range(256) for _ in range(3)])
        assert mask.mode == 'P'
        save(mask, root / 'masks' / 'labels' / f'szene ü {path.stem}.png')
        name = f'szene ü {path.stem}.{"PNG" if number % 2 else "png"}'
        save(odd(Image.open(path), number), root / 'masks' / 'images' / name)
    names = ['background', *LEARN['mmseg'], *STUFF]
    (root / 'masks' / 'classes.txt').write_text('\n'.join(names) + '\n', encoding='utf-8')
    # As configs of ADE20K have it: said again of the loader, though the data set knows it.
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', reduce_zero_label=True),
    ]
    steps = [*load, dict(type='PackSegInputs')]

    def loader(split: str) -> dict[str, Any]:
        data = segmentation_configs.scenes(scenes, 'forget', split, steps, split == 'val')
        return dict(batch_size=4, dataset=data)

    config = dict(
        default_scope='mmseg',
        custom_imports=dict(imports='mmdet.models', allow_failed_imports=False),
        model=segmentation_configs.host_config(len(segmentation_configs.OLD)).to_dict(),
        train_dataloader=loader('train'),
        val_dataloader=loader('val'),
    )
    return _host(root, config, checkpoint, root / 'masks', 'star')


def _host(
    root: Path, config: dict[str, Any], checkpoint: Path, learn: Path, forget: str, **options: Path
) -> dict[str, Any]:
    """Write the config; gives what the commands are told."""
    path = root / 'host.py'
    Config(config).dump(path)
    return dict(model=path, checkpoint=checkpoint, learn=learn, forget=forget, **options)


def words(told: dict[str, Any], **changes: Any) -> list[str]:
    """As options of a command line; None leaves one out."""
    given = {**told, **changes}
    flat = [(f'--{k.replace("_", "-")}', str(v)) for k, v in given.items() if v is not None]
    return [word for pair in flat for word in pair]
