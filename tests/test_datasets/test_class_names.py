import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets.classes import check_known, read_class_names
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import line_problem, read_lines, write_lines

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
    path.write_text(
        '# the new ones\n\n#\n  tabby cat \nfox  # red\r\nbär\rC#\n#1\n', encoding='utf-8'
    )
    names = ['tabby cat', 'fox  # red', 'bär', 'C#', '#1']
    assert read_class_names(KEY, str(path)) == names
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert read_class_names(KEY, str(path)) == names


def test_json_file(tmp_path):
    path = tmp_path / 'names.json'
    path.write_text('["b", "a # not a comment"]')
    assert read_class_names(KEY, str(path)) == ['b', 'a # not a comment']
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert read_class_names(KEY, str(path)) == ['b', 'a # not a comment']


def test_unicode_forms_of_one_name(tmp_path, raises_config_error):
    """Some systems store an accent as a character of its own."""
    path = tmp_path / 'names.txt'
    path.write_text('cafe\u0301\n', encoding='utf-8')
    assert read_class_names(KEY, str(path)) == ['caf\xe9']
    names = ['caf\xe9', 'cafe\u0301']
    with raises_config_error(KEY, names, 'listed twice'):
        read_class_names(KEY, names)


def test_line_ends_of_unicode_are_part_of_a_name(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('a\u2028b\nc\x85d\n', encoding='utf-8')
    assert read_class_names(KEY, str(path)) == ['a\u2028b', 'c\x85d']


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_name_is_written_as_it_is_read_or_refused(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / 'written.txt'
    try:
        write_lines(path, names)
    except FileError:
        assert any(line_problem(name) for name in names)
    else:
        assert read_lines(path) == names


@pytest.mark.parametrize('name', ['', ' a', 'a ', '# a', '#', 'a\nb', 'a\rb', '\ufeffa', 'a\0'])
def test_names_that_no_list_can_hold(name, tmp_path):
    with pytest.raises(FileError, match=r'names.txt cannot hold .*: it .*Fix: '):
        write_lines(tmp_path / 'names.txt', ['b', name])
    assert not (tmp_path / 'names.txt').exists()


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
        ('latin1.txt', b'a\nb\xe4r\n', 'no text in UTF-8 (line 2)'),
        ('wide.txt', 'a\n'.encode('utf-16'), 'is text in UTF-16'),
        ('wider.txt', 'a\n'.encode('utf-32'), 'is text in UTF-32'),
        ('wide_big.txt', codecs.BOM_UTF16_BE + 'a'.encode('utf-16-be'), 'in UTF-16 (big endian)'),
        ('two_marks.txt', '\ufeffa\n\ufeffb\n'.encode(), 'byte order mark'),
        ('mark.json', '["\ufeffa"]'.encode(), 'byte order mark'),
        ('zero.txt', b'a\0\n', 'zero byte'),
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
