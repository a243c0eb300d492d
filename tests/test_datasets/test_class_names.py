import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets.class_names import check_known, read_class_names

KEY = 'swap.classes.learn'


def test_none_and_lists():
    assert read_class_names(KEY, None) is None
    assert read_class_names(KEY, ['b', 'a']) == ['b', 'a']
    assert read_class_names(KEY, ('b', 'a')) == ['b', 'a']


def test_list_is_copied():
    given_names = ['a']
    assert read_class_names(KEY, given_names) is not given_names


def test_text_file(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('# the new ones\n\n  tabby cat \nfox  # red\r\nbär\n', encoding='utf-8')
    assert read_class_names(KEY, str(path)) == ['tabby cat', 'fox', 'bär']


def test_json_file(tmp_path):
    path = tmp_path / 'names.json'
    path.write_text('["b", "a # not a comment"]')
    assert read_class_names(KEY, str(path)) == ['b', 'a # not a comment']


@given(st.lists(st.text('abc d', min_size=1).map(str.strip).filter(bool), min_size=1, unique=True))
def test_text_and_json_give_back_what_was_written(tmp_path_factory, names):
    folder = tmp_path_factory.getbasetemp()
    (folder / 'round.txt').write_text('\n'.join(names))
    (folder / 'round.json').write_text(json.dumps(names))
    assert read_class_names(KEY, str(folder / 'round.txt')) == names
    assert read_class_names(KEY, str(folder / 'round.json')) == names


@pytest.mark.parametrize('value', [[], ['a', ''], ['a', 3], [['a']], 5, dict(a=1), {'a'}])
def test_value_that_is_no_list_of_names(value, raises_config_error):
    with raises_config_error(KEY, value, 'not a list of class names', "['cat', 'dog']"):
        read_class_names(KEY, value)


def test_name_listed_twice(raises_config_error):
    with raises_config_error(KEY, ['a', 'b', 'b'], "'b' is listed twice", 'once'):
        read_class_names(KEY, ['a', 'b', 'b'])


def test_name_listed_twice_in_a_file(tmp_path, raises_config_error):
    path = tmp_path / 'names.txt'
    path.write_text('a\nb\n a\n')
    with raises_config_error(KEY, str(path), "'a' is listed twice", 'once'):
        read_class_names(KEY, str(path))


def test_missing_file(tmp_path, raises_config_error):
    for path in (str(tmp_path / 'no.txt'), str(tmp_path), 'trouser'):
        with raises_config_error(KEY, path, 'no such file', '.txt or .json'):
            read_class_names(KEY, path)


@pytest.mark.parametrize(
    ('name', 'content', 'problem'),
    [
        ('broken.json', b'["a", ', 'cannot be read'),
        ('dict.json', b'{"a": 1}', 'holds no list'),
        ('string.json', b'"a"', 'holds no list'),
        ('numbers.json', b'[1, 2]', 'not a list of class names'),
        ('empty.json', b'[]', 'not a list of class names'),
        ('latin1.json', b'["b\xe4r"]', 'cannot be read'),
        ('latin1.txt', b'b\xe4r\n', 'cannot be read'),
        ('comments.txt', b'# nothing\n\n', 'not a list of class names'),
    ],
)
def test_broken_file(name, content, problem, tmp_path, raises_config_error):
    path = tmp_path / name
    path.write_bytes(content)
    with raises_config_error(KEY, str(path), problem):
        read_class_names(KEY, str(path))


class TestCheckKnown:
    def test_silent_when_all_are_known(self):
        check_known(KEY, ['b', 'a'], ['a', 'b', 'c'], 'the old classes')
        check_known(KEY, [], [], 'the old classes')

    def test_near_match(self, raises_config_error):
        known = ['trouser', 'sandal', 'coat']
        with raises_config_error(
            KEY, 'trousers', 'unknown class', 'not among the old classes', "['trouser']"
        ):
            check_known(KEY, ['coat', 'trousers'], known, 'the old classes')

    def test_without_a_near_match_the_first_ones_are_shown(self, raises_config_error):
        known = [f'class{i}' for i in range(9)]
        with raises_config_error(KEY, 'QQ', 'unknown class', str(known[:5])):
            check_known(KEY, ['QQ'], known, 'the old classes')
