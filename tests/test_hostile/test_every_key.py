"""A checkpoint that runs code when it is unpickled, under every key of the configs of three hosts.

No reader is called here by name: a config is run until its first batch is there, and a marker file
must not appear. The three swaps are those of the other tests, one a library.
"""

import copy
import pickle
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import DATASETS, HOOKS, MODELS, RUNNERS, DefaultScope

from knowswap_mm.errors import SwapError
from knowswap_mm.io.checkpoints import use_data_only_loader
from knowswap_mm.models import role_model
from knowswap_mm.models.host_config import without_pretrained
from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.hostile_files.pickles import touch
from tests.helpers.swap_configs import learn, pretrain_host, swap_config

PHASES = [learn(iters=1)]


class ReachedError(Exception):
    """The first batch is there."""


@HOOKS.register_module(force=True)
class StopHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise ReachedError


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    """One file that every unpickler runs, under the names by which readers are chosen."""
    folder = tmp_path_factory.mktemp('hostile')
    flag, files = folder / 'flag', []
    for name in ('hostile.pth', 'hostile.pkl'):
        files.append(str(folder / name))
        (folder / name).write_bytes(pickle.dumps(touch(flag)))
    torch.save(dict(state_dict=touch(flag)), files[0])
    return SimpleNamespace(files=files, flag=flag)


def classification(folder, root):
    host = pretrain_host(root, folder / 'host.pth')
    return swap_config(root, folder / 'run', PHASES, host=host)


def detection(folder, root):
    scenes = detection_configs.write_scenes(folder)
    host = detection_configs.write_host(folder / 'host.pth')
    return detection_configs.detection_config(scenes, folder / 'run', host, PHASES)


def segmentation(folder, root):
    scenes = segmentation_configs.write_scenes(folder)
    host = segmentation_configs.write_host(folder / 'host.pth')
    return segmentation_configs.segmentation_config(scenes, folder / 'run', host, PHASES)


@pytest.fixture(scope='module', params=[classification, detection, segmentation])
def config(request, picture_tree, tmp_path_factory):
    config = request.param(tmp_path_factory.mktemp(request.param.__name__), picture_tree)
    for role in config.train_dataloader.dataset.roles.values():
        role.dataset.serialize_data = False  # it would collect garbage each time
    return config


def places(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """All values of a config with the path to each."""
    yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, (list, tuple)):
        for i, each in enumerate(value):
            yield from places(each, (*path, i))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """A copy with another value in one place."""
    if not path:
        return new
    first, *rest = path
    if isinstance(value, dict):
        return type(value)({**value, first: replaced(value.get(first), tuple(rest), new)})
    kept = list(value)
    kept[first] = replaced(value[first], tuple(rest), new)
    return type(value)(kept)


def start(content: dict[str, Any]) -> Exception | None:
    """Train until the first batch is there."""
    # Without a name, runs that begin in one second share a scope.
    content = {'experiment_name': uuid.uuid4().hex, **content}
    with torch.random.fork_rng(devices=[]):
        try:
            RUNNERS.build(Config(copy.deepcopy(content))).train()
        except (Exception, SystemExit) as error:
            return error
    return None


def build(model: dict[str, Any], scope: str) -> Exception | None:
    """Build a swapper, which initialises the host as well."""
    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope(scope):
        try:
            MODELS.build(ConfigDict(copy.deepcopy(model)))
        except Exception as error:
            return error
    return None


def texts(value: Any, types: bool = True) -> list[tuple]:
    """Paths of all texts; of the three roles, which are read by the same code, one is enough."""
    return [
        path
        for path, each in places(value)
        if isinstance(each, str)
        and (types or path[-1] != 'type')
        and not {'forget', 'retain'} & {step for step in path if isinstance(step, str)}
    ]


def read_data(content: dict[str, Any]) -> Exception | None:
    """Build the data set, read a sample, and build the metrics."""
    try:
        with DefaultScope.overwrite_default_scope(content['default_scope']):
            dataset = dict(content['train_dataloader']['dataset'])
            dataset['classes'] = content['swap']['classes']
            DATASETS.build(ConfigDict(copy.deepcopy(dataset)))[0]
            Evaluator(copy.deepcopy(content['test_evaluator']))
    except Exception as error:
        return error
    return None


def test_in_place_of_every_text(config, hostile, monkeypatch):
    """Of the whole config but the host: hooks, weights, adapters, data, metrics."""
    content = config.to_dict()
    hooks = [*(content.get('custom_hooks') or []), dict(type='StopHook')]
    content |= dict(custom_hooks=hooks, log_level='ERROR')
    assert isinstance(start(content), ReachedError)
    rest = {key: value for key, value in content.items() if 'mini' not in key and key != 'model'}
    if config.default_scope == 'mmpretrain':
        paths = [('resume',), ('model', 'adapters'), *texts(rest)]
    else:  # what differs is the data; types are looked up in the same way in all libraries
        paths = [('load_from',), ('resume',), ('model', 'adapters')]
    for path in paths:
        if path not in (('work_dir',), ('custom_hooks', len(hooks) - 1, 'type')):
            name = hostile.files['dataset' in path]
            start(replaced(content, path, [name] if path[-1] == 'adapters' else name))
            assert not hostile.flag.exists(), path


def test_in_place_of_every_text_of_the_data(config, hostile):
    use_data_only_loader()  # as every runner does
    content = config.to_dict()
    roles = content['train_dataloader']['dataset']['roles']
    content['train_dataloader']['dataset']['roles'] = dict(learn=roles['learn'])
    data = {key: content[key] for key in ('train_dataloader', 'test_evaluator')}
    assert read_data(content) is None
    for path in texts(data, types=False):
        read_data(replaced(content, path, hostile.files[1]))
        assert not hostile.flag.exists(), path


def test_in_place_of_every_text_of_the_host(config, hostile):
    model = config.model.to_dict()
    assert build(model, config.default_scope) is None
    for path in texts(model['host'], types=False):
        name = hostile.files['weight' in path[-1]]
        build(replaced(model, ('host', *path), name), config.default_scope)
        assert not hostile.flag.exists(), path


def spellings(name: str) -> list[dict[str, Any]]:
    """Keys by which a part of a host names its weights."""
    kinds = ('Pretrained', 'mmengine.PretrainedInit', 'Pretrained_Part', PretrainedInit)
    init_cfgs = [dict(type=kind, checkpoint=name) for kind in kinds]
    init_cfgs += [dict(checkpoint=name), [dict(checkpoint=name)], name]
    init_cfgs += [dict(type='Constant', layer='Linear', override=dict(name='x', checkpoint=name))]
    keys = ('pretrained', 'checkpoint', 'teacher_ckpt', 'checkpoint_file')
    return [dict(init_cfg=each) for each in init_cfgs] + [{key: name} for key in keys]


def test_every_part_of_a_host_may_name_weights(config, hostile):
    """Whatever part, and however it spells that: the name is gone before anything is built."""
    host, name = config.model.host.to_dict(), hostile.files[0]
    parts = [path for path, value in places(host) if isinstance(value, dict)]
    assert len(parts) > 5
    for path in parts:
        for keys in spellings(name):
            part = host
            for step in path:
                part = part[step]
            found = without_pretrained(replaced(host, path, {**part, **keys}))
            assert name not in [value for _, value in places(found)], (path, keys)


@pytest.mark.parametrize('cleaned', [True, False], ids=['set aside', 'reached by the host'])
def test_the_file_does_not_run_even_if_its_name_reaches_the_host(
    config, hostile, cleaned, monkeypatch
):
    """As by a key that is not known to name weights."""
    model, name = config.model.to_dict(), hostile.files[0]
    if not cleaned:
        monkeypatch.setattr(role_model, 'set_aside_pretrained', lambda host, key: host)
    outcomes = []
    for keys in spellings(name)[:6]:
        backbone = {**model['host']['backbone'], **keys}
        given = replaced(model, ('host', 'backbone'), backbone)
        outcomes.append(build(given, config.default_scope))
        assert not hostile.flag.exists(), keys
    if cleaned:
        assert outcomes == [None] * len(outcomes)
    else:
        # By the reader of this package if it has taken mmengine's place, and otherwise as foreign.
        # What the host itself cannot read as a key of initialisation is no file that is opened.
        refused = [
            error
            for error in outcomes
            if isinstance(error, SwapError) and 'init_weights() fails' not in str(error)
        ]
        assert refused
        assert all(name in str(error) for error in refused), refused
