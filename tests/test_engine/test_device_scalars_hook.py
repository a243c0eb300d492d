"""DeviceScalarsHook logs and saves, bit by bit, what mmengine's RuntimeInfoHook does."""

import json
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import RUNNERS

from knowswap_mm.engine.log import DeviceScalars
from tests.helpers.swap_configs import assert_same_weights, forget, learn, swap_config, weights_of

PHASES = [learn(iters=7), forget(iters=8, merge_learned=True)]
HOOKS = dict(theirs='RuntimeInfoHook', ours='knowswap_mm.DeviceScalarsHook')
#: Nobody's clock shows the same twice.
CLOCKS = ('time', 'data_time', 'eta')
#: Settings under which both must agree: when is read, and who reads.
SETTINGS = {
    'usual': dict(),
    'every_step': dict(default_hooks__logger__interval=1, log_processor__window_size=4),
    'never': dict(default_hooks__logger__interval=1000),
    'by_validation': dict(train_cfg__val_interval=2),
    'without_pauses': dict(
        custom_hooks=[dict(type='knowswap_mm.PhaseHook', save_phases=False, evaluate_start=False)],
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
    ),
    'clipped': dict(optim_wrapper__clip_grad=dict(max_norm=0.01)),
}


def make_config(picture_tree, host, folder, hook, **changes):
    changes = dict(default_hooks__logger__interval=4, log_processor__window_size=3) | changes
    config = swap_config(
        picture_tree,
        folder,
        PHASES,
        host=host,
        dropout=0.1,
        param_scheduler=dict(type='CosineAnnealingLR', eta_min=1e-5),
        default_hooks__runtime_info=dict(type=HOOKS[hook]),
        default_hooks__checkpoint__interval=5,
        **changes,
    )
    config.experiment_name = f'{folder.parent.name}_{folder.name}'
    return config


def train(config):
    runner = RUNNERS.build(config)
    runner.train()
    return runner


def scalars_of(folder):
    """The numbers in ``scalars.json``."""
    (path,) = folder.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [[(k, v) for k, v in row.items() if k.split('/')[-1] not in CLOCKS] for row in rows]


def lines_of(folder):
    """What the log says of iterations."""
    (path,) = folder.glob('*/*.log')
    lines = re.findall(r'Iter\((?:train|val)\).*', path.read_text())
    return [re.sub(r'(eta|time|data_time): \S+', r'\1', line) for line in lines]


def hubs_of(folder):
    """The message hub in every checkpoint."""
    return {path.name: hub_in(path) for path in sorted(folder.glob('*.pth'))}


def hub_in(path):
    hub = torch.load(path, weights_only=False)['message_hub']
    assert all(type(history) is HistoryBuffer for history in hub['log_scalars'].values())
    values = {
        key: [(part.dtype, part.tolist()) for part in history.data]
        for key, history in hub['log_scalars'].items()
    }
    for key in set(values):
        if key.split('/')[-1] in CLOCKS:
            values[key] = len(values[key][0][1])
    unlike = (*CLOCKS, 'cfg', 'experiment_name', 'last_ckpt')  # the hook's type, and names of files
    info = {k: v for k, v in hub['runtime_info'].items() if k not in unlike}
    return list(values.items()), list(info.items()), list(hub['resumed_keys'].items())


def numbers_of(hub):
    """Values and counts by key, whatever their type and order."""
    return {k: v if isinstance(v, int) else [part for _, part in v] for k, v in hub[0]}


@pytest.mark.parametrize('name', SETTINGS)
def test_the_same_is_logged_and_saved(name, picture_tree, host, tmp_path):
    for hook in HOOKS:
        train(make_config(picture_tree, host, tmp_path / hook, hook, **SETTINGS[name]))
    theirs, ours = tmp_path / 'theirs', tmp_path / 'ours'
    assert lines_of(ours) == lines_of(theirs)
    if name != 'never':
        assert scalars_of(ours) == scalars_of(theirs) and len(scalars_of(ours)) > 2
    assert repr(hubs_of(ours)) == repr(hubs_of(theirs))
    assert {'iter_5.pth', 'iter_10.pth', 'iter_15.pth'} <= set(hubs_of(ours))
    left, right = (weights_of(folder / 'iter_15.pth') for folder in (ours, theirs))
    assert_same_weights(left, right)


def test_norms_of_clipping_are_logged_the_same(picture_tree, host, tmp_path):
    """The hook together with SwapOptimWrapper, which leaves the norm on the device, too."""
    for hook in HOOKS:
        config = make_config(picture_tree, host, tmp_path / hook, hook, **SETTINGS['clipped'])
        if hook == 'ours':
            config.optim_wrapper.type = 'knowswap_mm.SwapOptimWrapper'
        train(config)
    theirs, ours = tmp_path / 'theirs', tmp_path / 'ours'
    assert lines_of(ours) == lines_of(theirs)
    assert scalars_of(ours) == scalars_of(theirs)
    assert repr(hubs_of(ours)) == repr(hubs_of(theirs))
    logged = dict(hub_in(ours / 'iter_15.pth')[0])['train/grad_norm']
    assert len(logged[0][1]) == 15 and max(logged[0][1]) > 0.01


@pytest.mark.parametrize('point', ['iter_5.pth', 'phase1_learn.pth', 'iter_10.pth'])
def test_resumed_run_logs_what_the_whole_one_did(point, picture_tree, host, tmp_path):
    train(make_config(picture_tree, host, tmp_path / 'whole', 'ours'))
    config = make_config(picture_tree, host, tmp_path / 'again', 'ours')
    config.resume, config.load_from = True, str(tmp_path / 'whole' / point)
    train(config)
    whole, again = hubs_of(tmp_path / 'whole'), hubs_of(tmp_path / 'again')
    for name in again:
        # Equal numbers: a count that was read from a file is 1.0 instead of 1.
        values, wanted = (numbers_of(hubs[name]) for hubs in (again, whole))
        assert values == wanted, name
    assert lines_of(tmp_path / 'again')[-1] == lines_of(tmp_path / 'whole')[-1]


class Reader(Hook):
    """Reads the loss in each iteration, as somebody's own hook might."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        current = runner.message_hub.get_scalar('train/loss').current()
        self.seen.append((float(current), float(outputs['loss'].detach())))


def test_other_hooks_read_the_present_value(picture_tree, host, tmp_path):
    runner = RUNNERS.build(make_config(picture_tree, host, tmp_path, 'ours'))
    reader = Reader()
    runner.register_hook(reader)
    runner.train()
    assert len(reader.seen) == 15 and all(found == wanted for found, wanted in reader.seen)


def test_nothing_is_left_on_the_device(picture_tree, host, tmp_path):
    runner = train(make_config(picture_tree, host, tmp_path, 'ours', **SETTINGS['without_pauses']))
    scalars = DeviceScalars.of(runner.message_hub)
    assert not scalars._waiting
