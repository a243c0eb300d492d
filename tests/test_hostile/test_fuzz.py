"""Made-up contents for every reader: only the documented errors come out.

What a longer search found stands as an example, so that it stays fixed.
"""

import io
import json
import math
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as masks
from safetensors.torch import save as safetensors_bytes

from knowswap_mm.datasets.classes import ClassRoles, read_class_names
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.datasets.coco_values import mask_problem
from knowswap_mm.datasets.images import name_problem
from knowswap_mm.errors import CheckpointError, ConfigError, FileError
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.io.text_files import read_json
from knowswap_mm.lora import AdapterFile, AdapterManifest
from knowswap_mm.lora.adapter import AdapterContents, describe_adapter
from knowswap_mm.runs.reader import read_schedule
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.hostile_files import lists
from tests.helpers.tiny_hosts import build_swapper, randomise_adapters

JSON = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([0.5, -1.0, 1e400, -math.inf, math.nan, 10**400, 2**63, -(2**31)])
    | st.text(max_size=4)
)
VALUE = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
KINDS = st.sampled_from(['learn', 'forget', 'joint', 'expand', 'retain'])
ROLES = st.sampled_from(['learn', 'forget', 'retain', 'sparsity', 'x'])
PHASE = st.fixed_dictionaries(
    {},
    optional=dict(
        kind=KINDS | VALUE,
        iters=st.integers(-1, 5) | VALUE,
        epochs=st.integers(-1, 5) | VALUE,
        epoch_role=ROLES | VALUE,
        split=st.dictionaries(ROLES, st.integers(-1, 9) | VALUE, max_size=4) | VALUE,
        weights=st.dictionaries(ROLES, st.floats() | VALUE, max_size=4) | VALUE,
        bound=st.floats() | VALUE,
        merge_learned=VALUE,
        merged_share=st.floats(-1, 2) | VALUE,
        restart_lr=VALUE,
        restart_optimizer=VALUE,
        lr_factor=st.floats() | VALUE,
        param_scheduler=VALUE,
        other=VALUE,
    ),
)
SWAP = st.fixed_dictionaries(
    {},
    optional=dict(
        phases=st.lists(PHASE | VALUE, max_size=3)
        | st.dictionaries(
            st.sampled_from(['0', '1', 'a', 2]) | st.text(max_size=2), PHASE, max_size=2
        )
        | VALUE,
        order=st.lists(KINDS | VALUE, max_size=3) | st.sampled_from(['learn-forget', '-']) | VALUE,
        phase_settings=st.dictionaries(KINDS | st.text(max_size=2), PHASE | VALUE, max_size=3)
        | VALUE,
        classes=VALUE,
        allow_random_host=VALUE,
        other=VALUE,
    ),
)


@given(SWAP, st.integers(1, 9) | VALUE)
@settings(max_examples=400)
@example(dict(order='learn', phase_settings=dict(learn=dict(iters=10**400))), 8)
@example(dict(order=[[]]), 1)
@example(dict(phases={'²': dict(kind='learn', iters=1)}), 8)
def test_swap(swap, batch_size):
    try:
        schedule = SwapSchedule.from_config(swap, dict(learn=5, forget=7, retain=9), batch_size)
    except ConfigError as error:
        assert '. Fix: ' in str(error) and len(str(error)) < 2000
    else:
        assert schedule.total >= 1
        for phase in schedule.phases:
            assert sum(phase.split.values()) == batch_size
            assert all(0 <= weight < math.inf for weight in phase.weights.values())
        json.dumps(schedule.to_dict()), schedule.describe()


NAMES = st.lists(st.sampled_from('abcxy') | VALUE, max_size=4) | VALUE


@given(st.dictionaries(st.sampled_from(['old', 'learn', 'forget', 'retain', 'other']), NAMES))
@settings(max_examples=200)
@example(dict(old=['a'], forget=''))
@example(dict(old='\0'))
@example(dict(old='.'))
def test_classes(config):
    try:
        roles = ClassRoles.resolve(config, dict(learn=['x', 'y'], forget=['a'], retain=['b', 'c']))
    except ConfigError:
        return
    assert len(set(roles.names)) == len(roles.names)
    assert not set(roles.forget) & set(roles.retain)


@given(st.binary(max_size=40) | VALUE.map(lambda value: json.dumps(value).encode()))
@JSON
@pytest.mark.parametrize('name', ['names.json', 'names.txt'])
def test_class_file(name, tmp_path, content):
    (tmp_path / name).write_bytes(content)
    try:
        names = read_class_names('swap.classes.old', str(tmp_path / name))
    except ConfigError as error:
        assert name in str(error)
    else:
        assert names and all(isinstance(each, str) for each in names)


@given(
    st.text(max_size=12)
    | st.lists(st.sampled_from(['..', '.', '', 'a', '~']), max_size=5).map('/'.join)
)
@example('a/..//../b')
@example('..')
def test_a_name_without_a_problem_stays_in_its_folder(name):
    if name_problem(name) is None:
        path = os.path.normpath(os.path.join('/some/folder', name))
        assert path == '/some/folder' or path.startswith('/some/folder/')


@pytest.fixture(scope='module')
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp('adapter')
    AdapterFile(folder).save(
        randomise_adapters(build_swapper()),
        dict(learn=['a']),
        [dict(name='phase1_learn', kind='learn', iterations=3, seed=0, weights=dict(learn=1.0),
              bound=None, metric='m', metrics=dict(learn=1.0),
              groups=dict(number=2, smallest=0.1, mean=0.2, largest=0.3, small=0))],
    )  # fmt: skip
    return folder


FIELDS = [
    'base_sha256', 'targets', 'rank', 'alpha', 'adapter_sha256', 'parents', 'class_rows',
    'class_layouts', 'class_roles', 'old_classes', 'total_classes', 'history', 'format',
    'versions', 'other',
]  # fmt: skip
ENTRY = ['name', 'kind', 'iterations', 'seed', 'weights', 'bound', 'metric', 'metrics', 'groups']


@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=3),
    st.dictionaries(st.sampled_from(ENTRY), VALUE, max_size=2),
)
@settings(JSON, max_examples=150)
@example(dict(alpha=10**400), {})
@example(dict(rank=2**31), {})
@example(dict(class_layouts={'head.layers.head.weight': [5, 3, 7, 0, 2**30]}), {})
@example({}, dict(metric=None, metrics={}))
@example({}, dict(metrics={'': 10**400}))
def test_manifest(adapter, tmp_path, changes, entry_changes):
    content = json.loads((adapter / 'manifest.json').read_text())
    content['history'][0].update(entry_changes)
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps(content | changes))
    try:
        manifest = AdapterManifest.read(path)
    except CheckpointError as error:
        assert str(path) in str(error)
        return
    for name in os.listdir(adapter):
        if name != path.name and not (tmp_path / name).exists():
            os.symlink(adapter / name, tmp_path / name)
    contents = AdapterContents(tmp_path)
    assert describe_adapter(contents) and isinstance(contents.problems(), list)
    assert manifest.rank > 0


PARTS = ('images', 'annotations', 'categories')
ITEM = st.dictionaries(
    st.sampled_from([
        'id', 'file_name', 'width', 'height', 'name', 'image_id', 'category_id', 'bbox', 'area',
        'iscrowd', 'segmentation',
    ]),
    st.integers(0, 3) | st.lists(st.integers(-2, 9) | PLAIN, max_size=6) | VALUE,
    max_size=4,
)  # fmt: skip


@given(st.sampled_from(PARTS), st.integers(0, 1), ITEM | VALUE, st.booleans())
@settings(JSON, max_examples=300)
@example('annotations', 1, dict(segmentation=dict(size=[10, 20], counts='a' * 99)), True)
@example('annotations', 1, dict(area=10**400), True)
@example('categories', 1, dict(name=['a']), True)
def test_annotations(tmp_path, part, place, item, update):
    content = lists.content()
    if update and isinstance(item, dict):
        content[part][place].update(item)
    else:
        content[part][place] = item
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(content))
    try:
        found = CocoJson(path, 'ann_file')
    except ConfigError as error:
        assert 'boxes.json' in str(error)
        return
    for image in found.images:
        for each in found.objects[image['id']]:
            x, y, width, height = each['bbox']
            assert 0 <= x and x + width <= image['width'] + 1e-6 and width >= 1 and height >= 1
            assert 0 < each['area'] < math.inf


@given(
    st.integers(1, 9), st.integers(1, 9),
    st.lists(st.integers(-3, 90), max_size=8)
    | st.text('0123456789:;<=>?@ABCDE_`abcdefghijklmno', max_size=9)
    | st.binary(max_size=5).map(lambda value: value.decode('latin1')),
)  # fmt: skip
@settings(max_examples=300)
@example(1, 1, '01')
@example(3, 3, 'o')
@example(2, 2, '4')
def test_a_mask_without_a_problem_is_drawn(width, height, counts):
    shape = dict(size=[height, width], counts=counts)
    if mask_problem(shape, width, height) is not None:
        return
    if isinstance(counts, list):
        shape = masks.frPyObjects(shape, height, width)
    assert masks.decode(shape).shape == (height, width)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_mask_of_the_library_has_no_problem(width, height, seed):
    rng = np.random.default_rng(seed)
    values = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    code = masks.encode(np.asfortranarray(values))
    assert mask_problem(dict(code, counts=code['counts'].decode()), width, height) is None


RUN = st.dictionaries(
    st.sampled_from(['phases', 'classes', 'primary_metric', 'scale', 'states']),
    st.lists(
        st.dictionaries(st.sampled_from(['index', 'kind']), st.integers(0, 1) | KINDS), max_size=2
    )
    | st.dictionaries(ROLES | st.just('start'), NAMES | st.dictionaries(
        st.sampled_from(['iteration', 'metrics']), VALUE), max_size=3)
    | VALUE,
)  # fmt: skip


@given(RUN | VALUE)
@settings(JSON, max_examples=200)
@example(
    dict(primary_metric='m', scale=1, states=dict(s=dict(iteration=1, metrics={'learn/m': 'a'})))
)
@example(dict(primary_metric='m', scale=math.nan, states={}))
def test_files_of_a_run(tmp_path, content):
    for name in ('schedule.json', 'swap_results.json', 'role_indices.json'):
        (tmp_path / name).write_text(json.dumps(content))
    try:
        last = read_schedule(tmp_path)['phases'][-1]
    except FileError as error:
        assert 'schedule.json' in str(error)
    else:
        assert f'phase{last["index"] + 1}_{last["kind"]}'
    try:
        assert SwapResults.read(tmp_path / 'swap_results.json').table()
    except FileError as error:
        assert 'swap_results.json' in str(error)
    read_json(tmp_path / 'role_indices.json')


def weight_files():
    """Small whole files by ending."""
    state = dict(a=torch.arange(4.0), b=torch.ones(2, 2, dtype=torch.half))
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(dict(state_dict=state, meta=dict(iter=3)), new)
    torch.save(dict(state_dict=state), old, _use_new_zipfile_serialization=False)
    arrays = {name: value.numpy() for name, value in state.items()}
    return [
        ('a.pth', new.getvalue()),
        ('b.pth', old.getvalue()),
        ('c.safetensors', safetensors_bytes(state)),
        ('d.pkl', pickle.dumps(dict(model=arrays), protocol=2)),
        ('e.pkl', pickle.dumps(dict(model=arrays), protocol=4)),
    ]


@given(st.sampled_from(weight_files()), st.data())
@settings(JSON, max_examples=400)
def test_weight_files(tmp_path, file, data):
    name, content = file
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (tmp_path / name).write_bytes(content[:cut])
    try:
        state = state_dict_of(safe_load(tmp_path / name))
    except CheckpointError:
        return
    assert sum(value.numel() for value in state.values()) <= 8
