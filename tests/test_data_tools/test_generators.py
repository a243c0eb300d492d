import gzip
import json
import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.data_tools.generators import fashion_mnist
from knowswap_mm.data_tools.generators import trees as image_folder
from knowswap_mm.data_tools.generators.fashion_mnist import (
    FASHION_CLASSES,
    find_source,
    hold_out,
    load_part,
    read_idx,
)
from knowswap_mm.data_tools.generators.shapes import (
    SHAPE_CLASSES,
    TEXTURE_KINDS,
    make_shape_images,
    make_texture,
    shape_coverage,
)
from knowswap_mm.data_tools.generators.trees import Split, read_manifest, write_image_folder

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


def idx_bytes(array: np.ndarray) -> bytes:
    header = b'\0\0\x08' + bytes([array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_gz(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A Fashion-MNIST folder of 60 + 20 images; the first pixel is the image's number."""
    folder = tmp_path / 'idx'
    folder.mkdir()
    parts = {}
    for part, (images, labels, _) in fashion_mnist.PARTS.items():
        count = 60 if part == 'train' else 20
        pictures = np.zeros((count, 28, 28), np.uint8)
        pictures[:, 0, 0] = np.arange(count) + (100 if part == 'test' else 0)
        write_gz(folder / images, idx_bytes(pictures))
        write_gz(folder / labels, idx_bytes(np.arange(count) % 10))
        parts[part] = (images, labels, count)
    monkeypatch.setattr(fashion_mnist, 'PARTS', parts)
    return folder


def run_tool(monkeypatch, name: str, *args) -> None:
    monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
    runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')


def first_pixels(folder: Path) -> set:
    return {int(np.asarray(Image.open(path))[0, 0]) for path in folder.glob('*/*.png')}


class TestIdx:
    def test_shape_and_values(self, tmp_path):
        array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
        got = read_idx(write_gz(tmp_path / 'a.gz', idx_bytes(array)))
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, array)

    @pytest.mark.parametrize(
        'content, message',
        [
            (b'', 'begins with nothing'),
            (b'\0\0\x0d\x03' + bytes(12), 'begins with 00000d03'),
            (idx_bytes(np.zeros((2, 3), np.uint8)), 'begins with 00000802'),
            (b'\0\0\x08\x03' + bytes(6), 'ends inside its header'),
            (idx_bytes(np.zeros(5, np.uint8))[:-1], 'announces 5 bytes .* holds 4'),
            (idx_bytes(np.zeros(5, np.uint8)) + b'x', 'announces 5 bytes .* holds 6'),
        ],
    )
    def test_bad_content(self, tmp_path, content, message):
        path = write_gz(tmp_path / 'bad.gz', content)
        with pytest.raises(ValueError, match=message) as error:
            read_idx(path)
        assert str(path) in str(error.value)
        assert 'dataset-fashion-mnist' in str(error.value) and '--source' in str(error.value)

    @pytest.mark.parametrize(
        'damage',
        [
            lambda data: data[: len(data) // 2],
            lambda data: data[5:],
            lambda data: data[:30] + b'\xff' * 20 + data[50:],
        ],
    )
    def test_damaged_gzip(self, tmp_path, damage):
        noise = np.random.default_rng(0).integers(0, 256, (4, 28, 28))
        path = tmp_path / 'cut.gz'
        path.write_bytes(damage(gzip.compress(idx_bytes(noise))))
        with pytest.raises(ValueError, match='cut.gz is cut off or no gzip file'):
            read_idx(path)

    def test_missing_files_are_named(self, source):
        assert find_source(source) == source
        (source / 't10k-labels-idx1-ubyte.gz').unlink()
        with pytest.raises(FileNotFoundError, match='no t10k-labels-idx1-ubyte.gz; install'):
            find_source(source)

    def test_counts_are_checked(self, source):
        write_gz(source / 'train-labels-idx1-ubyte.gz', idx_bytes(np.zeros(59)))
        with pytest.raises(ValueError, match=r'train-labels.* has shape \(59,\), not \(60,\)'):
            load_part(source, 'train')

    def test_labels_are_checked(self, source):
        write_gz(source / 'train-labels-idx1-ubyte.gz', idx_bytes(np.full(60, 10)))
        with pytest.raises(ValueError, match='a label 10 above 9'):
            load_part(source, 'train')


class TestHoldOut:
    def test_last_of_each_class(self):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 10))
        kept, held = hold_out(labels, 3)
        assert sorted((*kept, *held)) == list(range(40))
        np.testing.assert_array_equal(np.bincount(labels[held]), [3] * 4)
        for label in range(4):
            last = max(i for i in kept if labels[i] == label)
            assert last < min(i for i in held if labels[i] == label)

    @pytest.mark.parametrize('count', [-1, 10])
    def test_refuses(self, count):
        with pytest.raises(ValueError):
            hold_out(np.zeros(10, int), count)


def shape_mask(*place):
    """The pixels that a shape covers by half or more."""
    return shape_coverage(*place) >= 128


class TestShapes:
    def test_masks_lie_inside_with_positive_area(self):
        for name in SHAPE_CLASSES:
            for angle in range(0, 360, 15):
                mask = shape_mask(name, (40, 44), (22.3, 19.7), 15, angle)
                assert mask.shape == (40, 44) and mask.dtype == bool
                assert mask.sum() > 100, name
                rows, columns = np.nonzero(mask)
                distance = np.hypot(rows + 0.5 - 19.7, columns + 0.5 - 22.3)
                assert distance.max() <= 15.5, name

    def test_exact_area(self):
        area = {
            name: shape_coverage(name, (200, 200), (100, 100), 90).sum() / 255
            for name in ('disc', 'ring', 'square')
        }
        np.testing.assert_allclose(area['disc'], np.pi * 90**2, rtol=0.01)
        np.testing.assert_allclose(area['ring'], np.pi * 90**2 * (1 - 0.55**2), rtol=0.02)
        np.testing.assert_allclose(area['square'], 2 * 90**2, rtol=0.02)
        assert not shape_mask('ring', (200, 200), (100, 100), 90)[100, 100]

    def test_centre_is_in_pixel_units(self):
        coverage = shape_coverage('disc', (30, 50), (20, 12), 8).astype(float)
        rows, columns = np.indices(coverage.shape)
        np.testing.assert_allclose(np.average(columns + 0.5, weights=coverage), 20, atol=0.05)
        np.testing.assert_allclose(np.average(rows + 0.5, weights=coverage), 12, atol=0.05)

    def test_no_class_is_another_one_turned_or_mirrored(self):
        masks = {
            name: [shape_mask(name, (64, 64), (32, 32), 30, angle) for angle in range(0, 360, 5)]
            for name in SHAPE_CLASSES
        }
        assert len(masks) == 16
        for i, first in enumerate(SHAPE_CLASSES):
            for second in SHAPE_CLASSES[i + 1 :]:
                for straight in (masks[first][0], masks[first][0][:, ::-1]):
                    best = max(
                        (straight & turned).sum() / (straight | turned).sum()
                        for turned in masks[second]
                    )
                    assert best < 0.8, (first, second, best)

    def test_cut_at_the_border(self):
        whole = shape_mask('star', (60, 60), (30, 30), 14, 20)
        part = shape_mask('star', (30, 30), (30, 30), 14, 20)
        np.testing.assert_array_equal(part, whole[:30, :30])
        assert not shape_mask('star', (30, 30), (100, -50), 14).any()

    def test_refuses(self):
        with pytest.raises(ValueError, match="no shape 'blob'"):
            shape_mask('blob', (10, 10), (5, 5), 4)
        with pytest.raises(ValueError, match='above 0, not 0'):
            shape_mask('disc', (10, 10), (5, 5), 0)
        with pytest.raises(ValueError, match='size is 8'):
            make_shape_images(1, size=8)
        with pytest.raises(ValueError, match=r"no shapes \['blob'\]"):
            make_shape_images(1, classes=['disc', 'blob'])

    def test_pictures_depend_on_seed_class_and_number_only(self):
        many = make_shape_images(4, 32, seed=5)
        assert many.images.shape == (64, 32, 32, 3) and many.images.dtype == np.uint8
        few = make_shape_images(2, 32, seed=5, classes=['star', 'disc'])
        np.testing.assert_array_equal(few.labels, [0, 0, 1, 1])
        for label, name in enumerate(('star', 'disc')):
            start = SHAPE_CLASSES.index(name) * 4
            np.testing.assert_array_equal(
                few.images[label * 2 : label * 2 + 2], many.images[start : start + 2]
            )
        other = make_shape_images(4, 32, seed=6)
        assert all((a != b).any() for a, b in zip(many.images, other.images, strict=True))

    def test_textures(self):
        colours = np.array(((0, 10, 20), (200, 100, 255)))
        pictures = {}
        for kind in TEXTURE_KINDS:
            pictures[kind] = make_texture(kind, (30, 44), colours, np.random.default_rng(1))
            assert pictures[kind].shape == (30, 44, 3)
            assert (pictures[kind] >= colours[0] - 1e-3).all()
            assert (pictures[kind] <= colours[1] + 1e-3).all()
            assert (np.ptp(pictures[kind][..., 0]) > 50) == (kind != 'flat')
        with pytest.raises(ValueError, match="no texture 'wool'"):
            make_texture('wool', (4, 4), colours, np.random.default_rng(1))


class TestImageFolder:
    classes = ('zebra', 'ant')

    def splits(self, calls=None):

        def make(base, count):
            if calls is not None:
                calls.append(base)
            images = np.zeros((2 * count, 8, 8), np.uint8)
            images[:, 0, 0] = base + np.arange(2 * count)
            return Split(images, np.arange(2 * count) % 2)

        return dict(train=lambda: make(0, 5), test=lambda: make(100, 2))

    def write(self, root, calls=None, seed=1, **kwargs):
        return write_image_folder(root, self.classes, self.splits(calls), dict(seed=seed), **kwargs)

    def test_tree_and_lists(self, tmp_path):
        root = tmp_path / 'deep' / 'tree'
        assert self.write(root, subsets=dict(only=['ant']))
        assert first_pixels(root / 'train') == set(range(10))
        lines = (root / 'meta' / 'train.txt').read_text().splitlines()
        assert lines[0] == 'zebra/00000.png 0' and lines[-1] == 'ant/00009.png 1'
        assert all((root / 'train' / line.split()[0]).is_file() for line in lines)
        only = (root / 'meta' / 'only_test.txt').read_text().splitlines()
        assert only == ['ant/00001.png 0', 'ant/00003.png 0']
        manifest = read_manifest(root)
        assert manifest['counts'] == dict(train=dict(zebra=5, ant=5), test=dict(zebra=2, ant=2))
        assert manifest['request']['seed'] == 1

    def test_second_run_does_nothing(self, tmp_path):
        calls = []
        assert self.write(tmp_path / 'tree', calls)
        assert not self.write(tmp_path / 'tree', calls)
        assert calls == [0, 100]

    def test_other_request_replaces(self, tmp_path):
        root = tmp_path / 'tree'
        self.write(root)
        assert self.write(root, per_class=2)
        assert first_pixels(root / 'train') == {0, 1, 2, 3}
        assert self.write(root, seed=2)
        assert len(first_pixels(root / 'train')) == 10
        assert [path.name for path in tmp_path.iterdir()] == ['tree']

    def test_so_does_one_after_another_tool(self, tmp_path):
        """`knowswap data` counts otherwise."""
        root = tmp_path / 'tree'
        root.mkdir()
        (root / 'manifest.json').write_text(json.dumps(dict(request={}, counts={'train/ant': 3})))
        assert read_manifest(root) is None and self.write(root)

    def test_lost_picture_is_noticed(self, tmp_path):
        root = tmp_path / 'tree'
        self.write(root)
        (root / 'train' / 'ant' / '00001.png').unlink()
        assert read_manifest(root) is None
        assert self.write(root) and len(first_pixels(root / 'train')) == 10

    def test_interrupted_writing_is_redone(self, tmp_path, monkeypatch):
        root = tmp_path / 'tree'
        real = image_folder._write_split

        def stop(path, name, *args):
            if name == 'test':
                raise KeyboardInterrupt
            return real(path, name, *args)

        monkeypatch.setattr(image_folder, '_write_split', stop)
        with pytest.raises(KeyboardInterrupt):
            self.write(root)
        assert not root.exists() and read_manifest(root) is None
        assert not list(tmp_path.iterdir())
        monkeypatch.undo()
        assert self.write(root)
        assert read_manifest(root) is not None

    def test_two_writers_of_one_tree_have_places_of_their_own(self, tmp_path):
        """Also where each would go on with what a stopped one left (issue 25)."""
        root, places = tmp_path / 'tree', []

        def build(folder):
            places.append(folder)
            if len(places) == 1:  # meanwhile another one begins and ends
                assert write(root)
            assert not list(folder.glob('own'))
            (folder / 'own').touch()
            return dict(files=1)

        def write(root):
            return image_folder.write_tree(root, {}, build, lambda root: None, resume=True)

        assert write(root) and len(set(places)) == 2
        assert sorted(path.name for path in root.iterdir()) == ['manifest.json', 'own']
        assert [path.name for path in tmp_path.iterdir()] == ['tree']

    def test_interrupted_replacement_keeps_the_old_tree(self, tmp_path, monkeypatch):
        root = tmp_path / 'tree'
        self.write(root)

        def stop(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(image_folder, '_write_split', stop)
        with pytest.raises(KeyboardInterrupt):
            self.write(root, seed=2)
        assert read_manifest(root)['request']['seed'] == 1

    @pytest.mark.parametrize('name', ['photo.jpg', 'manifest.json'])
    def test_foreign_files_are_left_alone(self, tmp_path, name):
        (tmp_path / name).write_text('{}')
        with pytest.raises(FileExistsError, match='choose another folder'):
            self.write(tmp_path)
        assert (tmp_path / name).is_file()

    def test_refuses(self, tmp_path):
        with pytest.raises(ValueError, match='per_class must be 1 or more'):
            self.write(tmp_path / 'tree', per_class=0)
        with pytest.raises(ValueError, match=r"\['cat'\]"):
            self.write(tmp_path / 'tree', subsets=dict(pets=['cat']))
        with pytest.raises(ValueError, match='as many images as labels'):
            Split(np.zeros((2, 4, 4)), np.zeros(3))


class TestTools:
    def test_fashion_mnist(self, source, tmp_path, monkeypatch):
        args = ('--source', source, '--out', tmp_path / 'out', '--val-per-class', 2)
        run_tool(monkeypatch, 'fashion_mnist', *args)
        out = tmp_path / 'out'
        # Sixty images, labels 0..9 in turn: the last twenty are the last two of each class.
        assert first_pixels(out / 'train') == set(range(40))
        assert first_pixels(out / 'val') == set(range(40, 60))
        assert first_pixels(out / 'test') == set(range(100, 120))
        lines = (out / 'meta' / 'old7_val.txt').read_text().splitlines()
        assert lines[0] == 't-shirt/00040.png 0' and lines[-1] == 'shirt/00056.png 6'
        assert len(lines) == 14
        lines = (out / 'meta' / 'retrain8_val.txt').read_text().splitlines()
        labels = [int(line.split()[1]) for line in lines]
        assert labels == [label for label in (0, 2, 3, 4, 6, 7, 8, 9) for _ in range(2)]
        for line in lines:
            assert FASHION_CLASSES[int(line.split()[1])] == line.split('/')[0]
        assert {path.name for path in (out / 'train').iterdir()} == set(FASHION_CLASSES)

    def test_fashion_mnist_limit(self, source, tmp_path, monkeypatch):
        args = ('--source', source, '--val-per-class', 2, '--per-class', 1)
        run_tool(monkeypatch, 'fashion_mnist', *args, '--out', tmp_path / 'first')
        assert first_pixels(tmp_path / 'first' / 'train') == set(range(10))
        assert first_pixels(tmp_path / 'first' / 'val') == set(range(40, 50))
        for name in ('a', 'b'):
            run_tool(monkeypatch, 'fashion_mnist', *args, '--seed', 4, '--out', tmp_path / name)
        drawn = first_pixels(tmp_path / 'a' / 'train')
        assert drawn == first_pixels(tmp_path / 'b' / 'train')
        assert drawn < set(range(40)) and drawn != set(range(10))
        assert {pixel % 10 for pixel in drawn} == set(range(10))
        assert first_pixels(tmp_path / 'a' / 'val') < set(range(40, 60))

    def test_shapes(self, tmp_path, monkeypatch):
        out = tmp_path / 'out'
        run_tool(
            monkeypatch,
            'shapes',
            '--out',
            out,
            '--per-class',
            3,
            '--val-per-class',
            2,
            '--classes',
            9,
            '--old',
            4,
        )
        manifest = read_manifest(out)
        assert manifest['counts']['train'] == dict.fromkeys(SHAPE_CLASSES[:9], 3)
        assert manifest['counts']['test'] == dict.fromkeys(SHAPE_CLASSES[:9], 2)
        pictures = [path.read_bytes() for path in out.glob('*/*/*.png')]
        assert len(pictures) == len(set(pictures)) == 9 * 7
        assert len((out / 'meta' / 'old4_train.txt').read_text().splitlines()) == 12
        assert np.asarray(Image.open(out / 'val' / 'disc' / '00000.png')).shape == (28, 28, 3)
