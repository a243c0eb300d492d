"""Role data sets with a cache: their samples, their files, their options."""

import multiprocessing
import os
import random
import shutil
import time
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from knowswap_mm.data_tools.generators.scenes import write_shape_scenes
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.errors import SampleError
from knowswap_mm.roles import ROLES
from tests.helpers.cached_data import (
    CLASSES,
    NEW,
    SHAPES,
    addresses,
    classification,
    detection,
    frozen,
    kept_pack,
    read,
    segmentation,
)


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    write_shape_scenes(root / 'old', SHAPES, dict(train=16), 48, seed=0)
    write_shape_scenes(root / 'new', NEW, dict(train=6), 48, seed=1)
    return root


@pytest.fixture(params=['classification', 'detection', 'segmentation'])
def task(request, picture_tree, host, scenes):
    """Builds the role data set of a task from the options of its cache."""
    if request.param == 'classification':
        return partial(classification, picture_tree, host)
    return partial(dict(detection=detection, segmentation=segmentation)[request.param], scenes)


class TestSamples:
    @pytest.mark.parametrize('where', ['memory', 'disk'])
    def test_are_the_same_with_and_without(self, task, where):
        without, cached = task(None), task(dict(where=where))
        some = addresses(without, epochs=2)
        expected = read(without, some)
        state = states()
        assert read(cached, some) == expected  # the second epoch comes from the cache
        assert read(cached, some) == expected
        again = task(dict(where=where))  # another run
        assert read(again, some) == expected
        assert states() == state

    def test_read_by_plain_number_are_the_same(self, task):
        without, cached = task(None), task(dict())
        numbers = range(len(without))
        expected = read(without, numbers)
        assert read(cached, numbers) == expected == read(cached, numbers)

    def test_the_second_epoch_opens_no_file(self, task, opened):
        dataset = task(dict())
        some = addresses(dataset, epochs=2)
        first = [dataset[address] for address in some[: len(dataset)]]
        assert {sample['data_samples'].img_path for sample in first} <= set(opened)
        opened.clear()
        read(dataset, some[len(dataset) :])
        assert opened == []

    def test_the_next_run_opens_no_picture(self, task, opened):
        dataset = task(dict(where='disk'))
        some = addresses(dataset)
        read(dataset, some)
        again = task(dict(where='disk'))
        opened.clear()
        read(again, some)
        assert opened == []

    def test_every_picture_is_kept_once_for_all_roles_and_classes(self, pictures, host):
        dataset = classification(pictures, host, dict())
        read(dataset, range(len(dataset)))
        pack, size = kept_pack(dataset), kept_pack(dataset).size
        assert len(pack) == len(dataset)
        steps = dataset.views['learn'].dataset['pipeline'][1:-1]
        roles = {role: dict(dataset=host(pictures / 'train', *steps)) for role in ROLES}
        other = RoleDataset(roles, CLASSES | dict(forget=['c', 'd']), seed=5, cache=dict())
        read(other, range(len(other)))
        assert kept_pack(other).size == size

    def test_labels_are_those_of_the_swap_that_reads(self, pictures, host):
        read(first := classification(pictures, host, dict(where='disk')), range(len(first)))
        roles = {role: dict(dataset=first.views[role].dataset) for role in ROLES}
        classes = CLASSES | dict(old=list('edcba'))
        with_cache = RoleDataset(roles, classes, cache=dict(where='disk'))
        assert read(with_cache, range(84)) == read(RoleDataset(roles, classes), range(84))

    @pytest.mark.parametrize('change', ['mtime', 'size', 'content'])
    def test_a_changed_picture_is_read_anew(self, pictures, host, change):
        before = classification(pictures, host, dict(where='disk'))
        read(before, range(len(before)))
        path = before.views['learn'].data_info(0)['img_path']
        other = before.views['forget'].data_info(0)['img_path']
        if change == 'mtime':
            os.utime(path, ns=(0, 0))
        elif change == 'size':
            with open(path, 'ab') as file:
                file.write(b'more')
        else:
            time.sleep(0.02)
            shutil.copyfile(other, path)
        again = classification(pictures, host, dict(where='disk'))
        count = len(kept_pack(again))
        expected = read(classification(pictures, host, None), range(len(again)))
        assert read(again, range(len(again))) == expected
        assert len(kept_pack(again)) == count + 1

    def test_other_steps_have_other_results(self, pictures, host):
        for scale in ((12, 14), (14, 12)):
            step = dict(type='mmpretrain.Resize', scale=scale)
            dataset = classification(pictures, host, dict(where='disk'), step)
            assert dataset[0]['inputs'].shape[1:] == scale[::-1]

    def test_a_missing_picture_is_told_as_without(self, pictures, host):
        dataset = classification(pictures, host, dict())
        os.unlink(dataset.views['learn'].data_info(2)['img_path'])
        with pytest.raises(SampleError, match='02.png cannot be loaded'):
            dataset[2]

    def test_a_crop_without_objects_is_left_out_as_without(self, scenes):
        """A kept step may drop a sample; the next one comes in its place."""

        def build(cache):
            dataset = detection(scenes, cache)
            view = dataset.views['retain']
            options = dict(view.dataset)
            small = dict(type='FilterAnnotations', min_gt_bbox_wh=(14, 14), keep_empty=True)
            options['pipeline'] = [*options['pipeline'][:2], small, options['pipeline'][-1]]
            options.update(ann_file='annotations/instances_train.json')
            with DefaultScope.overwrite_default_scope('mmdet'):
                return RoleDataset(
                    dict(retain=dict(dataset=options, mixed='keep', cache_dir=str(scenes / 'c'))),
                    dict(old=list(SHAPES), learn=[], forget=[]),
                    view='knowswap_mm.CocoRoleView',
                    cache=cache,
                )

        without, cached = build(None), build(dict())
        numbers = range(len(without))
        expected = read(without, numbers)
        assert len({repr(each) for each in expected}) < len(expected)
        assert read(cached, numbers) == expected == read(cached, numbers)


class TestWorkers:
    def test_share_what_they_keep(self, pictures, host):
        """Each sample is kept once, whichever of two workers reads it; then nothing is loaded."""
        dataset = classification(pictures, host, dict())
        some = addresses(dataset)
        expected = read(classification(pictures, host, None), some)
        times = []

        def epoch():
            loader = DataLoader(
                dataset, batch_size=3, sampler=some, num_workers=2, collate_fn=list,
                multiprocessing_context='fork',
            )  # fmt: skip
            return [frozen(sample) for batch in loader for sample in batch]

        assert epoch() == expected
        pack = kept_pack(dataset)
        size = pack.size
        some.reverse()  # each worker gets what the other had
        for view in dataset.views.values():
            view.cached_pipeline.kept_steps = [times.append]  # it would leave all samples out
        assert epoch() == expected[::-1]
        assert pack.size == size

    @pytest.mark.distributed
    def test_two_processes_fill_a_disk_at_the_same_time(self, pictures, host):
        expected = read(data := classification(pictures, host, None), range(len(data)))

        def fill(ready, result):
            dataset = classification(pictures, host, dict(where='disk'))
            ready.wait()
            result.put(read(dataset, range(len(dataset))) == expected)

        context = multiprocessing.get_context('fork')
        ready, result = context.Barrier(2), context.Queue()
        processes = [context.Process(target=fill, args=(ready, result)) for _ in range(2)]
        for process in processes:
            process.start()
        assert [result.get(), result.get()] == [True, True]
        for process in processes:
            process.join()
        dataset = classification(pictures, host, dict(where='disk'))
        assert len(kept_pack(dataset)) == len(dataset)
        assert read(dataset, range(len(dataset))) == expected


class TestFiles:
    def test_a_damaged_file_is_noticed_and_mended(self, pictures, host, tmp_path):
        options = dict(where='disk', folder=str(tmp_path / 'kept'))
        dataset = classification(pictures, host, options)
        expected = read(dataset, range(len(dataset)))
        count = len(kept_pack(dataset))
        del dataset
        (path,) = (tmp_path / 'kept').iterdir()
        content = bytearray(path.read_bytes())
        for place in range(500, len(content), 5000):
            content[place] ^= 255
        path.write_bytes(content[: len(content) * 2 // 3])
        again = classification(pictures, host, options)
        assert read(again, range(len(again))) == expected == read(again, range(len(again)))
        assert len(kept_pack(again)) == count

    def test_size_is_not_exceeded(self, pictures, host, logged, tmp_path):
        folder = tmp_path / 'kept'
        options = dict(where='disk', folder=str(folder), size='20KB')
        dataset = classification(pictures, host, options)
        expected = read(classification(pictures, host, None), range(len(dataset)))
        assert read(dataset, range(len(dataset))) == expected == read(dataset, range(len(dataset)))
        assert 0 < len(kept_pack(dataset)) < len(dataset)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 20_000
        assert sum('its size is reached' in text for text in logged) == 1

    def test_memory_leaves_no_file(self, pictures, host, tmp_path):
        dataset = classification(pictures, host, dict())
        read(dataset, range(len(dataset)))
        files = [path for path in tmp_path.rglob('knowswap_mm_*') if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 100  # where to find it
        assert not (tmp_path / 'cache_home').exists()


class TestConfigErrors:
    @pytest.mark.parametrize(
        ('cache', 'key', 'value', 'words'),
        [
            ('4GB', 'cache', '4GB', 'not a dict'),
            (True, 'cache', True, 'not a dict'),
            (dict(path='x'), 'cache.path', 'x', 'unknown key'),
            (dict(size='4 apples'), 'cache.size', '4 apples', 'no size'),
            (dict(size='-1GB'), 'cache.size', '-1GB', 'no size'),
            (dict(size=0), 'cache.size', 0, 'no size'),
            (dict(size=1.5), 'cache.size', 1.5, 'no size'),
            (dict(size=True), 'cache.size', True, 'no size'),
            (dict(where='cloud'), 'cache.where', 'cloud', 'unknown place'),
            (dict(folder='x'), 'cache.folder', 'x', 'memory has no folder'),
            (dict(deterministic='Resize'), 'cache.deterministic', 'Resize', 'not a list'),
            (dict(deterministic=[3]), 'cache.deterministic', [3], 'not a list'),
            (dict(deterministic=['No']), 'cache.deterministic', 'No', 'unknown transform'),
        ],
    )
    def test_option(self, picture_tree, host, raises_config_error, cache, key, value, words):
        with raises_config_error(f'dataset.{key}', value, words):
            classification(picture_tree, host, cache)

    def test_a_folder_that_cannot_be_written(
        self, picture_tree, host, raises_config_error, tmp_path
    ):
        (tmp_path / 'file').write_text('')
        folder = str(tmp_path / 'file' / 'kept')
        with raises_config_error('dataset.cache.folder', folder, 'cannot be written'):
            classification(picture_tree, host, dict(where='disk', folder=folder))

    def test_memory_that_cannot_be_had(self, picture_tree, host, raises_config_error, monkeypatch):
        def refuse(*_):
            raise OSError('not permitted')

        monkeypatch.setattr(os, 'memfd_create', refuse)
        with raises_config_error('dataset.cache.where', 'memory', 'not permitted'):
            classification(picture_tree, host, dict())

    @pytest.mark.parametrize(
        ('size', 'expected'),
        [(123, 123), ('1.5GB', 1_500_000_000), ('2 MiB', 2 << 20), ('7KB', 7000)],
    )
    def test_sizes(self, picture_tree, host, size, expected):
        dataset = classification(picture_tree, host, dict(size=size))
        assert kept_pack(dataset).limit == expected
