"""``knowswap data`` with what no publisher ships: a json, masks, a csv."""

import json

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.cli.main import main


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12, 3), 90, np.uint8)).save(path, 'PNG')


def test_a_csv(tmp_path):
    for number in range(10):
        photo(tmp_path / 'in' / f'a {number}.PNG')
    lines = [f'a {number}.PNG,{"Ä" if number % 2 else "b"}' for number in range(10)]
    (tmp_path / 'in' / 'list.csv').write_text('\n'.join(['image,label', *lines]))
    out = tmp_path / 'out'
    source = ['--source', str(tmp_path / 'in' / 'list.csv'), '--out', str(out)]
    main(['data', 'classification', 'csv', *source, '--val-share', '0.4', '--forget', 'b'])
    assert (out / 'classes.txt').read_text(encoding='utf-8').split() == ['b', 'Ä']
    assert {len(list((out / 'val' / name).iterdir())) for name in 'bÄ'} == {2}
    assert {len(list((out / 'train' / name).iterdir())) for name in 'bÄ'} == {3}
    assert (out / 'roles' / 'forget.txt').read_text() == 'b\n'


def test_any_coco_json(tmp_path):
    """Ids of categories stay; images lie in another folder; two of them have one name."""
    names = [f'{folder}/x.png' for folder in 'abcde']
    for name in names:
        photo(tmp_path / 'photos' / name)
    images = [dict(id=i, file_name=n, width=12, height=10) for i, n in enumerate(names, 5)]
    box = dict(category_id=17, bbox=[1, 1, 5, 5])
    items = [dict(box, id=i, image_id=i, iscrowd=int(i == 6)) for i in range(5, 10)]
    content = dict(images=images, annotations=items, categories=[dict(id=17, name='cat')])
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    words = ['--source', tmp_path / 'labels.json', '--images', tmp_path / 'photos']
    main(['data', 'detection', 'coco-json', *map(str, words), '--out', str(tmp_path / 'out')])
    found = {
        split: json.loads((tmp_path / f'out/annotations/instances_{split}.json').read_text())
        for split in ('train', 'val')
    }
    assert [len(each['images']) for each in found.values()] == [4, 1]
    assert found['val']['categories'] == [dict(id=17, name='cat')]
    objects = [item for each in found.values() for item in each['annotations']]
    assert sum(item['iscrowd'] for item in objects) == 1
    placed = {path.name for path in (tmp_path / 'out').glob('*/*.png')}
    assert placed == {name.replace('/', '_') for name in names}


def test_images_that_are_not_found(tmp_path):
    content = dict(
        images=[dict(id=1, file_name='a.png', width=12, height=10)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5])],
        categories=[dict(id=1, name='cat')],
    )
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    words = ['--source', str(tmp_path / 'labels.json'), '--out', str(tmp_path / 'out')]
    with pytest.raises(SystemExit, match=r"'a.png' is not beside the json. Fix: .*--images"):
        main(['data', 'detection', 'coco-json', *words])
    assert not (tmp_path / 'out').exists()


def test_a_folder_of_masks(tmp_path):
    source, out = tmp_path / 'in', tmp_path / 'out'
    for number in range(10):
        photo(source / 'images' / f'{number}.PNG')
        values = np.full((10, 12), number % 2, np.uint8)
        values[0] = 255
        (source / 'masks').mkdir(exist_ok=True)
        Image.fromarray(values).save(source / 'masks' / f'{number}.png')
    (source / 'classes.txt').write_text('sky\nsea\n')
    main(['data', 'segmentation', 'masks', '--source', str(source), '--out', str(out)])
    assert (out / 'classes.txt').read_text() == 'sky\nsea\n'
    maps = sorted(out.glob('*/annotations/*.png'))
    assert len(maps) == 10 and len(list((out / 'val' / 'images').glob('*.png'))) == 2
    for path in maps:
        values = np.asarray(Image.open(path))
        assert set(np.unique(values)) == {int(path.stem) % 2, 255}
