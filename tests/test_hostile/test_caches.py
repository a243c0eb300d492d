"""Files in the cache folder that something else has written."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.cache import SampleCache
from knowswap_mm.datasets.cache.pack_file import ALIGN, _record
from knowswap_mm.datasets.semantic_index import SemanticIndex
from tests.helpers.cached_data import addresses, classification, kept_pack, read
from tests.helpers.hostile_files.kept_samples import KEPT_SAMPLES
from tests.helpers.hostile_files.pickles import touch


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache_home'))


def pictures_of(folder, *steps):
    """Config of a host data set."""
    load, pack = dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')
    return dict(
        type='mmpretrain.CustomDataset',
        data_prefix=str(folder),
        pipeline=[load, *steps, pack],
        serialize_data=False,  # it would collect garbage in the whole process each time
    )


@pytest.mark.parametrize('name', KEPT_SAMPLES)
def test_kept_samples(name, picture_tree, tmp_path):
    """Whatever lies in the file, the samples are those of the images."""
    flag, options = tmp_path / 'flag', dict(where='disk', folder=str(tmp_path / 'kept'))
    without = classification(picture_tree, pictures_of, None)
    some = addresses(without)[:12]
    expected = read(without, some)
    pack = kept_pack(dataset := classification(picture_tree, pictures_of, options))
    read(dataset, some)
    keys = list(pack._places)
    assert keys
    (path,) = (tmp_path / 'kept').glob('*.pack')
    value = KEPT_SAMPLES[name](flag)
    records = b''.join(_record(key, value) for key in keys)
    assert len(records) % ALIGN == 0
    path.unlink()
    path.write_bytes(records)
    SampleCache._packs.clear()  # another process has none of them open
    replaced = classification(picture_tree, pictures_of, options)
    assert len(kept_pack(replaced)) >= len(keys)
    assert read(replaced, some) == expected
    assert not flag.exists()


def maps(folder):
    paths = []
    for number in range(3):
        path = folder / f'{number}.png'
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(path)
        paths.append(str(path))
    return paths


def pickled(path, flag):
    np.save(path, np.array([touch(flag)] * 3, dtype=object), allow_pickle=True)


def zipped(path, flag):
    with path.open('wb') as file:
        np.savez(file, counts=np.zeros((3, 256)))


def huge_header(path, flag):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776, 256), }"
    length = -(-(len(header) + 11) // 64) * 64 - 10
    start = b'\x93NUMPY\x01\x00' + length.to_bytes(2, 'little')
    path.write_bytes(start + header.ljust(length - 1) + b'\n' + bytes(64))


INDICES = dict(
    pickled=pickled,
    zipped=zipped,
    huge_header=huge_header,
    empty=lambda path, flag: path.write_bytes(b''),
    text=lambda path, flag: path.write_text('0 1 2'),
    cut_off=lambda path, flag: path.write_bytes(path.read_bytes()[:-100]),
    fractions=lambda path, flag: np.save(path, np.zeros((3, 256))),
    negative=lambda path, flag: np.save(path, np.full((3, 256), -1)),
    other_shape=lambda path, flag: np.save(path, np.zeros((2, 256), np.int64)),
    large=lambda path, flag: np.save(path, np.zeros((3, 1 << 20), np.int64)),
)


@pytest.mark.parametrize('name', INDICES)
def test_counts_of_maps(name, tmp_path):
    flag, paths, cache = tmp_path / 'flag', maps(tmp_path), tmp_path / 'index'
    expected = SemanticIndex(paths, cache, 'maps').counts
    (path,) = cache.glob('*.npy')
    INDICES[name](path, flag)
    assert np.array_equal(SemanticIndex(paths, cache, 'maps').counts, expected)
    assert np.array_equal(np.load(path), expected)  # written anew
    assert not flag.exists()


def test_json_of_a_role(tmp_path):
    """A file with the right name and other contents is not what host and metric read."""
    (tmp_path / 'pictures').mkdir()
    Image.new('RGB', (20, 10)).save(tmp_path / 'pictures' / 'a.png')
    content = dict(
        images=[dict(id=1, file_name='a.png', width=20, height=10)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0)],
    )
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    pictures = dict(
        type='mmdet.CocoDataset', ann_file='boxes.json', data_root=str(tmp_path),
        data_prefix=dict(img='pictures/'), pipeline=[],
    )  # fmt: skip

    def build():
        options = dict(dataset=pictures, cache_dir=str(tmp_path / 'json'))
        classes = dict(old=['cat', 'dog'], learn=[], forget=['cat'])
        return RoleDataset(dict(forget=options), classes, view='knowswap_mm.CocoRoleView')

    build()
    (path,) = (tmp_path / 'json').glob('*.json')
    written = path.read_bytes()
    for other in (written.replace(b'a.png', b'b.png'), b'', b'[' * 99_999):
        path.write_bytes(other)
        assert build().views['forget'].data_info(0)['img_path'].endswith('pictures/a.png')
        assert path.read_bytes() == written
    os.unlink(path)
    path.symlink_to(tmp_path / 'boxes.json')
    build()
    assert path.read_bytes() == written and (tmp_path / 'boxes.json').read_text() == json.dumps(
        content
    )
