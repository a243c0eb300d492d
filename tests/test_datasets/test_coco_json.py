import copy
import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.errors import ConfigError

KEY = 'dataset.roles.forget.dataset.ann_file'
WIDTH, HEIGHT = 40, 30
IMAGE = dict(id=4, file_name='a.png', width=WIDTH, height=HEIGHT)
ITEM = dict(id=1, image_id=4, category_id=7, bbox=[1, 2, 10, 5], area=33)
CONTENT = dict(
    images=[IMAGE, dict(IMAGE, id=2, file_name='b.png')],
    annotations=[ITEM],
    categories=[dict(id=7, name='cat'), dict(id=3, name='dog')],
)


@pytest.fixture
def read(tmp_path):
    """Reads what it writes: json values, or text as it is."""

    def write_and_read(content):
        path = tmp_path / 'boxes.json'
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CocoJson(path, KEY)

    return write_and_read


@pytest.fixture
def refused(read, tmp_path, raises_config_error):
    """Asserts that a content is refused by key, path, these words and a fix."""

    def check(content, *words):
        with raises_config_error(KEY, str(tmp_path / 'boxes.json'), *words):
            read(content)

    return check


def changed(part, position=0, **values):
    """The good content with some fields of one entry replaced; `None` removes a field."""
    content = copy.deepcopy(CONTENT)
    entry = content[part][position]
    entry.update(values)
    for name in [name for name, value in values.items() if value is None]:
        del entry[name]
    return content


def boxed(*boxes, **fields):
    """The good content with these boxes in image 4."""
    items = [dict(ITEM, id=i, bbox=box, **fields) for i, box in enumerate(boxes)]
    return dict(CONTENT, annotations=items)


class TestReading:
    def test_entries_by_picture_and_by_number(self, read):
        found = read(CONTENT)
        assert found.images == CONTENT['images']
        assert found.categories == {7: 'cat', 3: 'dog'}
        assert list(found.categories) == [7, 3], 'the order of the file'
        assert found.objects == {4: [dict(ITEM, iscrowd=0)], 2: []}
        assert found.outside == 0

    def test_other_fields_are_kept(self, read):
        extra = dict(iscrowd=1, segmentation=[[0, 0, 5, 0, 5, 5]], score=0.5)
        content = dict(changed('annotations', **extra), info=dict(year=2026), licenses=[])
        content['images'][0]['licence'] = 3
        found = read(content)
        assert found.objects[4] == [dict(ITEM, **extra)]
        assert found.images[0]['licence'] == 3

    def test_a_file_without_objects(self, read):
        found = read(dict(images=[], annotations=[], categories=[]))
        assert (found.images, found.categories, found.objects) == ([], {}, {})

    def test_byte_order_mark(self, read):
        assert read(json.dumps(CONTENT).encode('utf-8-sig')).categories == {7: 'cat', 3: 'dog'}


class TestBoxes:
    @pytest.mark.parametrize(
        ('box', 'clipped'),
        [
            ([1, 2, 10, 5], [1, 2, 10, 5]),
            ([-4, -3, 10, 5], [0, 0, 6, 2]),
            ([35, 28, 10, 5], [35, 28, 5, 2]),
            ([-4, -3, 100, 100], [0, 0, WIDTH, HEIGHT]),
            ([0, 0, WIDTH, HEIGHT], [0, 0, WIDTH, HEIGHT]),
            ([1.5, 2.25, 3.5, 60.5], [1.5, 2.25, 3.5, HEIGHT - 2.25]),
            ([39, 29, 1, 1], [39, 29, 1, 1]),
        ],
    )
    def test_are_clipped_to_the_picture(self, box, clipped, read):
        found = read(boxed(box))
        assert [item['bbox'] for item in found.objects[4]] == [clipped]
        assert found.outside == 0

    @pytest.mark.parametrize(
        'box',
        [
            [0, 0, 0, 5],
            [0, 0, 5, 0],
            [5, 5, -3, 4],
            [5, 5, 0.5, 4],
            [40, 0, 5, 5],
            [0, 30, 5, 5],
            [-10, 3, 10, 5],
            [-10, 3, 10.5, 5],
            [39.5, 3, 10, 5],
            [1e308, 1e308, 1e308, 1e308],
        ],
    )
    def test_with_less_than_a_pixel_are_dropped_and_counted(self, box, read):
        found = read(boxed(box, [1, 2, 10, 5], box))
        assert [item['id'] for item in found.objects[4]] == [1]
        assert found.outside == 2

    @pytest.mark.parametrize('area', [0, -1, None, 'x', float('nan'), float('inf'), []])
    def test_unusable_area_becomes_that_of_the_clipped_box(self, area, read):
        content = changed('annotations', bbox=[-4, 2, 10, 5], area=area)
        assert read(content).objects[4][0]['area'] == 30

    def test_usable_area_is_kept(self, read):
        assert read(changed('annotations', area=0.25)).objects[4][0]['area'] == 0.25

    @given(st.lists(st.floats(-100, 100), min_size=4, max_size=4))
    def test_any_box_lies_in_its_picture_or_is_counted(self, box):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'boxes.json'
            path.write_text(json.dumps(boxed(box)))
            found = CocoJson(path, KEY)
        assert len(found.objects[4]) + found.outside == 1
        for item in found.objects[4]:
            left, top, width, height = item['bbox']
            assert left >= 0 and top >= 0 and width >= 1 and height >= 1
            # One rounding of left + (right - left), which is at most 40.
            assert left + width <= WIDTH + 1e-13 and top + height <= HEIGHT + 1e-13


class TestRefusedFiles:
    def test_missing(self, tmp_path, raises_config_error):
        path = tmp_path / 'no' / 'such.json'
        with raises_config_error(KEY, str(path), 'no such file', 'data_root'):
            CocoJson(path, KEY)

    def test_a_folder(self, tmp_path, raises_config_error):
        with raises_config_error(KEY, str(tmp_path), 'no such file'):
            CocoJson(tmp_path, KEY)

    @pytest.mark.parametrize(
        'text', ['', '{', '{"images": [}', b'\xff\xfe\x00\xd8', b'\x89PNG\r\n', '1' * 5000]
    )
    def test_no_json(self, text, refused):
        refused(text, 'is no json', 'again')

    @pytest.mark.parametrize('opening', ['[', '{"a":'])
    def test_nested_too_deeply(self, opening, refused):
        refused(opening * 100_000, 'is no json')

    @pytest.mark.parametrize('content', [[], [CONTENT], 'text', 3, None, True])
    def test_no_object(self, content, refused):
        refused(json.dumps(content), 'holds no object', 'COCO instances')

    @pytest.mark.parametrize('part', ['images', 'annotations', 'categories'])
    @pytest.mark.parametrize('value', ['missing', None, {}, 'text', 3])
    def test_missing_list(self, part, value, refused):
        content = {name: entries for name, entries in CONTENT.items() if name != part}
        if value != 'missing':
            content[part] = value
        refused(content, f'has no list {part!r}')


class TestRefusedEntries:
    @pytest.mark.parametrize('part', ['images', 'categories'])
    @pytest.mark.parametrize('number', [None, True, False, '', ' ', math.nan, [], {}])
    def test_no_id(self, part, number, refused):
        refused(changed(part, id=number), 'without an id')

    @pytest.mark.parametrize('part', ['images', 'annotations', 'categories'])
    @pytest.mark.parametrize('entry', [None, 3, 'text', [1, 2]])
    def test_entry_that_is_no_object(self, part, entry, refused):
        words = ('without an id',) if part == 'categories' else ('that is no object',)
        refused(dict(CONTENT, **{part: [*CONTENT[part], entry]}), *words)

    @pytest.mark.parametrize('name', [None, '', '  ', ['a'], {}, True, 1.5])
    def test_category_without_a_name(self, name, refused):
        refused(changed('categories', name=name), 'category without a name: id 7')

    def test_a_picture_that_is_listed_twice(self, refused):
        refused(
            changed('images', 1, file_name='a.png'), "'a.png' twice, as 4 and 2", 'list it once'
        )

    def test_picture_id_twice(self, refused):
        refused(changed('images', 1, id=4), 'two images with id 4', 'number them anew')

    def test_category_id_twice(self, refused):
        refused(changed('categories', 1, id=7), 'two categories of one name or id')

    def test_category_name_twice(self, refused):
        refused(changed('categories', 1, name='cat'), 'two categories of one name or id')

    @pytest.mark.parametrize('field', ['width', 'height'])
    @pytest.mark.parametrize('size', [None, 0, -3, 40.5, 'x', True, float('nan'), [40]])
    def test_picture_without_a_size(self, field, size, refused):
        what = f'without {field}' if size is None else f'whose {field} is {size!r}'
        refused(changed('images', 1, **{field: size}), what, 'id 2', 'an integer from 1 on')

    @pytest.mark.parametrize('name', [None, 3, ['a.png']])
    def test_picture_without_a_file_name(self, name, refused):
        refused(changed('images', file_name=name), 'without file_name: id 4')

    @pytest.mark.parametrize('number', [None, 99, 'x', 7.5])
    def test_unknown_category(self, number, refused):
        words = (f'no category_id {number!r}', 'annotation 1', 'under categories')
        refused(changed('annotations', category_id=number), *words)

    @pytest.mark.parametrize('number', [None, True, 4.5, []])
    def test_no_picture(self, number, refused):
        words = (f'no image_id {number!r}', 'annotation 1', 'name an image')
        refused(changed('annotations', image_id=number), *words)

    @pytest.mark.parametrize(
        'box',
        [
            None,
            [],
            [1, 2, 3],
            [1, 2, 3, 4, 5],
            'text',
            '1234',
            dict(x=1, y=2, w=3, h=4),
            [1, 2, 'x', 4],
            [1, 2, None, 4],
            [1, 2, [3], 4],
            [math.nan, 2, 3, 4],
            [1, 2, math.inf, 4],
            [1, -math.inf, 3, 4],
        ],
    )
    def test_no_box(self, box, refused):
        refused(changed('annotations', bbox=box), 'annotation 1 without a box')

    def test_messages_stay_short(self, refused, read):
        with pytest.raises(ConfigError) as caught:
            read(changed('annotations', bbox=['x' * 10_000] * 4))
        assert len(str(caught.value)) < 600


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 50)
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
FIELDS = ['id', 'image_id', 'category_id', 'bbox', 'area', 'name', 'file_name', 'width', 'height']


def holds_no_exception_but_a_config_error(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'boxes.json'
        path.write_text(text)
        try:
            found = CocoJson(path, KEY)
        except ConfigError as error:
            assert str(path)[:100] in str(error) and 'Fix:' in str(error) and error.key == KEY
        else:
            assert found.objects.keys() == {image['id'] for image in found.images}


class TestAnyJson:
    @given(VALUES)
    def test_any_value_is_read_or_refused(self, value):
        holds_no_exception_but_a_config_error(json.dumps(value))

    @given(
        st.fixed_dictionaries(
            {part: st.lists(VALUES, max_size=3) | VALUES for part in CONTENT},
        )
    )
    def test_any_lists_are_read_or_refused(self, content):
        holds_no_exception_but_a_config_error(json.dumps(content))

    @given(st.sampled_from(sorted(CONTENT)), st.sampled_from(FIELDS), SCALARS)
    def test_any_plain_field_is_read_or_refused(self, part, field, value):
        content = copy.deepcopy(CONTENT)
        content[part][0][field] = value
        holds_no_exception_but_a_config_error(json.dumps(content))

    @pytest.mark.parametrize('field', ['image_id', 'category_id'])
    @pytest.mark.parametrize('value', [[], [7], {}])
    def test_a_list_as_reference(self, field, value, refused):
        refused(changed('annotations', **{field: value}), field)

    @pytest.mark.parametrize('field', ['bbox', 'area'])
    def test_an_integer_beyond_floats(self, field):
        value = [1, 2, 10**400, 5] if field == 'bbox' else 10**400
        holds_no_exception_but_a_config_error(json.dumps(changed('annotations', **{field: value})))

    @pytest.mark.parametrize('field', ['image_id', 'category_id'])
    def test_a_boolean_is_no_reference(self, field, refused):
        content = copy.deepcopy(CONTENT)
        part = 'images' if field == 'image_id' else 'categories'
        content[part][0]['id'] = content['annotations'][0][field] = 1
        content['annotations'][0][field] = True
        refused(content, field)
