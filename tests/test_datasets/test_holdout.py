"""What is held out of training: how much of which class, the same each time, and not trained on."""

import json

import mmdet.datasets  # noqa: F401
import mmseg.datasets  # noqa: F401
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.holdout import (
    LEAST,
    MOST,
    MOST_TRAINED,
    SHARE,
    held_share,
    hold_out,
    watch_trained,
)
from knowswap_mm.datasets.role_counts import role_counts
from knowswap_mm.datasets.role_dataset import data_manifest

CLASSES = dict(old=list('abcde'), learn=['x', 'y'], forget=['b'])


def members_of(sizes):
    """One class a sample."""
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def test_share_of_each_class_and_none_of_a_small_one():
    held = hold_out(members_of([100, 40, 9, 10]), 0.1, seed=0)
    assert np.histogram(held, [0, 100, 140, 149, 159])[0].tolist() == [10, 4, 0, 1]
    assert held.tolist() == hold_out(members_of([100, 40, 9, 10]), 0.1, seed=0).tolist()
    assert held.tolist() != hold_out(members_of([100, 40, 9, 10]), 0.1, seed=1).tolist()
    assert not len(hold_out(members_of([100, 40]), 0.0, seed=0))


def test_enough_of_each_class_up_to_a_third_of_it():
    sizes = [100, 40, 9, 10, 200]
    held = hold_out(members_of(sizes), 0.1, seed=0, each=12)
    ends = np.cumsum([0, *sizes])
    assert np.histogram(held, ends)[0].tolist() == [12, 12, 0, 3, 20]
    assert not len(hold_out(members_of(sizes), 0.0, seed=0, each=12))


def test_few_in_all_and_spread_over_classes():
    held = hold_out(members_of([1000] * 10), 0.1, seed=0)
    assert len(held) == MOST
    assert sorted(np.bincount(held // 1000)) == [6] * 6 + [7] * 4
    assert sorted(held[:10] // 1000) == list(range(10))  # any beginning is spread, too
    assert len(set((hold_out(members_of([20] * 100), 0.1, seed=0) // 20).tolist())) == MOST


def test_too_few_are_none():
    assert not len(hold_out(members_of([10] * (LEAST - 1)), 0.1, seed=0))
    assert len(hold_out(members_of([10] * LEAST), 0.1, seed=0)) == LEAST
    assert not len(hold_out([], 0.1, seed=0)) and not len(hold_out(members_of([9] * 50), 0.5, 0))


@given(
    st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=120),
    st.floats(0, 0.9),
    st.integers(0, 3),
)
def test_a_sample_counts_for_each_of_its_classes(samples, share, seed):
    members = [
        np.array([i for i, held in enumerate(samples) if c in held], np.int64) for c in range(6)
    ]
    held = hold_out(members, share, seed)
    assert len(set(held.tolist())) == len(held) <= MOST and (not len(held) or len(held) >= LEAST)
    for each in members:
        taken = np.isin(each, held).sum()
        assert taken <= (max(int(share * len(each)), 1) if len(each) >= 10 else 0)


def test_share_of_a_config(raises_config_error):
    assert held_share({}) == SHARE and held_share(dict(holdout=0)) == 0
    assert held_share(dict(guard=False)) == held_share(dict(guard=False, holdout=0.2)) == 0
    assert held_share(dict(guard=dict(looks=3), holdout=0.2)) == 0.2
    for value in (1, -0.1, 'a', None, True):
        with raises_config_error('swap.holdout', value):
            held_share(dict(holdout=value))


def classification(root, holdout, seed=0, cache=None, held_each=1, **options):
    pictures = dict(
        type='CustomDataset', data_root=str(root), data_prefix='train',
        serialize_data=False,  # it would collect garbage each time
        pipeline=[dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5),
                  dict(type='PackInputs')],
    )  # fmt: skip
    roles = {role: dict(dataset=pictures, **options) for role in ('learn', 'forget', 'retain')}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        import mmpretrain.datasets  # noqa: F401

        return RoleDataset(
            roles, CLASSES, seed=seed, holdout=holdout, cache=cache, held_each=held_each
        )


def test_a_role_may_hold_out_more(picture_tree):
    data = classification(picture_tree, 0.17, held_each=dict(forget=4))  # 12 images a class
    assert data.held_out_sizes == dict(learn=4, forget=4, retain=8)
    data = classification(picture_tree, 0.17, held_each=3)
    assert data.held_out_sizes == dict(learn=6, forget=0, retain=12)  # less than 4 says nothing


@pytest.fixture(scope='module')
def data(picture_tree):
    return classification(picture_tree, 0.34)


def paths(view, positions):
    return {
        view.host.get_data_info(view.host_index(position))['img_path'] for position in positions
    }


def test_held_out_samples_are_not_among_the_others(data, picture_tree):
    whole = classification(picture_tree, 0.0)
    assert data.held_out_sizes == dict(learn=8, forget=4, retain=16)
    for role, view in data.views.items():
        own = paths(view, range(len(view)))
        held = paths(view, range(len(view), len(view) + len(view.held_out)))
        assert not own & held and own | held == paths(
            whole.views[role], range(len(whole.views[role]))
        )
    counts = role_counts(data.views)['retain']
    assert (counts['samples'], counts['held_out']) == (32, 16)
    assert counts['classes'] == dict(a=8, c=8, d=8, e=8) and counts['available']['a'] == 12
    assert set(data.drawn_indices) == set(data.views)
    # The manifest is that of the samples that train.
    assert data_manifest(data)['roles']['retain']['samples'] == 32
    assert data_manifest(whole)['sha256'] != data_manifest(data)['sha256']


def test_they_are_the_same_images_in_each_look(data, picture_tree):
    def pixels(dataset, number):
        return dataset.load_watched('retain', number)['inputs']

    again = classification(picture_tree, 0.34)
    other = classification(picture_tree, 0.34, seed=5)
    first = [pixels(data, number) for number in range(16)]
    for dataset in (data, again, classification(picture_tree, 0.34, cache=dict(size='1MB'))):
        assert all((pixels(dataset, n) == first[n]).all() for n in range(16))
    assert not all((pixels(other, n) == first[n]).all() for n in range(16))  # flipped otherwise
    sample = data.load_watched('learn', 0)['data_samples']
    assert sample.role == 'learn' and sample.gt_label.item() in (5, 6)
    pseudo_collate([data.load_watched('learn', number) for number in range(8)])


def test_where_nothing_can_be_held_out_samples_that_train_are_watched(picture_tree, monkeypatch):
    said = []
    name = 'knowswap_mm.datasets.role_dataset.print_log'
    monkeypatch.setattr(name, lambda text, **_: said.append(text))
    few = dict(fraction=0.5, fraction_by='class')  # 6 of a class
    data = classification(picture_tree, 0.34, **few)
    assert data.held_out_sizes == dict(learn=0, forget=0, retain=0)
    assert data.watched_sizes == dict(learn=12, forget=6, retain=24)
    assert len(said) == 1 and 'Nothing is held out of learn, forget, retain' in said[0]
    view = data.views['retain']
    assert set(view.watched.tolist()) == set(range(len(view)))
    samples = [data.load_watched('retain', number)['data_samples'] for number in range(8)]
    labels = [sample.gt_label.item() for sample in samples]
    assert sorted(labels) == sorted(2 * list({*labels})) and len({*labels}) == 4  # classes in turn
    assert not any(classification(picture_tree, 0.0, **few).watched_sizes.values())
    assert len(watch_trained(members_of([9] * 50), seed=0)) == MOST_TRAINED
    assert not len(watch_trained(members_of([LEAST - 1]), seed=0))


def test_wrapped_data_and_a_broken_image(picture_tree, tmp_path, told):
    pictures = dict(
        type='CustomDataset', data_root=str(picture_tree), data_prefix='train', pipeline=[],
        serialize_data=False,
    )  # fmt: skip
    wrapped = dict(type='RepeatDataset', times=2, dataset=pictures)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = RoleDataset(
            dict(retain=dict(dataset=wrapped)), CLASSES | dict(learn=[]), holdout=0.3
        )
    assert data.held_out_sizes == dict(retain=0)  # a twin would train
    assert data.watched_sizes == dict(retain=MOST_TRAINED)
    data = classification(picture_tree, 0.34)
    view = data.views['forget']
    view._run_pipeline = lambda *_: 1 / 0
    assert data.load_watched('forget', 0) is None
    assert [text for text in told if 'cannot be loaded' in text and 'the guard does' in text]


def test_wrong_shares(picture_tree, raises_config_error):
    for value in (1.0, -1, None, 'a'):
        with raises_config_error('dataset.holdout', value):
            RoleDataset(dict(retain=dict(dataset={})), CLASSES, holdout=value)


#: Images that hold each class: a alone, a with c, c alone.
HELD = [{'a'}] * 20 + [{'a', 'c'}] * 20 + [{'c'}] * 20 + [{'b'}] * 3


def pixels(root):
    for number in range(len(HELD)):
        path = root / 'img' / f'{number}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)


def detection(root):
    boxes = [(i, n) for i, held in enumerate(HELD) for n in sorted(held)]
    box = dict(bbox=[0, 0, 4, 4], area=16, iscrowd=0)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=8, height=8) for i in range(len(HELD))],
        categories=[dict(id=i, name=name) for i, name in enumerate('abc')],
        annotations=[
            dict(box, id=k, image_id=i, category_id='abc'.index(n))
            for k, (i, n) in enumerate(boxes)
        ],
    )
    (root / 'boxes.json').write_text(json.dumps(content))
    dataset = dict(
        type='mmdet.CocoDataset', ann_file=str(root / 'boxes.json'),
        data_prefix=dict(img=str(root / 'img')),
        pipeline=[dict(type='mmdet.LoadAnnotations', with_bbox=True),
                  dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path'))],
    )  # fmt: skip
    return dict(view='knowswap_mm.CocoRoleView', cache_dir=str(root / 'cache')), dataset


def segmentation(root):
    (root / 'map').mkdir()
    for number, held in enumerate(HELD):
        values = np.full((8, 8), 255, np.uint8)
        for place, name in enumerate(sorted(held)):
            values[place] = 'abc'.index(name)
        Image.fromarray(values).save(root / 'map' / f'{number}.png')
    dataset = dict(
        type='mmseg.BaseSegDataset', metainfo=dict(classes=list('abc')),
        data_prefix=dict(img_path=str(root / 'img'), seg_map_path=str(root / 'map')),
        pipeline=[],
    )  # fmt: skip
    return dict(view='knowswap_mm.SemanticRoleView', cache_dir=str(root / 'cache')), dataset


@pytest.mark.parametrize('task', [detection, segmentation])
def test_images_with_several_classes(task, tmp_path):
    pixels(tmp_path)
    with DefaultScope.overwrite_default_scope('mmengine'):
        options, dataset = task(tmp_path)
        roles = {role: dict(options, dataset=dataset) for role in ('forget', 'retain')}
        config = dict(
            type='knowswap_mm.RoleDataset', roles=roles, holdout=0.1,
            classes=dict(old=list('abc'), learn=[], forget=['b']),
        )  # fmt: skip
        data = DATASETS.build(config)
    view = data.views['retain']
    assert data.held_out_sizes['forget'] == 0 and 4 <= len(view.held_out) <= 8
    counts = role_counts(data.views)['retain']
    assert counts['samples'] == 60 - len(view.held_out)
    for name, number in counts['classes'].items():
        assert 36 <= number < counts['available'][name] == 40
    held = paths(view, range(len(view), 60))
    assert len(held) == len(view.held_out) and not held & paths(view, range(len(view)))
    if task is detection:
        view.host.metainfo['classes'] = tuple('abc')
        info = view.data_info(len(view))
        assert {item['bbox_label'] for item in info['instances']} <= {0, 2}


def test_the_log_says_how_many(picture_tree, monkeypatch):
    said = []
    log = 'knowswap_mm.datasets.role_dataset.print_log'
    monkeypatch.setattr(log, lambda text, **_: said.append(text))
    classification(picture_tree, 0.34)
    classification(picture_tree, 0.0)
    assert said == ['Held out of training: 8 of 24 learn, 4 of 12 forget, 16 of 48 retain samples.']


def test_a_longer_list_begins_with_the_shorter_one():
    members = [np.arange(0, 900), np.arange(900, 2000)]
    short, long = hold_out(members, 0.2, 3), hold_out(members, 0.2, 3, most=300)
    assert len(short) == MOST and len(long) == 300
    assert long[:MOST].tolist() == short.tolist()
