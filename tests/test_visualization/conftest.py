"""A finished swap with everything that is to be seen of it."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.swap_configs import (
    forget,
    learn,
    swap_config,
    train,
)

PHASES = [learn(iters=6), forget(iters=5, merge_learned=True)]
HOOKS = {
    'runtime_info': 'DeviceScalarsHook',
    'block_profile': 'BlockProfileHook',
    'pictures': 'RolePicturesHook',
    'report': 'ReportHook',
}


@pytest.fixture(scope='session')
def seen_config(picture_tree, host):
    """Makes the config of a short swap with all hooks of the report."""

    def make(folder, phases=PHASES, **changes):
        config = swap_config(picture_tree, folder, phases, host=host, policy='all', **changes)
        for key, name in HOOKS.items():
            config.default_hooks.setdefault(key, dict(type=f'knowswap_mm.{name}'))
        config.default_hooks.logger = dict(type='LoggerHook', interval=2, log_metric_by_epoch=False)
        config.log_processor = dict(
            type='knowswap_mm.SwapLogProcessor', by_epoch=False, window_size=2
        )
        config.val_evaluator.metric.append(dict(type='knowswap_mm.PerClassAccuracy'))
        config.vis_backends = [dict(type='LocalVisBackend')]
        config.visualizer = dict(type='Visualizer', vis_backends=config.vis_backends)
        return config

    return make


@pytest.fixture(scope='session')
def run(seen_config, tmp_path_factory):
    """Folder of a finished swap. Copy it before you change it."""
    folder = tmp_path_factory.mktemp('seen') / 'run'
    train(seen_config(folder))
    return folder


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run without its report, to be spoilt."""
    folder = tmp_path / 'copied'
    shutil.copytree(run, folder)
    for path in folder.glob('report.*'):
        path.unlink()
    return folder


@pytest.fixture
def hostile(copied):
    """The run with class names, captions and a config that try to break out of the page."""
    names = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', 'a|b`c', "it's"]
    schedule = json.loads((copied / 'schedule.json').read_text())
    schedule['classes'].update(learn=names[:2], forget=names[2:3], retain=names[3:])
    (copied / 'schedule.json').write_text(json.dumps(schedule))
    results = json.loads((copied / 'swap_results.json').read_text())
    for state in results['states'].values():
        state['metrics'].update({f'learn/class/{name}': 50.0 for name in names[:2]})
        state['metrics'].update({f'forget/class/{names[2]}': 7.0})
    (copied / 'swap_results.json').write_text(json.dumps(results))
    index = json.loads((copied / 'pictures' / 'pictures.json').read_text())
    for sample, predicted in zip(index['samples'], index['states'][0]['predictions'], strict=True):
        sample['truth'].update(
            caption=names[0], legend=[[names[1], 'red;background:url(http://x)'], ['a', '#12<456']]
        )
        predicted.update(file='../../secret.png', caption=names[1])
    (copied / 'pictures' / 'pictures.json').write_text(json.dumps(index))
    (copied.parent / 'secret.png').write_bytes(b'not yours')
    for path in copied.glob('*/vis_data/config.py'):
        path.write_text(f'# {names[0]}\nx = "</code></pre>{names[1]}"\nraise SystemExit(1)\n')
    log = json.loads((copied / 'starts.json').read_text())
    log[0]['command'] = f'python x --name {names[0]}'
    (copied / 'starts.json').write_text(json.dumps(log))
    return copied, names


@pytest.fixture
def analysis_tool(monkeypatch):
    """Makes a function of a command in ``tools/analysis_tools``, which runs in this process."""

    def load(name):
        path = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / f'{name}.py'
        spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        def call(*arguments):
            monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
            module.main()

        return call

    return load
