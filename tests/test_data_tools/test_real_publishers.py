"""Grocery Store photos and CamVid as their publishers ship them."""

import hashlib
import shutil

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from knowswap_mm.cli.commands.data import TASKS
from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import CamVid, GroceryStore
from tests.helpers import real_sources


@pytest.fixture(scope='module')
def grocery(tmp_path_factory):
    """The repository; tests that change it take a copy."""
    root = tmp_path_factory.mktemp('grocery') / 'GroceryStoreDataset'
    real_sources.grocery(root)
    return root


def convert(task, *words):
    TASKS[task].main([str(word) for word in words])


class TestGrocery:
    def test_lists_and_classes(self, grocery):
        images = GroceryStore(grocery).images()
        assert images == GroceryStore(grocery / 'dataset').images()
        leek = [(p.split, p.name or p.path.name) for p in images if p.class_name == 'Leek']
        assert leek == [('train', 'Leek_001.jpg'), ('train', 'val_Leek_001.jpg'),
                        ('test', 'Leek_001.jpg')]  # fmt: skip
        assert {p.class_name for p in images} == {*real_sources.OLD, *real_sources.NEW, 'Asparagus'}

    def test_squares_of_one_size(self, grocery, tmp_path):
        out = tmp_path / 'new'
        common = ('grocery', '--source', grocery, '--out', out, '--learn', 'Leek', 'Cabbage')
        convert('classification', *common, '--size', 16)
        names = sorted(p.relative_to(out).as_posix() for p in out.glob('t*/*/*'))
        assert names == ['test/Cabbage/Cabbage_001.jpg', 'test/Leek/Leek_001.jpg',
                         'train/Cabbage/Cabbage_001.jpg', 'train/Leek/Leek_001.jpg',
                         'train/Leek/val_Leek_001.jpg']  # fmt: skip
        for name in names:
            with Image.open(out / name) as image:
                assert image.size == (16, 16) and image.format == 'JPEG'
        lines = [line.split('  ') for line in (out / 'checksums.txt').read_text().splitlines()]
        assert sorted(name for _, name in lines) == names
        for digest, name in lines:
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
        manifest = (out / 'manifest.json').read_text()
        convert('classification', *common, '--size', 16)
        assert (out / 'manifest.json').read_text() == manifest
        convert('classification', *common)  # another request: whole images
        with Image.open(out / names[0]) as image:
            assert image.size == (24, 32)
        for size in ('0', '5000'):
            with pytest.raises(SystemExit, match='--size'):
                convert('classification', *common, '--size', size)

    def test_the_middle_is_cut_out_upright(self, tmp_path):
        """White but for a black square in the middle, stored turned by EXIF."""
        values = np.full((20, 40, 3), 255, np.uint8)
        values[:, 10:30] = 0
        exif = Image.Exif()
        exif[0x0112] = 6
        for split in ('train', 'val'):
            (tmp_path / 'source' / split / 'a').mkdir(parents=True)
            Image.fromarray(values).save(tmp_path / 'source' / split / 'a' / 'x.png', exif=exif)
        convert('classification', 'class-folders', '--source', tmp_path / 'source', '--out',
                tmp_path / 'out', '--size', 10)  # fmt: skip
        with Image.open(tmp_path / 'out/train/a/x.png') as image:
            assert image.size == (10, 10) and not image.getexif()
            assert (np.asarray(image) == 0).all()

    def test_what_is_wrong_is_named(self, grocery, tmp_path):
        root = shutil.copytree(grocery, tmp_path / 'copy')
        data = root / 'dataset'
        next(data.glob('test/*/*/Lime/*')).unlink()
        with (data / 'train.txt').open('a') as file:
            file.write('train/Fruit/Some/Leek/Leek_001.jpg\ntrain/a/a.jpg, 99, 4\n')
        with pytest.raises(SourceError) as caught:
            GroceryStore(root).images()
        assert len(caught.value.problems) == 3
        assert 'Lime_001.jpg is missing' in str(caught.value)
        assert str(caught.value).count('has no class of classes.csv') == 2
        (data / 'classes.csv').write_text('Name,Id\nLeek,0\n')
        with pytest.raises(SourceError, match='must give each class a'):
            GroceryStore(root).images()
        (data / 'classes.csv').unlink()
        with pytest.raises(SourceError, match=r'classes\.csv cannot be read'):
            GroceryStore(root).images()


class TestCamVid:
    @pytest.mark.parametrize('listed', [True, False], ids=['published', 'shared'])
    def test_a_role_view_reads_what_is_written(self, listed, tmp_path):
        """Of the publisher's png files with lists, and of jpg files with 255 and without lists."""
        real_sources.camvid(tmp_path / 'source', listed)
        out = tmp_path / 'out'
        convert('segmentation', 'camvid', '--source', tmp_path / 'source', '--out', out)
        ending = 'png' if listed else 'jpg'
        counts = {
            s: len(list(out.glob(f'{s}/images/*.{ending}'))) for s in ('train', 'val', 'test')
        }
        assert counts == dict(train=3, val=1, test=2)
        names = (out / 'classes.txt').read_text().split()
        assert names == CamVid.classes and len(names) == 11
        (path, *_) = out.glob('train/annotations/*.png')
        assert set(np.unique(np.asarray(Image.open(path)))) == {*range(11), 255}
        load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
        dataset = dict(
            type='BaseSegDataset',
            data_root=str(out),
            data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
            img_suffix=f'.{ending}',
            metainfo=dict(classes=names),
            pipeline=[*load, dict(type='PackSegInputs')],
        )
        old = [name for name in names if name not in ('car', 'bicyclist')]
        role = dict(dataset=dataset, cache_dir=str(tmp_path / 'cache'))
        with DefaultScope.overwrite_default_scope('mmseg'):
            roles = DATASETS.build(
                dict(
                    type='knowswap_mm.RoleDataset',
                    view='knowswap_mm.SemanticRoleView',
                    roles=dict(forget=role, learn=role),
                    classes=dict(old=old, learn=['car', 'bicyclist'], forget=['tree', 'fence']),
                )
            )
            samples = [roles[i]['data_samples'] for i in range(len(roles))]
        labels = {s.metainfo['role']: set(np.unique(s.gt_sem_seg.data).tolist()) for s in samples}
        assert labels == dict(
            learn={9, 10, 255}, forget={old.index('tree'), old.index('fence'), 255}
        )

    def test_chosen_classes_get_ids_in_their_order(self, tmp_path):
        real_sources.camvid(tmp_path / 'source')
        words = ('camvid', '--source', tmp_path / 'source/CamVid', '--out', tmp_path / 'out')
        convert('segmentation', *words, '--learn', 'car', 'bicyclist')
        (path, *_) = (tmp_path / 'out').glob('test/annotations/*.png')
        assert set(np.unique(np.asarray(Image.open(path)))) == {0, 1, 255}
        assert (tmp_path / 'out/classes.txt').read_text().split() == ['car', 'bicyclist']
        convert('segmentation', *words, '--forget', 'tree', '--layout', 'official')

    def test_what_is_wrong_is_named(self, tmp_path):
        root = tmp_path / 'source'
        real_sources.camvid(root)
        (path, *_) = (root / 'CamVid/testannot').glob('*.png')
        image = next((root / 'CamVid/train').iterdir())
        Image.fromarray(np.full((36, 48), 12, np.uint8)).save(path)
        with pytest.raises(SystemExit, match='is no map of CamVid: ids go from 0 to 11, and 255'):
            convert('segmentation', 'camvid', '--source', root, '--out', tmp_path / 'out')
        image.unlink()
        with pytest.raises(SourceError, match=rf'train/{image.name} is missing'):
            CamVid(root).images()
        (root / 'CamVid/val.txt').write_text('/SegNet/CamVid/val/a.png\n')
        with pytest.raises(SourceError, match='does not name an image and its map in turn'):
            CamVid(root).images()
        with pytest.raises(SourceError, match=r'train/ has no images\. Fix: give the folder'):
            CamVid(tmp_path / 'nowhere').images()
