"""Class lists and COCO files that are damaged, hostile or wrong; by the name of the file."""

import json
import os

from tests.helpers.hostile_files.case import Cases

CLASS_LISTS = Cases()
COCO = Cases()


def text(name, content):
    """A class list of these characters or bytes."""

    def write(path):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    CLASS_LISTS.case(name)(write)


text('empty.txt', '')
text('comments_alone.txt', '# cats\n\n  # dogs\n')
text('twice.txt', 'cat\ndog\ncat\n')
text('bytes.txt', b'\xff\xfe\x00c\x00a')
text('empty.json', '')
text('object.json', '{"cat": 1}')
text('text.json', '"cat"')
text('numbers.json', '[1, 2]')
text('lists.json', '[["cat"], ["dog"]]')
text('empty_name.json', '["cat", ""]')
text('nothing.json', '[]')
text('not_closed.json', '["cat", "dog"')
text('nested.json', '[' * 100_000)
text('nested_and_closed.json', '[' * 500 + ']' * 500)
text('long_number.json', '[' + '1' * 5000 + ']')
text('bytes.json', b'["\xff\xff"]')
text('program.json', '__import__("os").system("true")')


@CLASS_LISTS.case('folder.txt')
def folder(path):
    path.mkdir()


@CLASS_LISTS.case('pipe.json')
def pipe(path):
    os.mkfifo(path)


@CLASS_LISTS.case('missing.json')
def missing(path):
    pass


@CLASS_LISTS.case('too_large.json')
def too_large(path):
    """More than the limit, without a block on the disk."""
    with path.open('wb') as file:
        file.truncate((64 << 20) + 1)


def content():
    """A whole file of two images and a box in each."""
    return dict(
        images=[dict(id=n, file_name=f'{n}.png', width=20, height=10) for n in (1, 2)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=[
            dict(id=n, image_id=n, category_id=n, bbox=[1, 1, 5, 5], area=25, iscrowd=0)
            for n in (1, 2)
        ],
    )


def coco(name, **changes):
    """A file whose second entries have other values."""

    def write(path):
        found = content()
        for part, entry in changes.items():
            found[part][1].update(entry)
        path.write_text(json.dumps(found))

    COCO.case(name)(write)


coco('up.json', images=dict(file_name='../../secret.png'))
coco('up_in_the_midst.json', images=dict(file_name='a/../../secret.png'))
coco('absolute.json', images=dict(file_name='/etc/passwd'))
coco('address.json', images=dict(file_name='http://127.0.0.1:9/a.png'))
coco('zero_byte.json', images=dict(file_name='a\0.png'))
coco('name_is_a_list.json', images=dict(file_name=['a.png']))
coco('no_name.json', images=dict(file_name=''))
coco('huge_picture.json', images=dict(width=10**6, height=10**6))
coco('negative_picture.json', images=dict(width=-20))
coco('picture_of_fractions.json', images=dict(width=20.5))
coco('number_as_a_text.json', images=dict(id='2'))
coco('number_as_a_list.json', images=dict(id=[2]))
coco('two_of_a_number.json', images=dict(id=1))
coco('two_of_a_category.json', categories=dict(id=1))
coco('category_of_nothing.json', annotations=dict(category_id=7))
coco('category_as_a_list.json', annotations=dict(category_id=[1]))
coco('picture_of_nothing.json', annotations=dict(image_id=7))
coco('box_of_three.json', annotations=dict(bbox=[1, 1, 5]))
coco('box_of_texts.json', annotations=dict(bbox=['a'] * 4))
coco('box_infinite.json', annotations=dict(bbox=[0, 0, float('inf'), 5]))
coco('box_not_a_number.json', annotations=dict(bbox=[float('nan'), 0, 5, 5]))
coco('box_beyond_floats.json', annotations=dict(bbox=[0, 0, 10**400, 5]))
coco('mask_far_away.json', annotations=dict(segmentation=[[0, 0, 1e9, 1e9, 5, 5]]))
coco('mask_not_a_number.json', annotations=dict(segmentation=[[0, 0, float('nan'), 3, 5, 5]]))
coco('mask_of_texts.json', annotations=dict(segmentation=[['a'] * 6]))
coco('mask_is_a_text.json', annotations=dict(segmentation='all'))
coco('runs_too_long.json', annotations=dict(segmentation=dict(size=[10, 20], counts=[0, 10**6])))
coco('runs_negative.json', annotations=dict(segmentation=dict(size=[10, 20], counts=[-5, 205])))
coco('runs_of_another_size.json', annotations=dict(segmentation=dict(size=[10**5] * 2, counts=[])))
coco('runs_code_too_long.json', annotations=dict(segmentation=dict(size=[10, 20], counts='ooo0')))
coco('runs_code_is_none.json', annotations=dict(segmentation=dict(size=[10, 20], counts='\n~')))
coco('runs_missing.json', annotations=dict(segmentation=dict(size=[10, 20])))


def raw(name, characters):
    """A file of these characters."""
    COCO.case(name)(lambda path: path.write_text(characters))


raw('empty.json', '')
raw('list.json', '[]')
raw('number.json', '5')
raw('parts_are_numbers.json', '{"images": 1, "annotations": 2, "categories": 3}')
raw('entries_are_numbers.json', '{"images": [1], "annotations": [2], "categories": [3]}')
raw('nothing_inside.json', '{}')
raw('nested.json', '{"images":' * 50_000)
raw('long_number.json', '{"images": ' + '1' * 5000 + '}')
COCO.case('folder.json')(lambda path: path.mkdir())
COCO.case('missing.json')(lambda path: None)
