"""Processes that srun started, with and without GPUs."""

import os

import pytest
import torch

from knowswap_mm.distributed.process_group import first_node, port_of_step, set_slurm_variables
from knowswap_mm.errors import ConfigError
from tests.helpers.processes import join, start
from tests.helpers.swap_configs import assert_same_weights, learn, swap_config, train, weights_of

GIVEN = dict(SLURM_PROCID='3', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_JOB_ID='123456')


@pytest.fixture
def set_variables(monkeypatch):
    def put(**variables):
        for name in list(os.environ):
            if name.startswith(('SLURM_', 'MASTER_')) or name in ('RANK', 'LOCAL_RANK'):
                monkeypatch.delenv(name)
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
            monkeypatch.setenv(name, '')  # so that what is set is taken back
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        set_slurm_variables()
        return {name: os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')}

    return put


@pytest.mark.parametrize(
    ('nodes', 'first'),
    [
        ('node7', 'node7'),
        ('node[007-010,020],login1', 'node007'),
        ('a[1,3]b[2-4],c', 'a1b2'),
        ('gpu-a-12,gpu-a-[13-15]', 'gpu-a-12'),
    ],
)
def test_the_first_machine(nodes, first, set_variables):
    assert first_node(nodes) == first
    set_variables(**GIVEN, SLURM_STEP_NODELIST=nodes)
    assert os.environ['MASTER_ADDR'] == first


@pytest.mark.parametrize(('devices', 'local'), [(0, '1'), (1, '0'), (8, '1')])
def test_what_torch_is_told(devices, local, set_variables, monkeypatch):
    """With one device bound to each task, every task has a device 0 only; a CPU has none."""
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: devices)
    found = set_variables(**GIVEN, SLURM_NODELIST='n[1-2]')
    assert found == dict(RANK='3', WORLD_SIZE='8', LOCAL_RANK=local)
    assert os.environ['MASTER_ADDR'] == 'n1'


def test_two_jobs_of_a_machine_have_two_ports(set_variables):
    ports = set()
    for job, step in (('123456', '0'), ('123457', '0'), ('123456', '1'), ('99', '')):
        set_variables(**GIVEN | dict(SLURM_JOB_ID=job, SLURM_STEP_ID=step, SLURM_NODELIST='n'))
        assert os.environ['MASTER_PORT'] == str(port_of_step())
        ports.add(port_of_step())
    assert len(ports) == 4 and all(15000 <= port < 30000 for port in ports)
    set_variables(**GIVEN, SLURM_NODELIST='n', MASTER_PORT='5', MASTER_ADDR='m')
    assert (os.environ['MASTER_PORT'], os.environ['MASTER_ADDR']) == ('5', 'm')


@pytest.mark.parametrize('missing', ['SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_STEP_NODELIST'])
def test_srun_did_not_start_it(missing, set_variables):
    """In an allocation, some of the variables are there without it."""
    given = GIVEN | dict(SLURM_STEP_NODELIST='n')
    del given[missing]
    with pytest.raises(ConfigError, match=f"launcher = 'slurm': the variable {missing} is not set"):
        set_variables(**given)


@pytest.mark.distributed
def test_nodes_without_gpus_train(picture_tree, host, tmp_path):
    """As torchrun's processes do."""
    folders = [tmp_path / name for name in ('slurm', 'torchrun')]
    for folder in folders:
        config = swap_config(picture_tree, folder, [learn(iters=2)], host=host, batch_size=4)
        variables = {}
        if folder.name == 'slurm':
            variables = dict(SLURM_NTASKS='2', SLURM_NODELIST='localhost')
        processes = start(config, 2, _as_slurm if variables else train, **variables)
        assert join(processes) == [0, 0], [p.read_text() for p in folder.glob('rank*.txt')]
    assert_same_weights(*(weights_of(folder / 'phase1_learn.pth') for folder in folders))


def _as_slurm(config):
    os.environ['SLURM_PROCID'] = os.environ['SLURM_LOCALID'] = os.environ.pop('RANK')
    del os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK']
    config.launcher = 'slurm'
    train(config)
