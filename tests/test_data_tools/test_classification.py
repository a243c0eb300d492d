"""Miniature copies of publishers' folders, whole and damaged."""

import hashlib
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.data_tools.conversion import _made_by
from knowswap_mm.data_tools.images import SourceError, SourceImage
from knowswap_mm.data_tools.publishers import ClassFolders, Cub, OxfordPet
from knowswap_mm.data_tools.selection import select_images
from knowswap_mm.data_tools.trees import ImageTree
from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.errors import ConfigError

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'classification.py'


def draw(path, seed=0, mode='RGB', **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path, **options)


def write_cub(root):
    """Two birds with three images each; one is grey, one CMYK, as some of the real ones are."""
    classes = ['001.Black_footed_Albatross', '002.Laysan_Albatross']
    lines = {name: [] for name in ('images', 'image_class_labels', 'train_test_split')}
    for number in range(6):
        name = f'{classes[number // 3]}/Bird_{number:04d}_{number}.jpg'
        draw(root / 'images' / name, number, {1: 'L', 4: 'CMYK'}.get(number, 'RGB'))
        lines['images'].append(f'{number + 1} {name}')
        lines['image_class_labels'].append(f'{number + 1} {number // 3 + 1}')
        lines['train_test_split'].append(f'{number + 1} {int(number % 3 < 2)}')
    lines['classes'] = [f'{i + 1} {name}' for i, name in enumerate(classes)]
    for name, content in lines.items():
        (root / f'{name}.txt').write_text('\n'.join(content) + '\n')
    return root


def write_pet(root):
    lists = dict(trainval=[], test=[])
    for label, breed in enumerate(('Abyssinian', 'american_bulldog'), 1):
        for number in range(1, 5):
            name = f'{breed}_{number}'
            draw(root / 'images' / f'{name}.jpg', number)
            lists['test' if number == 4 else 'trainval'].append(f'{name} {label} 1 {label}')
    (root / 'annotations').mkdir()
    for name, content in lists.items():
        head = '#Image CLASS-ID SPECIES BREED ID\n'
        (root / 'annotations' / f'{name}.txt').write_text(head + '\n'.join(content) + '\n')
    return root


def write_folders(root, splits=('',)):
    for split in splits:
        for name in ('café', 'n01537544', 'wood'):
            for number in range(10):
                draw(root / split / name / f'{name} {number}.png', number)
        (root / split / 'wood' / 'notes.txt').write_text('no image')
    return root


def by_class(pictures):
    found = {}
    for picture in pictures:
        found.setdefault((picture.split, picture.class_name), []).append(picture.path.name)
    return {key: len(names) for key, names in found.items()}


def test_cub(tmp_path):
    found = by_class(Cub(write_cub(tmp_path)).images())
    names = ('001.Black_footed_Albatross', '002.Laysan_Albatross')
    assert found == {(s, n): c for s, c in (('train', 2), ('val', 1)) for n in names}


def test_oxford_pet(tmp_path):
    found = by_class(OxfordPet(write_pet(tmp_path)).images())
    breeds = ('Abyssinian', 'american_bulldog')
    assert found == {(s, n): c for s, c in (('train', 3), ('val', 1)) for n in breeds}


def test_class_folders_with_and_without_splits(tmp_path):
    split = by_class(ClassFolders(write_folders(tmp_path / 'a', ('train', 'val'))).images())
    assert set(split.values()) == {10} and len(split) == 6
    flat = ClassFolders(write_folders(tmp_path / 'b'), val_share=0.3, seed=1)
    assert by_class(flat.images())['val', 'café'] == 3
    assert flat.images() == flat.images()
    other = ClassFolders(tmp_path / 'b', val_share=0.3, seed=2)
    assert flat.images() != other.images()


def test_selection(tmp_path):
    pictures = ClassFolders(write_folders(tmp_path, ('train', 'val'))).images()
    chosen = select_images(pictures, ['wood', 'café'], per_class=4)
    assert by_class(chosen) == {
        (s, n): c for s, c in (('train', 4), ('val', 10)) for n in ('café', 'wood')
    }
    assert by_class(select_images(pictures, fraction=0.5))['train', 'wood'] == 5
    # What is drawn of a class does not depend on the others.
    alone = [p for p in select_images(pictures, ['wood'], 4) if p.split == 'train']
    assert alone == [p for p in chosen if p.class_name == 'wood' and p.split == 'train']
    with pytest.raises(SourceError, match="no class 'x'"):
        select_images(pictures, ['x'])
    with pytest.raises(SourceError, match='listed twice'):
        select_images(pictures, ['wood', 'wood'])
    for wrong in (dict(fraction=0), dict(fraction=1.1), dict(per_class=0)):
        with pytest.raises(ConfigError, match='--fraction|--per-class'):
            select_images(pictures, **wrong)


@pytest.mark.parametrize('way', ['link', 'copy'])
def test_tree_is_written_once_and_mended(tmp_path, way):
    pictures = Cub(write_cub(tmp_path / 'source')).images()
    tree = ImageTree(tmp_path / 'out', tmp_path / 'source')
    assert tree.write(pictures, dict(seed=0), way, dict(learn=['001.Black_footed_Albatross']))
    out = tmp_path / 'out'
    picture = pictures[0]
    placed = out / 'train' / picture.class_name / picture.path.name
    assert placed.read_bytes() == picture.path.read_bytes()
    assert placed.samefile(picture.path) == (way == 'link')
    assert (out / 'roles' / 'learn.txt').read_text() == '001.Black_footed_Albatross\n'
    assert len((out / 'splits' / 'train.txt').read_text().splitlines()) == 4
    # Two classes: the name and a row of squares each.
    assert Image.open(out / 'contact_sheet.jpg').height == 2 * (20 + 96 + 4)
    again = dict(learn=['001.Black_footed_Albatross'])
    assert not tree.write(pictures, dict(seed=0), way, again)
    placed.unlink()
    assert tree.write(pictures, dict(seed=0), way, again) and placed.exists()
    assert tree.write(pictures[1:], dict(seed=0), way, again) and not placed.exists()


def test_every_damaged_picture_is_named_and_nothing_is_written(tmp_path):
    root = write_folders(tmp_path / 'source', ('train',))
    for number in (2, 5):
        path = root / 'train' / 'wood' / f'wood {number}.png'
        path.write_bytes(path.read_bytes()[:60])
    pictures = ClassFolders(root).images()
    with pytest.raises(SourceError) as caught:
        ImageTree(tmp_path / 'out', root).write(pictures, {})
    assert len(caught.value.problems) == 2
    assert 'wood 2.png' in str(caught.value) and 'wood 5.png' in str(caught.value)
    assert not (tmp_path / 'out').exists()
    double = [SourceImage('train', 'a', tmp_path / x / 'same.png') for x in 'xy']
    with pytest.raises(SourceError, match='two images would be train/a/same.png'):
        ImageTree(tmp_path / 'out', root).write(double, {})


def test_damaged_sources(tmp_path):
    with pytest.raises(SourceError, match='no such folder'):
        ClassFolders(tmp_path / 'nowhere').images()
    (tmp_path / 'empty' / 'class').mkdir(parents=True)
    with pytest.raises(SourceError, match='no image in class folders'):
        ClassFolders(tmp_path / 'empty').images()
    cub = write_cub(tmp_path / 'cub')
    next((cub / 'images').rglob('Bird_0002*')).unlink()
    (cub / 'image_class_labels.txt').write_text('1 1\n2 9\n3 1\n4 2\n5 2\n6 2\n')
    (cub / 'train_test_split.txt').write_text('1 1\n2 1\n3 1\n4 7\n5 1\n')
    with pytest.raises(SourceError) as caught:
        Cub(cub).images()
    text = str(caught.value)
    assert 'image 2' in text and 'has no class' in text
    assert 'Bird_0002_2.jpg is missing' in text and text.count('has no split') == 2
    (cub / 'classes.txt').write_text('1\n')
    with pytest.raises(SourceError, match='too few columns'):
        Cub(cub).images()
    (cub / 'classes.txt').unlink()
    with pytest.raises(SourceError, match=r'classes\.txt cannot be read'):
        Cub(cub).images()
    pet = write_pet(tmp_path / 'pet')
    (pet / 'images' / 'Abyssinian_4.jpg').unlink()
    path = pet / 'annotations' / 'trainval.txt'
    path.write_text(path.read_text().replace('american_bulldog_2 2', 'american_bulldog_2 7'))
    with pytest.raises(SourceError) as caught:
        OxfordPet(pet).images()
    assert 'Abyssinian_4.jpg is missing' in str(caught.value)
    assert 'american_bulldog_2 has class 7, not 2' in str(caught.value)
    path.write_text('')
    with pytest.raises(SourceError, match=r'trainval\.txt is empty'):
        OxfordPet(pet).images()


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['classification.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_tool(tmp_path, monkeypatch, capsys):
    source = write_folders(tmp_path / 'source', ('train', 'val'))
    (tmp_path / 'forget.txt').write_text('wood\n')
    common = ['class-folders', '--source', source, '--out', tmp_path / 'out']
    run_tool(monkeypatch, *common, '--forget', tmp_path / 'forget.txt')
    said = capsys.readouterr().out
    assert 'written, 60 images, 3 classes' in said and 'place' not in said
    roles = {p.stem: p.read_text().split() for p in (tmp_path / 'out' / 'roles').iterdir()}
    assert roles == dict(forget=['wood'], retain=['café', 'n01537544'])
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    assert manifest['counts']['train/wood'] == 10 and '--forget' in manifest['request']['command']
    run_tool(monkeypatch, *common, '--forget', tmp_path / 'forget.txt')
    said = capsys.readouterr().out
    assert 'is there already' in said and 'place' not in said
    for options, problem in (
        (['--forget', 'nothing'], "no class 'nothing'"),
        (['--learn', 'wood', '--forget', 'wood'], 'leave out --classes and --forget'),
        (['--fraction', '2'], r'--fraction = 2.0: not .* in \(0, 1\]'),
    ):
        with pytest.raises(SystemExit, match=problem):
            run_tool(monkeypatch, *common, *options)
    run_tool(monkeypatch, *common, '--learn', 'wood', 'café', '--per-class', '3')
    said = capsys.readouterr().out
    assert 'written, 26 images, 2 classes' in said
    assert 'took the place of what `knowswap data classification class-folders --source ' in said
    assert _made_by(tmp_path / 'out', 'detection') == 'an earlier command'


class TestNamesOfClassesAndFiles:
    """What converters take, lists give back and the hosts' data sets read (issue 24)."""

    @pytest.fixture
    def source(self, tmp_path):
        """Two classes; of C# there is an image of every kind, and what systems leave behind."""
        root = tmp_path / 'source'
        for number, ending in enumerate(('jpg', 'jfif', 'jpe', 'JPEG', 'webp', 'tiff', 'TIF')):
            kind = dict(webp='WEBP', tiff='TIFF', TIF='TIFF').get(ending, 'JPEG')
            options = dict(lossless=True) if kind == 'WEBP' else {}
            draw(root / 'C#' / f'{number}.{ending}', number, format=kind, **options)
        draw(root / 'C' / '0.png')
        draw(root / 'C' / 'below' / '1.png', 1)
        for name in ('._0.jpg', 'Thumbs.db', '.DS_Store', 'note.txt'):
            (root / 'C#' / name).write_bytes(b'x')
        for name in ('.git', '__MACOSX'):
            (root / name).mkdir()
            (root / name / '1.jpg').write_bytes(b'x')
        return root

    def convert(self, source, *options):
        words = ['class-folders', '--source', source, '--out', source.parent / 'out', *options]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [str(TOOL), *map(str, words), '--val-share', '0'])
            runpy.run_path(str(TOOL), run_name='__main__')
        return source.parent / 'out'

    @pytest.mark.parametrize('way', ['link', 'copy'])
    def test_the_host_reads_every_image_that_is_written(self, way, source):
        from mmpretrain.datasets import CustomDataset

        out = self.convert(source, *(['--copy'] if way == 'copy' else []))
        data = CustomDataset(data_prefix=str(out / 'train'), pipeline=[])  # its own endings
        labels = [data.get_data_info(i)['gt_label'] for i in range(len(data))]
        assert data.metainfo['classes'] == ('C', 'C#') and labels == [0] * 2 + [1] * 7
        written = np.asarray(Image.open(out / 'train' / 'C#' / '4.png'))
        with Image.open(out / 'train' / 'C#' / '4.png') as image:
            assert image.format == 'PNG'
        assert (written == np.asarray(Image.open(source / 'C#' / '4.webp'))).all()
        for line in (out / 'checksums.txt').read_text().splitlines():
            digest, name = line.split('  ', 1)
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest

    def test_a_class_is_forgotten_by_its_whole_name(self, source):
        (source.parent / 'forget.txt').write_text('# languages\nC#\n')
        out = self.convert(source, '--forget', source.parent / 'forget.txt')
        assert read_class_names('swap.classes.forget', str(out / 'roles/forget.txt')) == ['C#']
        assert read_class_names('swap.classes.retain', str(out / 'roles/retain.txt')) == ['C']
        assert read_class_names('swap.classes.old', str(out / 'classes.txt')) == ['C', 'C#']

    def test_a_list_may_have_another_form_of_unicode(self, source):
        (source / 'C').rename(source / 'cafe\u0301')
        out = self.convert(source, '--forget', 'caf\xe9')
        (folder,) = [path.name for path in (out / 'train').iterdir() if path.name != 'C#']
        assert folder == 'cafe\u0301'
        assert read_class_names('swap.classes.forget', str(out / 'roles/forget.txt')) == ['caf\xe9']

    @pytest.mark.parametrize('name', ['# C', '#', ' C', 'C ', 'a\nb', '\ufeffC'])
    def test_names_that_would_not_be_read_back(self, name, source):
        draw(source / name / '0.jpg')
        with pytest.raises(SystemExit, match='so no list can hold it'):
            self.convert(source)
        assert not (source.parent / 'out').exists()

    def test_images_that_become_one_name(self, source):
        draw(source / 'C#' / '1.jpg')  # beside 1.jfif
        with pytest.raises(SystemExit, match='two images would be train/C#/1.jpg'):
            self.convert(source)

    def test_what_no_host_reads_is_told(self, source, capsys):
        (source / 'C' / '5.gif').write_bytes(b'x')
        self.convert(source)
        assert 'left out, because no host reads it: 1 .gif' in capsys.readouterr().err

    def test_an_empty_image_is_named(self, source):
        (source / 'C' / '7.jpg').write_bytes(b'')
        with pytest.raises(SystemExit, match='7.jpg'):
            self.convert(source)
