"""Any COCO json, wherever its images lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from knowswap_mm.data_tools.images import BoxedImage, BoxedObject, Publisher, SourceError
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.datasets.images import host_name
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_bytes

_KEPT = ('area', 'iscrowd', 'segmentation')
#: Words for splits in names of files and folders; the first one of a split is ours.
SPLIT_WORDS = dict(
    train=('train', 'training'), val=('val', 'valid', 'validation'), test=('test', 'testing')
)


class CocoFile(Publisher):
    """Reads a COCO json, and the ones of other splits beside it.

    A json whose name or folder has ``train`` in it may have siblings with ``val`` (``valid``) or
    ``test`` in its place, which become those splits. Without any, a share of the images becomes
    ``val``. Images are looked for in the folder that is given, beside the json, and in the usual
    places (``../train2017``, ``../images``, ...). What the json may hold and how it is made
    uniform: :class:`~knowswap_mm.datasets.coco_json.CocoJson`. Images without an object are left
    out. See :class:`Publisher`.

    Args:
        root (str | Path): The json, or a folder with one of ``train``.
        val_share (float): Share of the images in ``val``, where there is one json.
        seed (int): Seed of that draw.
        images (str | Path | None): Folder of the images.
        option (str): What named the json, for messages.
    """

    def __init__(
        self,
        root: str | Path,
        val_share: float = 0.2,
        seed: int = 0,
        images: str | Path | None = None,
        option: str = '--source',
    ) -> None:
        super().__init__(root, val_share, seed)
        self.given = None if images is None else Path(images)
        self.option, self.files = option, coco_files(self.root)
        #: Category ids by name, in the order of the file.
        self.ids: dict[str, int] = {}
        if not self.files:
            fix = 'give the path of the json'
            raise SourceError(self.root, [f'there is no COCO json of train. Fix: {fix}'])

    def _images(self, refuse: Callable[[str], object]) -> Iterator[BoxedImage]:
        found, folders = [], []
        for split, path in self.files.items():
            content = CocoJson(path, self.option)
            folder = self._folder(path, split, [each['file_name'] for each in content.images])
            folders.append(folder)
            if not self.ids:
                numbers = all(isinstance(number, int) for number in content.categories)
                named = content.categories.items()
                self.ids = {name: n if numbers else i for i, (n, name) in enumerate(named, 1)}
            for image in content.images:
                file = folder / image['file_name']
                objects = tuple(
                    BoxedObject(
                        content.categories[each['category_id']],
                        tuple(each['bbox']),
                        {key: each[key] for key in _KEPT if key in each},
                    )
                    for each in content.objects[image['id']]
                )
                if not file.is_file():
                    refuse(f'{image["file_name"]!r:.80} of {path.name} is not in {folder}')
                elif objects:
                    flat = host_name(image['file_name'].replace('/', '_'))
                    size = image['width'], image['height']
                    found.append(BoxedImage(split, file, objects, size, flat))
        if len(self.files) == 1:
            held = self._held_out(len(found), 'coco')
            yield from (_moved(each, i in held) for i, each in enumerate(found))
        else:
            yield from found
        self.root = Path(*_common([folder.resolve() for folder in folders]))

    def _folder(self, path: Path, split: str, names: list[str]) -> Path:
        """The folder that has the first image of a json."""
        words = SPLIT_WORDS[split]
        above = (path.parent, path.parent.parent)
        places = [each for each in (self.given,) if each is not None]
        places += [place / word for place in places for word in words]
        if self.given is None:
            places += above
            for place in above:
                places += [place / name for name in (path.stem, 'images', 'JPEGImages', *words)]
                places += [place / 'images' / word for word in words]
                years = (p for word in words for p in sorted(place.glob(f'{word}20[0-9][0-9]')))
                places += list(years)
        for place in places:
            if names and (place / names[0]).is_file():
                return place
        looked = f'in {self.given}' if self.given else 'beside the json'
        problem = f'{path.name}: its first image {(names or ["none"])[0]!r:.80} is not {looked}'
        raise SourceError(self.root, [f'{problem}. Fix: name the folder of the images (--images)'])


def coco_files(root: Path) -> dict[str, Path]:
    """COCO json files by split: of a file those beside it, of a folder what it holds."""
    if root.is_file():
        files = {'train': root}
        for split in ('val', 'test'):
            if sibling := _sibling(root, split):
                files[split] = sibling
        return files
    for pattern in ('annotations/*.json', '*.json', 'train/*.json', 'training/*.json'):
        paths = [path for path in sorted(root.glob(pattern)) if _has_categories(path)]
        ours = [path for path in paths if _word(path, 'train')]
        chosen = [path for path in ours if path.name.startswith('instances')] or ours
        if not chosen and pattern == '*.json' and len(paths) == 1:
            chosen = paths
        if chosen:
            return coco_files(chosen[0])
    return {}


def _has_categories(path: Path) -> bool:
    """Whether a json may be a COCO json, and no manifest or the like; it is not parsed for that."""
    try:
        return b'"categories"' in read_bytes(path, ANNOTATION_BYTES)
    except FileError:
        return False


def _word(path: Path, split: str) -> str | None:
    """The word for a split in the name of a json, or of its folder."""
    for text in (path.stem, path.parent.name):
        for word in reversed(SPLIT_WORDS[split]):
            if re.search(rf'(?<![a-z]){word}(?![a-z])', text.lower()):
                return word
    return None


def _sibling(path: Path, split: str) -> Path | None:
    """The json of another split."""
    word = _word(path, 'train')
    for other in SPLIT_WORDS[split] if word else ():
        for place in (path.parent, path.parent.with_name(path.parent.name.replace(word, other))):
            for name in dict.fromkeys((path.name.replace(word, other), path.name)):
                if (place / name).is_file() and place / name != path:
                    return place / name
    return None


def _moved(image: BoxedImage, held: bool) -> BoxedImage:
    split = 'val' if held else 'train'
    return BoxedImage(split, image.path, image.objects, image.announced, image.name)


def _common(folders: list[Path]) -> tuple[str, ...]:
    """Parts of the path that all folders lie in."""
    shared = []
    for parts in zip(*(folder.parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return tuple(shared)
