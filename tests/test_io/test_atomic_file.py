"""Files that several processes, containers and machines write."""

import fcntl
import os
import stat
import time

import pytest
import torch

from knowswap_mm.exporting.export import new_folder
from knowswap_mm.io import partial_file
from knowswap_mm.io.files import (
    cache_folder,
    remove_partial,
    write_atomic,
    write_cached,
    write_json,
    write_safetensors,
)
from knowswap_mm.runs.files import UNFINISHED
from tests.helpers.namespaces import Container, need_namespaces

TIMES, SIZE = 100, 50_000


def _write_often(folder, letter):
    """Write two files again and again; gives what went wrong."""
    wrong = []
    for _ in range(TIMES):
        try:
            write_atomic(folder / 'run.json', lambda file: file.write(letter.encode() * SIZE))
            write_cached(folder / 'cache.json', lambda file: file.write(letter.encode() * SIZE))
            for name in ('run.json', 'cache.json'):
                text = (folder / name).read_text()
                if len(text) != SIZE or len(set(text)) != 1:
                    wrong.append(f'{name} is no whole file of one writer')
        except Exception as error:
            wrong.append(repr(error))
    return wrong


def test_two_containers_with_equal_process_numbers_share_a_folder(tmp_path):
    """77 of 200 writes failed when a partial file was named by the number alone."""
    need_namespaces()
    writers = [Container(_write_often, tmp_path, letter) for letter in 'ab']
    assert [writer.result() for writer in writers] == [[], []]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['cache.json', 'run.json']


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize('mask', [0o022, 0o077, 0o002])
def test_rights_are_those_of_any_new_file(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_json(tmp_path / 'a.json', 1)
        write_safetensors(tmp_path / 'a.safetensors', dict(a=torch.ones(2)))
        write_cached(tmp_path / 'b.json', lambda file: file.write(b'1'))
    finally:
        os.umask(before)
    assert {_mode(path) for path in tmp_path.iterdir()} == {0o666 & ~mask}


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(_):
        raise ValueError

    for write in (write_atomic, write_cached):
        with pytest.raises(ValueError):
            write(tmp_path / 'a.json', fail)
    assert not list(tmp_path.iterdir())


def test_only_what_dead_writers_left_is_removed(tmp_path):
    """Of other machines, whose locks may not be seen from here, only what is old."""
    own, other = partial_file.machine_name(), '0badc0de'
    assert own != other
    names = {
        'dead': f'iter_2.pth.{own}-0123456789ab.partial',
        'alive': f'iter_4.pth.{own}-0123456789ab.partial',
        'far': f'iter_6.pth.{other}-0123456789ab.partial',
        'far and old': f'iter_8.pth.{other}-0123456789ab.partial',
        'adapter': f'adapter/a.safetensors.{own}-0123456789ab.partial',
        'mine': 'my.partial',
    }
    paths = {what: tmp_path / name for what, name in names.items()}
    (tmp_path / 'adapter').mkdir()
    for path in paths.values():
        path.write_bytes(b'half')
    long_ago = time.time() - partial_file.FOREIGN_AGE - 60
    os.utime(paths['far and old'], (long_ago, long_ago))
    with paths['alive'].open('rb') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        removed = remove_partial(tmp_path, UNFINISHED)
    assert set(removed) == {paths['dead'], paths['far and old'], paths['adapter']}
    assert not any(path.exists() for path in removed)


def test_a_cache_loses_what_was_left_of_the_file_that_is_written_again(tmp_path):
    token = f'{partial_file.machine_name()}-0123456789ab'
    left = tmp_path / f'a[1].json.{token}.partial'
    other = tmp_path / f'b.json.{token}.partial'
    for path in (left, other):
        path.touch()
    write_cached(tmp_path / 'a[1].json', lambda file: file.write(b'whole'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a[1].json', other.name]


def test_a_name_as_long_as_it_may_be(tmp_path):
    path = tmp_path / ('n' * 250 + '.json')
    write_json(path, 1)
    write_cached(path, lambda file: file.write(b'2'))
    assert path.read_text() == '2'


def test_two_new_folders_of_one_process(tmp_path):
    with new_folder(tmp_path / 'a', '--out') as first, new_folder(tmp_path / 'b', '--out'):
        with new_folder(tmp_path / 'c' / 'a', '--out') as second:
            assert first.parent.name != second.parent.name


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr('pathlib.Path.home', lambda: (_ for _ in ()).throw(RuntimeError))
    monkeypatch.setattr('tempfile.gettempdir', lambda: str(tmp_path))
    assert tmp_path in cache_folder().parents
