"""Miniature copies of ImageNet, COCO, COCO-Stuff and ADE20K."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import (
    Ade20k,
    Ade20kFull,
    CocoFolder,
    CocoMasks,
    CocoStuff,
    ImageNet,
)

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
WNIDS = ('n01440764', 'n01443537', 'n01484850')


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def photo(path, seed=0, size=(20, 16)):
    save(path, np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)))


def run(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')


def write_imagenet(root, truth):
    for name in WNIDS:
        for number in range(3):
            photo(root / 'train' / name / f'{name}_{number}.JPEG', number)
    names = [f'ILSVRC2012_val_{number:08d}' for number in range(1, 7)]
    labels = [WNIDS[number % 3] for number in range(6)]
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        folder = root / 'val' / (label if truth == 'folders' else '')
        photo(folder / f'{name}.JPEG', number)
    if truth == 'kaggle':
        lines = [f'{name},{label} 1 2 3 4' for name, label in zip(names, labels, strict=True)]
        text = '\n'.join(['ImageId,PredictionString', *lines])
        (root / 'LOC_val_solution.csv').write_text(text)
    if truth == 'devkit':
        data = root / 'ILSVRC2012_devkit_t12' / 'data'
        data.mkdir(parents=True)
        numbers = [str(3 - WNIDS.index(label)) for label in labels]
        (data / 'ILSVRC2012_validation_ground_truth.txt').write_text('\n'.join(numbers))
        kind = [('ILSVRC2012_ID', 'i4'), ('WNID', 'O')]
        rows = [(3 - i, name) for i, name in enumerate(WNIDS)]
        savemat(data / 'meta.mat', dict(synsets=np.array(rows, kind)))
    return root


@pytest.mark.parametrize('truth', ['folders', 'kaggle', 'devkit'])
def test_imagenet(tmp_path, truth):
    pictures = ImageNet(write_imagenet(tmp_path, truth)).images()
    val = {p.path.stem[-1]: p.class_name for p in pictures if p.split == 'val'}
    assert val == {str(n): WNIDS[(n - 1) % 3] for n in range(1, 7)} and len(pictures) == 15


def test_damaged_imagenet(tmp_path):
    with pytest.raises(SourceError, match='train/ is missing'):
        ImageNet(tmp_path).images()
    root = write_imagenet(tmp_path / 'a', 'none')
    with pytest.raises(SourceError, match='no list. Fix: put ILSVRC2012_validation'):
        ImageNet(root).images()
    (root / 'LOC_val_solution.csv').write_text('ImageId,PredictionString\n')
    with pytest.raises(SourceError, match=r'ILSVRC2012_val_00000001\.JPEG has no class'):
        ImageNet(root).images()
    (root / 'LOC_val_solution.csv').write_text('Id\n1\n')
    with pytest.raises(SourceError, match='list of val/ cannot be read'):
        ImageNet(root).images()


def test_official_layout_of_imagenet(tmp_path, monkeypatch, capsys):
    source, out = write_imagenet(tmp_path / 'imagenet', 'kaggle'), tmp_path / 'out'
    arguments = ['imagenet', '--source', source, '--out', out, '--classes', *WNIDS[::-1]]
    run(monkeypatch, 'classification', *arguments, '--forget', WNIDS[0], '--layout', 'official')
    folders = {p.relative_to(out).as_posix() for p in out.glob('*/*/*n0*')}
    names = {'forget': [f'2_{WNIDS[0]}'], 'retain': [f'0_{WNIDS[2]}', f'1_{WNIDS[1]}']}
    assert folders == {f'{r}/{s}/{n}' for r in names for s in ('train', 'test') for n in names[r]}
    assert 'written, 15 images, 3 classes' in capsys.readouterr().out
    # The official folders are a source in their turn; a class goes by its WordNet id there, too.
    again = ['class-folders', '--source', out / 'retain', '--out', tmp_path / 'two']
    run(monkeypatch, 'classification', *again, '--learn', WNIDS[1])
    assert (tmp_path / 'two/classes.txt').read_text() == f'1_{WNIDS[1]}\n'
    with pytest.raises(SystemExit, match='--forget names all classes'):
        run(monkeypatch, 'classification', *arguments[:5], '--forget', *WNIDS)


def write_coco(root):
    """Four images a split: cat, dog, both with a crowd, none."""
    (root / 'annotations').mkdir(parents=True)
    categories = [dict(id=17, name='cat'), dict(id=90, name='dog')]
    square = [[1, 1, 9, 1, 9, 9, 1, 9]]
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for number, held in enumerate(([17], [90], [17, 90], [])):
            name = f'{number:012d}.jpg'
            photo(root / split / name, number)
            images.append(dict(id=50 + number, file_name=name, width=20, height=16))
            for label in held:
                crowd = int(len(held) > 1 and label == 90)
                counts = [0, 32, 20 * 16 - 32]
                shape = dict(size=[16, 20], counts=counts) if crowd else square
                box = [0, 0, 2, 16] if crowd else [1, 1, 8, 8]
                annotations.append(
                    dict(
                        id=len(annotations) + 7,
                        image_id=50 + number,
                        category_id=label,
                        bbox=box,
                        area=64.0,
                        iscrowd=crowd,
                        segmentation=shape,
                    )
                )
        annotations.append(dict(annotations[0], id=99, bbox=[3, 3, 0, 5]))  # COCO has some
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    return root


def read_json(path):
    return json.loads(path.read_text())


def test_coco_boxes(tmp_path, monkeypatch, capsys):
    source, out = write_coco(tmp_path / 'coco'), tmp_path / 'out'
    arguments = ['coco', '--source', source, '--out']
    run(monkeypatch, 'detection', *arguments, out, '--forget', 'dog')
    assert 'written, 6 images, 2 classes' in capsys.readouterr().out
    content = read_json(out / 'annotations/instances_train.json')
    assert [c['name'] for c in content['categories']] == ['cat', 'dog']
    crowd = [item for item in content['annotations'] if item['iscrowd']]
    assert len(content['annotations']) == 4 and crowd[0]['segmentation']['counts'][1] == 32
    assert (out / 'roles/retain.txt').read_text() == 'cat\n'
    run(monkeypatch, 'detection', *arguments, tmp_path / 'new', '--learn', 'dog')
    content = read_json(tmp_path / 'new/annotations/instances_val.json')
    assert len(content['images']) == 2
    assert {item['category_id'] for item in content['annotations']} == {90}
    official = tmp_path / 'official'
    run(monkeypatch, 'detection', *arguments, official, '--forget', 'dog', '--layout', 'official')
    forget = read_json(official / 'forget/annotations/instances_train2017.json')
    retain = read_json(official / 'retain/annotations/instances_val2017.json')
    assert [c['name'] for c in forget['categories']] == ['dog'] and len(forget['images']) == 2
    assert len(retain['images']) == 1 and len(retain['annotations']) == 1
    assert len(list((official / 'forget/train2017').iterdir())) == 2


def test_damaged_coco(tmp_path):
    root = write_coco(tmp_path / 'coco')
    path = root / 'annotations/instances_train2017.json'
    content = read_json(path)
    content['annotations'][0]['category_id'] = 5
    content['annotations'][1]['image_id'] = 5
    content['categories'].append(dict(id=91, name='dog'))
    path.write_text(json.dumps(content))
    (root / 'val2017/000000000001.jpg').unlink()
    with pytest.raises(SourceError) as caught:
        CocoFolder(root).images()
    text = str(caught.value)
    assert len(caught.value.problems) == 4 and 'category 5' in text and 'image 5' in text
    assert 'listed twice' in text and 'val2017/000000000001.jpg is missing' in text
    path.write_text(path.read_text()[:-40])
    with pytest.raises(SourceError, match='is no list of COCO'):
        CocoFolder(root).images()
    path.unlink()
    with pytest.raises(SourceError, match='one of train and one of val'):
        CocoFolder(root).images()


def test_coco_masks(tmp_path, monkeypatch):
    root = write_coco(tmp_path / 'coco')
    source = CocoMasks(root)
    both = next(p for p in source.images() if p.path.stem.endswith('2'))
    values = both.read(both.map_path)
    assert values.shape == (16, 20) and set(np.unique(values)) == {-1, 0, 1}
    assert values[12, 0] == 1 and values[4, 4] == 0 and values[15, 19] == -1
    run(monkeypatch, 'segmentation', 'coco', '--source', root, '--out', tmp_path / 'out')
    assert len(list((tmp_path / 'out/train/annotations').iterdir())) == 3
    path = root / 'annotations/instances_val2017.json'
    content = read_json(path)
    del content['annotations'][0]['segmentation']
    path.write_text(json.dumps(content))
    with pytest.raises(SourceError, match='has no segmentation'):
        CocoMasks(root).images()


def test_coco_stuff(tmp_path):
    with pytest.raises(SourceError, match=r'labels\.txt cannot be read'):
        CocoStuff(tmp_path)
    (tmp_path / 'labels.txt').write_text('0: unlabeled\n1: person\n92: banner\n')
    for split in ('train2017', 'val2017'):
        photo(tmp_path / split / '1.jpg')
        save(tmp_path / 'stuffthingmaps' / split / '1.png', np.full((16, 20), 91))
    source = CocoStuff(tmp_path)
    assert source.classes == ['person', 'banner']
    first = source.images()[0]
    assert (first.read(first.map_path) == 1).all()
    save(first.map_path, np.full((16, 20), 44))
    with pytest.raises(ValueError, match='numbers without a label'):
        first.read(first.map_path)
    (tmp_path / 'val2017/1.jpg').unlink()
    with pytest.raises(SourceError, match=r'val2017/1\.jpg is missing'):
        source.images()


def write_ade(root):
    for split in ('training', 'validation'):
        for number in range(3):
            photo(root / 'images' / split / f'ADE_{number}.jpg', number)
            values = np.zeros((16, 20))
            values[:8], values[8:, 4:] = 1, number + 2  # wall, then building, sky, floor
            save(root / 'annotations' / split / f'ADE_{number}.png', values)
    return root


def test_ade20k(tmp_path, monkeypatch):
    root, out = write_ade(tmp_path / 'ade'), tmp_path / 'out'
    arguments = ['ade20k', '--source', root, '--out']
    run(monkeypatch, 'segmentation', *arguments, out, '--forget', 'sky', '--fraction', '0.4')
    assert set(np.unique(np.asarray(Image.open(out / 'val/annotations/ADE_1.png')))) == {0, 2, 255}
    assert len((out / 'roles/retain.txt').read_text().splitlines()) == 149
    official = tmp_path / 'official'
    arguments += [official, '--forget', 'sky', '--layout', 'official']
    run(monkeypatch, 'segmentation', *arguments)
    maps = sorted(official.glob('*/annotations_detectron2/validation/*.png'))
    ids = {p.relative_to(official).parts[0] + p.stem: np.unique(Image.open(p)) for p in maps}
    assert {key: found.tolist() for key, found in ids.items()} == {
        'forgetADE_1': [2, 255],
        'retainADE_0': [0, 1, 255],
        'retainADE_1': [0, 255],
        'retainADE_2': [0, 3, 255],
    }
    (root / 'annotations/training/ADE_0.png').unlink()
    with pytest.raises(SourceError, match='training/ADE_0.png is missing'):
        Ade20k(root).images()
    with pytest.raises(SourceError, match='images/training has no images'):
        Ade20k(tmp_path / 'nowhere').images()


def test_full_ade20k(tmp_path):
    names = {300: 'bird', 2980: 'wall'}
    for split in ('training', 'validation'):
        folder = tmp_path / 'images/ADE' / split / 'urban' / 'street'
        photo(folder / 'ADE_1.jpg')
        values = np.zeros((16, 20, 3))
        for row, number in enumerate(names):
            values[row, :, :2] = number // 256 * 10, number % 256
        save(folder / 'ADE_1_seg.png', values)
        objects = [dict(name_ndx=number, name=name) for number, name in names.items()]
        objects.append(dict(name_ndx=0, name='-'))
        text = json.dumps(dict(annotation=dict(object=objects, note='caf\xe9')), ensure_ascii=False)
        (folder / 'ADE_1.json').write_bytes(text.encode('latin-1'))
    source = Ade20kFull(tmp_path)
    assert source.classes == ['bird', 'wall']
    picture = source.images()[0]
    assert picture.read(picture.map_path)[:3, 0].tolist() == [0, 1, -1]
    save(picture.map_path, np.full((16, 20, 3), 33))
    with pytest.raises(ValueError, match='a class that no json file names'):
        picture.read(picture.map_path)
    picture.map_path.unlink()
    picture.path.with_suffix('.json').write_text('{}')
    with pytest.raises(SourceError) as caught:
        Ade20kFull(tmp_path)
    assert len(caught.value.problems) == 2
