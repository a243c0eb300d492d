import os

import pytest

from knowswap_mm.datasets.cache import places as memory_file
from knowswap_mm.datasets.cache.places import MemoryFile


@pytest.fixture
def folder(tmp_path):
    """Where processes find each other."""
    return tmp_path / f'knowswap_mm_{os.getuid()}'


def same(left, right):
    return os.fstat(left).st_ino == os.fstat(right).st_ino


def test_one_name_is_one_file(folder):
    first, second, other = (MemoryFile(name).open() for name in ('a', 'a', 'b'))
    assert same(first, second)
    assert not same(first, other)
    assert sorted(path.name for path in folder.iterdir()) == ['knowswap_mm_a', 'knowswap_mm_b']


@pytest.mark.parametrize('note', [b'', b'garbage', b'1 2 3', b'-1 5', b'999999999 3', b'1 0'])
def test_a_note_that_leads_nowhere(folder, note):
    folder.mkdir(mode=0o700)
    (folder / 'knowswap_mm_a').write_bytes(note)
    assert same(MemoryFile('a').open(), MemoryFile('a').open())


def test_a_note_whose_numbers_mean_another_file(folder, tmp_path):
    folder.mkdir(mode=0o700)
    with open(tmp_path / 'private', 'w') as file:
        (folder / 'knowswap_mm_a').write_text(f'{os.getpid()} {file.fileno()}')
        descriptor = MemoryFile('a').open()
        os.pwrite(descriptor, b'x', 0)
    assert (tmp_path / 'private').read_text() == ''


@pytest.mark.parametrize('kind', ['writable', 'link', 'file'])
def test_a_folder_that_may_be_anybodys_is_not_trusted(folder, tmp_path, kind):
    if kind == 'writable':
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == 'link':
        (tmp_path / 'theirs').mkdir(mode=0o777)
        (tmp_path / 'theirs').chmod(0o777)
        folder.symlink_to(tmp_path / 'theirs')
    else:
        folder.write_text('')
    first, second = MemoryFile('a').open(), MemoryFile('a').open()
    assert not same(first, second)
    assert not (tmp_path / 'theirs' / 'knowswap_mm_a').exists()


def test_room_leaves_memory_to_others(monkeypatch):
    memory, limits = dict(MemTotal=8 << 30, MemAvailable=6 << 30), []
    monkeypatch.setattr(memory_file, '_meminfo', lambda: memory)
    monkeypatch.setattr(memory_file, '_container_limits', lambda: limits)
    storage = MemoryFile('a')
    descriptor = storage.open()
    assert storage.room(descriptor) == 4 << 30  # half of all
    memory['MemAvailable'] = 3 << 30
    assert storage.room(descriptor) == 2 << 30  # all but the reserve
    limits.append(2 << 30)
    os.ftruncate(descriptor, 1 << 20)
    assert MemoryFile('a').room(descriptor) == (1 << 30) - (1 << 20)  # half of the container's


def test_this_machine_tells_its_memory():
    memory = memory_file._meminfo()
    assert 0 < memory['MemAvailable'] <= memory['MemTotal']
    assert all(limit > 0 for limit in memory_file._container_limits())
