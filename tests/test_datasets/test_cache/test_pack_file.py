import errno
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from knowswap_mm.datasets.cache import pack_file
from knowswap_mm.datasets.cache.pack_file import ALIGN, PackFile
from knowswap_mm.datasets.cache.places import DiskFile, MemoryFile

LIMIT = 10**7


def key(number):
    return number.to_bytes(16, 'big')


def value(number, length=None):
    return np.random.default_rng(number).bytes(number * 37 % 1500 if length is None else length)


def disk(folder):
    return DiskFile(folder, 'test', LIMIT)


def filled(storage, count=20):
    pack = PackFile(storage, LIMIT)
    for number in range(count):
        pack.put(key(number), value(number))
    return pack


def read(pack, number):
    data = pack.get(key(number))
    return None if data is None else data.tobytes()


@pytest.fixture(params=['disk', 'memory'])
def storage(request, tmp_path):
    return disk(tmp_path) if request.param == 'disk' else MemoryFile('test')


class TestOneProcess:
    def test_values_come_back_by_key(self, storage):
        pack = filled(storage)
        for _ in range(2):
            assert [read(pack, n) for n in range(20)] == [value(n) for n in range(20)]
        assert pack.get(key(99)) is None
        assert len(pack) == 20

    def test_every_reader_has_its_own_bytes(self, storage):
        pack = filled(storage)
        pack.get(key(3))[:] = 0
        assert read(pack, 3) == value(3)

    def test_a_value_is_written_once(self, storage):
        pack = filled(storage)
        size = pack.size
        pack.put(key(3), b'other')
        assert pack.size == size
        assert read(pack, 3) == value(3)

    def test_a_key_has_16_bytes(self, storage):
        with pytest.raises(ValueError, match='16 bytes'):
            PackFile(storage, LIMIT).put(b'short', b'')

    def test_a_copy_in_a_spawned_process_reads_the_same_file(self, storage):
        pack = filled(storage)
        copy = pickle.loads(pickle.dumps(pack))
        assert [read(copy, n) for n in range(20)] == [value(n) for n in range(20)]

    def test_memory_ends_with_its_last_user(self):
        pack = filled(MemoryFile('test'))
        other = PackFile(MemoryFile('test'), LIMIT)
        assert len(other) == 20
        del pack, other
        assert len(PackFile(MemoryFile('test'), LIMIT)) == 0

    def test_disk_is_there_for_the_next_run(self, tmp_path):
        filled(disk(tmp_path))
        assert [read(PackFile(disk(tmp_path), LIMIT), n) for n in range(20)] == [
            value(n) for n in range(20)
        ]


class TestSize:
    def test_is_not_exceeded_and_what_is_there_is_served(self, storage, logged):
        limit = 10 * (ALIGN + 1024)
        pack = PackFile(storage, limit)
        for number in range(30):
            pack.put(key(number), value(number, 1024))
            assert pack.size <= limit
        assert [read(pack, n) is not None for n in range(30)] == [True] * 10 + [False] * 20
        assert len(logged) == 1
        assert 'its size is reached' in logged[0]

    def test_a_larger_limit_goes_on_where_the_smaller_one_stopped(self, tmp_path):
        pack = PackFile(disk(tmp_path), 2 * (ALIGN + 1024))
        for number in range(4):
            pack.put(key(number), value(number, 1024))
        pack.allow(LIMIT)
        pack.put(key(2), value(2, 1024))
        assert read(pack, 2) == value(2, 1024)

    def test_no_more_room(self, storage, logged, monkeypatch):
        first = filled(storage, 3)
        monkeypatch.setattr(type(storage), 'room', lambda *_: 100)
        pack = PackFile(storage, LIMIT)
        for number in range(3, 6):
            pack.put(key(number), value(number))
        assert [read(pack, n) is not None for n in range(6)] == [True] * 3 + [False] * 3
        assert pack.size == first.size
        assert len(logged) == 1
        assert 'has no more room' in logged[0]

    def test_room_is_looked_for_now_and_then(self, storage, monkeypatch):
        """Not at each value, which would take longer than to write it; but before it runs out."""
        monkeypatch.setattr(pack_file, '_GRANT', 4 * (ALIGN + 1024))
        asked = []
        monkeypatch.setattr(type(storage), 'room', lambda *_: asked.append(0) or 10**9)
        pack = PackFile(storage, LIMIT)
        for number in range(12):
            pack.put(key(number), value(number, 1024))
        assert len(asked) == 3
        pack.put(key(12), value(12, 10**6))
        assert read(pack, 12) == value(12, 10**6)

    @pytest.mark.parametrize('half', [False, True])
    def test_a_full_disk_in_the_middle_of_a_record(self, storage, logged, monkeypatch, half):
        pack = filled(storage, 3)
        size = pack.size
        write = os.pwrite

        def full(descriptor, data, offset):
            written = write(descriptor, data[: len(data) // 2], offset)
            if half:
                return written
            raise OSError(errno.ENOSPC, 'No space left on device')

        with monkeypatch.context() as patch:
            patch.setattr(pack_file.os, 'pwrite', full)
            pack.put(key(7), value(7))
        assert pack.size == size
        pack.put(key(8), value(8))
        assert [read(pack, n) is not None for n in (0, 1, 2, 7, 8)] == [True] * 3 + [False] * 2
        assert len(PackFile(storage, LIMIT)) == 3

    def test_a_disk_that_cannot_be_read_serves_nothing(self, storage, logged, monkeypatch):
        pack = filled(storage, 3)

        def broken(*_):
            raise OSError(errno.EIO, 'Input/output error')

        monkeypatch.setattr(pack_file.os, 'preadv', broken)
        assert pack.get(key(1)) is None


class TestDamage:
    def rewrite(self, folder):
        """A new process finds the damage, computes what is missing, and another one all of it."""
        pack = PackFile(disk(folder), LIMIT)
        lost = [n for n in range(20) if read(pack, n) is None]
        assert all(read(pack, n) == value(n) for n in range(20) if n not in lost)
        for number in lost:
            pack.put(key(number), value(number))
        for again in (pack, PackFile(disk(folder), LIMIT)):
            assert [read(again, n) for n in range(20)] == [value(n) for n in range(20)]
        return lost

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
    @given(st.data())
    def test_bytes_written_over(self, tmp_path, data):
        path = tmp_path / 'test.pack'
        path.unlink(missing_ok=True)
        filled(disk(tmp_path))
        content = bytearray(path.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=300))[: len(content) - start]
        content[start : start + len(noise)] = noise
        path.write_bytes(content)
        self.rewrite(tmp_path)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
    @given(st.integers(0, 10**9))
    @example(424)  # inside a header, behind all that it says
    @example(40)
    @example(63)
    @example(65)
    def test_cut_short(self, tmp_path, length):
        path = tmp_path / 'test.pack'
        path.unlink(missing_ok=True)
        filled(disk(tmp_path))
        os.truncate(path, length % path.stat().st_size)
        self.rewrite(tmp_path)

    def test_one_bit(self, tmp_path):
        filled(disk(tmp_path))
        path = tmp_path / 'test.pack'
        content = path.read_bytes()
        place = content.index(value(7)) + 100
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert self.rewrite(tmp_path) == [7]

    def test_another_file_of_that_name(self, tmp_path):
        (tmp_path / 'test.pack').write_bytes(np.random.default_rng(0).bytes(100_001))
        assert self.rewrite(tmp_path) == list(range(20))

    def test_a_writer_that_died(self, tmp_path):
        """The start of a record, whose end would lie in what others write next."""
        filled(disk(tmp_path), 10)
        path = tmp_path / 'test.pack'
        half = pack_file._record(key(50), value(50, 5000))[:1000]
        path.write_bytes(path.read_bytes() + half)
        assert self.rewrite(tmp_path) == list(range(10, 20))

    def test_cut_short_while_it_is_in_use(self, tmp_path):
        pack = filled(disk(tmp_path))
        os.truncate(tmp_path / 'test.pack', 3000)
        for number in range(20):
            if read(pack, number) is None:
                pack.put(key(number), value(number))
        assert [read(pack, n) for n in range(20)] == [value(n) for n in range(20)]


def _fill(storage, first, count, ready):
    pack = PackFile(storage, LIMIT)
    ready.wait()
    for number in range(first, first + count):
        data = pack.get(key(number))
        if data is None:
            pack.put(key(number), value(number))
        elif data.tobytes() != value(number):
            os._exit(1)
    os._exit(0 if len(pack) >= count else 2)


@pytest.mark.distributed
def test_processes_fill_it_at_the_same_time(storage):
    """They opened it by themselves; each value is written once, and everybody reads all."""
    pack = PackFile(storage, LIMIT)  # memory ends when nobody has it open
    context = multiprocessing.get_context('fork')
    ready = context.Barrier(3)
    started = [(0, 200), (100, 200), (50, 200)]
    processes = [context.Process(target=_fill, args=(storage, *s, ready)) for s in started]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [read(pack, n) for n in range(300)] == [value(n) for n in range(300)]
    assert pack.size == sum(ALIGN + pack_file.aligned(len(value(n))) for n in range(300))
