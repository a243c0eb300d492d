import os
import subprocess
import sys

import pytest

from knowswap_mm.datasets.cache.pack_file import PackFile
from knowswap_mm.datasets.cache.places import DiskFile

LIMIT = 5000


def write(folder, name, size=2000, age=0):
    """A file that no process uses, by another pipeline."""
    path = folder / f'{name}.pack'
    path.write_bytes(bytes(size))
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def names(folder):
    return sorted(path.stem for path in folder.iterdir())


def test_the_longest_unused_files_make_room(tmp_path):
    for age in range(5):
        write(tmp_path, f'age{age}', age=age)
    (tmp_path / 'other.json').write_text('not ours')
    PackFile(DiskFile(tmp_path, 'mine', LIMIT), LIMIT)
    assert names(tmp_path) == ['age0', 'age1', 'mine', 'other']


def test_opening_counts_as_use(tmp_path):
    write(tmp_path, 'first', age=9)
    PackFile(DiskFile(tmp_path, 'first', 10**6), 10**6)
    for age in range(3):
        write(tmp_path, f'age{age}', age=age)
    DiskFile._open_here.clear()  # as in another process
    PackFile(DiskFile(tmp_path, 'mine', LIMIT), LIMIT)
    assert 'first' in names(tmp_path)


@pytest.mark.distributed
def test_a_file_in_use_stays(tmp_path):
    write(tmp_path, 'used', size=9000)
    code = (
        'import sys, pathlib\n'
        'from knowswap_mm.datasets.cache.places import DiskFile\n'
        f'DiskFile(pathlib.Path({str(tmp_path)!r}), "used", 10**6).open()\n'
        'print("open", flush=True)\nsys.stdin.read()\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        while process.stdout.readline().strip() != 'open':
            assert process.poll() is None
        PackFile(DiskFile(tmp_path, 'mine', LIMIT), LIMIT)
        assert 'used' in names(tmp_path)
        process.stdin.close()
    PackFile(DiskFile(tmp_path, 'mine', LIMIT), LIMIT)
    assert 'used' not in names(tmp_path)


def test_the_disk_is_not_filled_to_its_end(tmp_path):
    storage = DiskFile(tmp_path, 'mine', LIMIT)
    descriptor = storage.open()
    state = os.statvfs(tmp_path)
    assert storage.room(descriptor) < state.f_bavail * state.f_frsize
    os.close(descriptor)
