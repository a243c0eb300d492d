"""Downloaded data sets whose lists lead out of their folders, or unpack to far too much."""

import gzip
import runpy
import struct

import numpy as np
import pytest
from PIL import Image

from knowswap_mm.data_tools.generators.fashion_mnist import PARTS, find_source
from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.data_tools.publishers import Ade20kFull, StanfordDogs
from tests.helpers.continual_runs import TOOLS, run_tool

CONVERTERS = TOOLS / 'dataset_converters'


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 10, 3), 90, np.uint8)).save(path)
    return path


def cub(root, class_name='001.Bird', name='001.Bird/a.jpg'):
    """CUB with one class and one image a split."""
    picture(root / 'images' / name)
    picture(root / 'images' / '001.Bird' / 'b.jpg')
    tables = dict(
        images=f'1 {name}\n2 001.Bird/b.jpg',
        image_class_labels='1 1\n2 1',
        train_test_split='1 1\n2 0',
        classes=f'1 {class_name}',
        bounding_boxes='1 0 0 5 5\n2 0 0 5 5',
    )
    for table, text in tables.items():
        (root / f'{table}.txt').write_text(text + '\n')
    return root


def convert(tool, tmp_path, source):
    """Run a converter that must refuse; nothing appears outside of the source."""
    before = sorted(path for path in tmp_path.rglob('*'))
    with pytest.raises(SystemExit) as caught:
        run_tool(CONVERTERS / f'{tool}.py', 'cub', '--source', source, '--out', tmp_path / 'out')
    assert sorted(path for path in tmp_path.rglob('*')) == before
    return str(caught.value.code)


@pytest.mark.parametrize('class_name', ['../../../evil', '/tmp/evil', '..', 'a/../../../b'])
def test_a_class_that_is_a_path(class_name, tmp_path):
    source = cub(tmp_path / 'deep' / 'source', class_name)
    message = convert('classification', tmp_path, source)
    assert 'leads out of the folder' in message


@pytest.mark.parametrize('tool', ['classification', 'detection'])
@pytest.mark.parametrize('name', ['../../secret.jpg', '../../../images/secret.jpg'])
def test_a_picture_outside_of_the_source(tool, name, tmp_path):
    source = tmp_path / 'a' / 'source'
    cub(source, name=name)
    assert 'secret.jpg is not in the source' in convert(tool, tmp_path, source)


def test_an_absolute_picture(tmp_path):
    secret = picture(tmp_path / 'secret.jpg')
    source = cub(tmp_path / 'source', name=str(secret))
    assert 'secret.jpg is not in the source' in convert('classification', tmp_path, source)


def fashion(root, **contents):
    """Files in the format of Fashion-MNIST, all of them cut short."""
    root.mkdir()
    for images, labels, _ in PARTS.values():
        for name in (images, labels):
            (root / name).write_bytes(gzip.compress(contents.get(name, b'')))
    return root


@pytest.mark.parametrize('content', [
    b'', b'\0\0\x08', b'\0\0\x08\3' + struct.pack('>III', 60000, 28, 28),
    b'\0\0\x08\3' + struct.pack('>III', 2**32 - 1, 2**32 - 1, 2**32 - 1),
    bytes(50_000_000), b'\x80\x02cposix\nsystem\n',
], ids=['empty', 'cut', 'no pixel', 'overflow', 'bomb', 'pickle'])  # fmt: skip
def test_fashion_mnist(content, tmp_path):
    source = fashion(tmp_path / 'source', **{PARTS['train'][1]: content})
    assert find_source(source) == source
    with pytest.raises(SystemExit, match='ValueError: .*--source'):
        run_tool(CONVERTERS / 'fashion_mnist.py', '--source', source, '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_fashion_mnist_is_unpacked_to_its_size_only(tmp_path):
    load = runpy.run_path(str(CONVERTERS / 'fashion_mnist.py'))['load_part']
    source = fashion(tmp_path / 'source', **{PARTS['train'][0]: bytes(60_000_000)})
    with pytest.raises(ValueError, match='unpacks to more than 47040016 bytes'):
        load(source, 'train')


LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a0 "ha">'
    + ''.join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + ']><annotation><object><bndbox><xmin>&a11;</xmin></bndbox></object></annotation>'
)
FILE = (
    '<!DOCTYPE l [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation><object><bndbox>'
    '<xmin>&f;</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>'
)


@pytest.mark.parametrize('text', ['', '<annotation>', LAUGHS, FILE, '<a>' * 10_000, '{}'],
                         ids=['empty', 'open', 'laughs', 'file', 'deep', 'json'])  # fmt: skip
def test_xml(text, tmp_path):
    picture(tmp_path / 'Images' / 'dog' / 'a.jpg')
    (tmp_path / 'Annotation' / 'dog').mkdir(parents=True)
    (tmp_path / 'Annotation' / 'dog' / 'a').write_text(text)
    with pytest.raises(SourceError, match='Annotation/dog/a'):
        StanfordDogs(tmp_path).images()


@pytest.mark.parametrize('text', [
    '', '[]', '{"annotation":' * 50_000, '{"annotation": {"object": [5]}}',
    '{"annotation": {"object": [{"name_ndx": 1e400, "name": "a"}]}}',
    '{"annotation": {"object": [{"name_ndx": 100000000000, "name": "a"}]}}',
    '{"annotation": {"object": [{"name_ndx": "a", "name": "a"}]}}',
], ids=['empty', 'list', 'deep', 'number', 'infinite', 'huge', 'text'])  # fmt: skip
def test_ade20k(text, tmp_path):
    for folder in ('training', 'validation'):
        path = picture(tmp_path / 'images' / 'ADE' / folder / 'a' / 'p.jpg')
        picture(path.with_name('p_seg.png'))
        path.with_suffix('.json').write_text(text)
    with pytest.raises(SourceError, match=r'p\.json cannot be read'):
        Ade20kFull(tmp_path)
