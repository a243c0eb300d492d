"""What a run folder says of a run is enough to repeat it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.datasets.role_dataset import _plain, data_manifest
from knowswap_mm.runs import files
from knowswap_mm.runs.record import RunRecord, git_state
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

REPOSITORY = Path(__file__).parents[2]
PHASES = [learn(iters=3), forget(iters=3)]
END = 'phase2_forget.pth'


@pytest.fixture
def make_config(picture_tree, host):
    def make(folder, tree=picture_tree, **changes):
        return swap_config(tree, folder, PHASES, host=host, dropout=0.1, **changes)

    return make


def record_of(folder):
    return json.loads((folder / 'run.json').read_text())


def test_the_record(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    for name in ('SECRET_TOKEN', 'TORCH_HUB_TOKEN', 'TORCH_X', 'CUDA_KEY', 'NCCL_X', 'OMP_X'):
        monkeypatch.setenv(name, 'SECRET')
    runner, _ = train(make_config(tmp_path))
    record = record_of(tmp_path)
    assert record['run'] == runner.run_id and record['seed'] == 3
    assert (record['processes'], record['total_batch']) == (1, 8)
    assert record['packages']['torch'] == torch.__version__
    assert record['packages']['onedl-mmengine'] == mmengine.__version__
    assert record['environment']['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert 'SECRET' not in json.dumps(record)
    about = record['about']
    assert about['model'] == 'ImageClassifier with VisionTransformer'
    assert about['weights'] == 'host.pth' and about['data'].startswith('CustomDataset ')
    assert str(tmp_path) not in json.dumps(about)
    assert {role: part['classes'] for role, part in record['roles'].items()} == dict(
        learn=dict(x=12, y=12), forget=dict(b=12), retain=dict(a=12, c=12, d=12, e=12)
    )
    assert {role: part['samples'] for role, part in record['data']['roles'].items()} == dict(
        learn=24, forget=12, retain=48
    )
    assert (tmp_path / record['config']).is_file()
    assert torch.load(tmp_path / END, weights_only=False)['swap']['run'] == record['run']


def test_state_of_a_repository(tmp_path):
    assert git_state(tmp_path) is None

    def git(*arguments):
        who = ['-c', 'user.name=a', '-c', 'user.email=a@b']
        subprocess.run(['git', '-C', str(tmp_path), *who, *arguments], check=True)

    git('init', '-q')
    (tmp_path / 'code.py').write_text('1')
    git('add', '.')
    git('commit', '-qm', 'first')
    state = git_state(tmp_path / 'code.py')
    assert len(state['commit']) == 40 and state['changed'] == []
    (tmp_path / 'code.py').write_text('2')
    assert git_state(tmp_path)['changed'] == [' M code.py']
    (tmp_path / 'foreign.py').touch()  # as a package in an ignored environment
    assert git_state(tmp_path / 'foreign.py') is None


def test_the_hash_of_the_data(make_config, picture_tree, tmp_path):
    def manifest(tree, **changes):
        runner = RUNNERS.build(make_config(tmp_path / 'run', tree, **changes))
        runner.prepare()
        return data_manifest(runner._train_dataloader['dataset'])

    first = manifest(picture_tree)
    shutil.copytree(picture_tree, tmp_path / 'moved')
    assert manifest(tmp_path / 'moved') == first
    (tmp_path / 'moved/train/a/00.png').unlink()
    second = manifest(tmp_path / 'moved')
    assert second['sha256'] != first['sha256']
    differing = [role for role, part in second['roles'].items() if part != first['roles'][role]]
    assert differing == ['retain']
    drawn = manifest(picture_tree, train_dataloader__dataset__roles__retain__fraction=0.5)
    assert drawn['roles']['retain']['samples'] == 24


@pytest.mark.parametrize('root', ['/data', '/data/x', '/', 'HERE', 'HERE/a'])
def test_paths_are_counted_from_the_root(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = root.replace('HERE', str(tmp_path))
    for text in (
        *('/data/x/1.png', '/data/x/../y/1.png', '/data//x/./1.png', '/data/x/', '/data/x/..'),
        *('/data', '/datax/1.png', 'a/1.png', './a/1.png', '../1.png', 'a/', 'a/.', '1.png', '/1'),
    ):
        inside = os.sep in text and os.path.abspath(text).startswith(root + os.sep)
        wanted = os.path.relpath(text, root) if inside else text
        found = _plain(text, root)
        # What names a folder is no file of a data set, and stays as it is.
        assert found == (text if text.endswith(('/', '/.', '/..')) else wanted)


def test_records_become_plain():
    value = dict(a=np.arange(2), b=(np.float32(1.5), None), c='/data/x/1.png', d='/other/1.png')
    found = _plain(value | {'e': object(), 'f': Path('/data/y')}, '/data')
    assert found == dict(a=[0, 1], b=[1.5, None], c='x/1.png', d='/other/1.png', e='object', f='y')
    json.dumps(found)


@pytest.mark.parametrize('deterministic', [False, True])
def test_same_seed_same_machine_same_numbers(deterministic, make_config, tmp_path, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    try:
        for name in ('one', 'two'):
            config = make_config(tmp_path / name)
            config.randomness.deterministic = deterministic
            train(config)
            assert torch.are_deterministic_algorithms_enabled() == deterministic
    finally:
        torch.use_deterministic_algorithms(False)
    assert ('CUBLAS_WORKSPACE_CONFIG' in os.environ) == deterministic
    left, right = (weights_of(tmp_path / name / END) for name in ('one', 'two'))
    assert_same_weights(left, right)
    left, right = (record_of(tmp_path / name) for name in ('one', 'two'))
    assert left['data'] == right['data'] and left['deterministic'] == deterministic


def drawn(config):
    """The config of a run that draws its seed."""
    config.randomness.seed = None
    return config


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['tools/train.py', 'notebook'])
def test_one_command_repeats_the_run(launcher, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', [launcher])
    train(drawn(make_config(tmp_path / 'run')))
    command = ['bash', str(tmp_path / 'run' / 'repeat.sh')]
    environment = os.environ | dict(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [*command, str(tmp_path / 'new')],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert record_of(tmp_path / 'new')['seed'] == record_of(tmp_path / 'run')['seed']
    left, right = (weights_of(tmp_path / name / END) for name in ('run', 'new'))
    assert_same_weights(left, right)
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_several_processes_are_repeated_together(make_config, tmp_path, monkeypatch):
    runner, _ = train(make_config(tmp_path))
    monkeypatch.setattr('knowswap_mm.runs.record.get_world_size', lambda: 3)
    text = RunRecord(runner).repeat()
    assert (
        '-m torch.distributed.run --nproc_per_node=3' in text and ' -m knowswap_mm train ' in text
    )
    assert '--launcher pytorch' in text
    subprocess.run(['bash', '-n'], input=text, text=True, check=True)


def test_each_file_name_is_written_down_once():
    kept = {
        name
        for value in vars(files).values()
        for name in (value if isinstance(value, tuple) else (value,))
        if isinstance(name, str) and '.' in name and ' ' not in name and not name.startswith('know')
    }
    kept.remove('*.py')
    assert {'run.json', 'pictures.json', 'iter_*.pth'} <= kept
    package = Path(files.__file__).parents[1]
    again = {
        f'{path.relative_to(package)}: {node.value}'
        for path in package.rglob('*.py')
        if path != Path(files.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in kept
    }
    assert again <= {'datasets/classification.py: pictures.json'}  # a list of samples of data


def test_a_run_folder_is_read_without_torch():
    code = (
        'import sys, knowswap_mm.runs.reader, knowswap_mm.schedule\n'
        'print({"torch", "peft", "transformers", "mmcv"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'set()'
