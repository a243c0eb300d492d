"""The shell scripts."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
SCRIPTS = sorted(path.relative_to(TOOLS).as_posix() for path in TOOLS.rglob('*.sh'))
USAGE = {
    'dist_train.sh': ('CONFIG GPUS [options]', ['config.py']),
    'dist_test.sh': ('CONFIG CHECKPOINT GPUS [options]', ['config.py', 'model.pth']),
    'slurm_train.sh': ('PARTITION JOB_NAME CONFIG WORK_DIR [options]', ['a', 'b', 'config.py']),
}


def fake(tmp_path, name):
    """A program that prints its arguments."""
    path = tmp_path / name
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho "PYTHONPATH=$PYTHONPATH"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize('script', SCRIPTS)
def test_syntax(script):
    subprocess.run(['bash', '-n', str(TOOLS / script)], check=True)


@pytest.mark.parametrize('script', sorted(USAGE))
@pytest.mark.parametrize('given', ['nothing', 'too little'])
def test_usage(script, given):
    text, arguments = USAGE[script]
    arguments = arguments if given == 'too little' else []
    done = subprocess.run(['bash', str(TOOLS / script), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ') and done.stderr.rstrip().endswith(text)
    assert done.stdout == ''


@pytest.mark.parametrize(
    ('script', 'arguments', 'passed'),
    [
        ('dist_train.sh', ['c d.py', '2'], ['c d.py']),
        ('dist_test.sh', ['c d.py', 'm.pth', '2'], ['c d.py', 'm.pth']),
    ],
)
def test_machines_come_from_the_environment(script, arguments, passed, tmp_path):
    environment = dict(
        os.environ, PYTHON=fake(tmp_path, 'python'), NNODES='3', NODE_RANK='1',
        MASTER_ADDR='host0', PORT='12345',
    )  # fmt: skip
    done = subprocess.run(
        ['bash', str(TOOLS / script), *arguments, '--work-dir', 'x y'],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] == ['-m', 'knowswap_mm.distributed.launch']
    for option in ('--nnodes=3', '--node_rank=1', '--master_addr=host0', '--master_port=12345'):
        assert option in lines
    assert '--nproc_per_node=2' in lines
    tool = 'train.py' if 'train' in script else 'test.py'
    begin = next(i for i, line in enumerate(lines) if line.endswith(f'/tools/{tool}'))
    wanted = [*passed, '--launcher', 'pytorch', '--work-dir', 'x y']
    assert lines[begin + 1 : -1] == wanted
    assert Path(lines[-1].removeprefix('PYTHONPATH=').split(':')[0]).resolve() == TOOLS.parent


@pytest.mark.parametrize(('given', 'option'), [({}, '0'), (dict(MAX_RESTARTS='3'), '3')])
def test_restarts_come_from_the_environment(given, option, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != 'MAX_RESTARTS'} | given
    done = subprocess.run(
        ['bash', str(TOOLS / 'dist_train.sh'), 'c.py', '2'],
        env=environment | dict(PYTHON=fake(tmp_path, 'python')),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f'--max_restarts={option}' in done.stdout.splitlines()


def test_slurm_command(tmp_path):
    srun = fake(tmp_path, 'srun')
    environment = dict(
        os.environ, PATH=f'{Path(srun).parent}:{os.environ["PATH"]}', GPUS='16', PYTHON='py',
        SRUN_ARGS='--qos high --time 5',
    )  # fmt: skip
    done = subprocess.run(
        ['bash', str(TOOLS / 'slurm_train.sh'), 'part', 'job', 'c.py', 'w', '--resume'],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    for option in ('--ntasks=16', '--ntasks-per-node=8', '--gres=gpu:8', '--job-name=job'):
        assert option in lines
    assert lines[lines.index('--qos') + 1] == 'high'
    begin = lines.index('py')
    assert lines[begin + 1] == '-u' and lines[begin + 2].endswith('/tools/train.py')
    wanted = ['c.py', '--work-dir=w', '--launcher', 'slurm', '--resume']
    assert lines[begin + 3 : -1] == wanted


def test_slurm_without_gpus(tmp_path):
    srun = fake(tmp_path, 'srun')
    path = f'{Path(srun).parent}:{os.environ["PATH"]}'
    done = subprocess.run(
        ['bash', str(TOOLS / 'slurm_train.sh'), 'part', 'job', 'c.py', 'w'],
        env=dict(os.environ, PATH=path, GPUS='4', CPU_ONLY='1'),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '--ntasks=4' in done.stdout.splitlines() and '--gres' not in done.stdout


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_two_runs_of_a_machine_have_two_ports(script, tmp_path):
    """Several machines must know the port, which is torch's."""
    environment = {k: v for k, v in os.environ.items() if k not in ('PORT', 'NNODES')}
    environment |= dict(PYTHON=fake(tmp_path, 'python'))
    arguments = ['bash', str(TOOLS / script), *USAGE[script][1], '2']

    def port(**variables):
        done = subprocess.run(
            arguments, env=environment | variables, capture_output=True, text=True, check=True
        )
        line = next(line for line in done.stdout.splitlines() if 'master_port' in line)
        return int(line.split('=')[1])

    assert len({port() for _ in range(4)}) > 1 and 20000 <= port() < 30000
    assert port(NNODES='2') == 29500
