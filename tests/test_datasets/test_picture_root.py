import os

from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets.images import absolute, image_root

NAMES = st.lists(st.sampled_from(['a', 'b c', 'd.e', '..']), min_size=1, max_size=3)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_root_and_name_make_the_path(parts):
    paths = ['/'.join([*folders, 'x y.png']) for folders in parts]
    root, names = image_root(paths)
    assert os.path.isabs(root)
    assert [os.path.join(root, name) for name in names] == [os.path.abspath(p) for p in paths]
    assert not any(name.startswith('..') for name in names)


def test_addresses_stay_as_they_are():
    paths = ['s3://bucket/a.png', 's3://bucket/b/c.png']
    assert image_root(paths) == ('', paths)
    assert absolute('s3://bucket/a') == 's3://bucket/a'
    assert absolute('x/../y') == os.path.join(os.getcwd(), 'y')
    assert image_root([]) == ('', [])
