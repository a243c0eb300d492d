"""Checks of what runs here, in each of their cases."""

import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from knowswap_mm.doctor import deformable_attention
from knowswap_mm.doctor.checks import machine
from knowswap_mm.doctor.checks.libraries import Hosts, MmcvOperators
from knowswap_mm.doctor.checks.machine import Device, WorkDir
from knowswap_mm.doctor.checks.swap import TinySwap
from knowswap_mm.installation import pip_install
from tests.helpers.looks import look

# Hosts


def test_hosts(tmp_path, monkeypatch):
    def load(name):
        if name == 'mmseg':
            raise AssertionError('MMCV==2.2.0 is used but incompatible\nPlease install')

    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if name == 'mmdet' else name)
    monkeypatch.setattr('importlib.import_module', load)
    states, texts, fixes = look(Hosts, tmp_path)
    assert states == ['ok', 'warning', 'problem']
    assert 'detection: mmdet is not installed' in texts
    assert 'mmseg cannot be imported (AssertionError: MMCV==2.2.0 is used but incompat' in texts
    assert 'knowswap doctor' in fixes


# Operators of mmcv


def test_operators_of_mmcv_are_right(tmp_path):
    states, texts, _ = look(MmcvOperators, tmp_path)
    assert states == ['ok'] and 'are right' in texts


def test_operators_of_mmcv_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)  # its import fails
    states, texts, fixes = look(MmcvOperators, tmp_path)
    assert states == ['problem'] and 'do not run with this torch' in texts
    assert '--no-build-isolation' in fixes and '--no-binary onedl-mmcv' in fixes


def test_wrong_suppression(tmp_path, monkeypatch):
    monkeypatch.setattr('mmcv.ops.nms', lambda *_, **__: (None, torch.tensor([1])))
    states, texts, _ = look(MmcvOperators, tmp_path)
    assert states == ['problem'] and 'kept the boxes [1], not [0, 2]' in texts


def test_wrong_attention(tmp_path, monkeypatch):
    right = deformable_attention.operator_of('cpu')
    monkeypatch.setattr(
        deformable_attention, 'operator_of', lambda device: lambda *inputs: 1.01 * right(*inputs)
    )
    states, texts, _ = look(MmcvOperators, tmp_path)
    assert states == ['problem'] and 'times off its limit' in texts


# The device


@pytest.fixture
def gpu(monkeypatch):
    """Makes believe in a GPU: seen by torch, built for, driver."""

    def pretend(seen, built_for, driver):
        monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
        monkeypatch.setattr('torch.cuda.is_available', lambda: seen)
        monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
        about = SimpleNamespace(name='Card', total_memory=80 * 2**30)
        monkeypatch.setattr('torch.cuda.get_device_properties', lambda number: about)
        monkeypatch.setattr('torch.version.cuda', built_for)
        monkeypatch.setattr(machine, 'read_driver', lambda: driver)

    return pretend


def test_no_gpu(gpu, tmp_path):
    gpu(False, None, None)
    assert look(Device, tmp_path)[:2] == (['ok'], 'no NVIDIA GPU: swaps run on the CPU')


def test_gpu_and_a_torch_for_the_cpu(gpu, tmp_path):
    gpu(False, None, '550.1')
    states, texts, fixes = look(Device, tmp_path)
    assert states == ['warning'] and 'this torch is for the CPU' in texts and 'CUDA' in fixes


def test_gpu_that_is_hidden(gpu, tmp_path, monkeypatch):
    gpu(False, '13.0', '550.1')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    states, texts, fixes = look(Device, tmp_path)
    assert states == ['warning'] and 'hides all GPUs' in texts and fixes.startswith('unset')


def test_driver_that_is_too_old(gpu, tmp_path):
    gpu(False, '13.0', '450.1')
    states, texts, fixes = look(Device, tmp_path)
    assert states == ['problem'] and 'driver 450.1' in texts and 'update the driver' in fixes


@pytest.mark.parametrize(
    ('total', 'state', 'words'),
    [
        (512.0, 'ok', 'GPU 0: Card, 80 GiB, CUDA 13.0, driver 580.1'),
        (0.0, 'problem', 'computes wrongly'),
        (
            RuntimeError('no kernel image is available'),
            'problem',
            'does not compute (RuntimeError: no kernel',
        ),
    ],
)
def test_what_a_gpu_computes(total, state, words, gpu, tmp_path, monkeypatch):
    gpu(True, '13.0', '580.1')

    def multiply(number):
        if isinstance(total, Exception):
            raise total
        return total

    monkeypatch.setattr(machine, 'multiply', multiply)
    states, texts, _ = look(Device, tmp_path)
    assert states == [state] and words in texts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_real_gpu(tmp_path):
    states, texts, _ = look(Device, tmp_path)
    assert set(states) == {'ok'} and 'driver' in texts


def test_multiplication():
    assert machine.multiply('cpu') == 512


@pytest.mark.parametrize(
    ('script', 'found'),
    [('echo 580.1; echo 580.1', '580.1'), ('exit 9', None), ('true', None), (None, None)],
)
def test_driver(script, found, tmp_path, monkeypatch):
    if script:
        tool = tmp_path / 'nvidia-smi'
        tool.write_text(f'#!/bin/sh\n{script}\n')
        tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}')
    assert machine.read_driver() == found


# The folder for runs


def test_work_dir_need_not_exist(tmp_path):
    folder = tmp_path / 'a' / 'b'
    states, texts, _ = look(WorkDir, folder)
    assert states[0] != 'problem' and 'can be written to' in texts and not folder.exists()


def test_work_dir_is_a_file(tmp_path):
    (tmp_path / 'file').touch()
    states, texts, fixes = look(WorkDir, tmp_path / 'file')
    assert states == ['problem'] and 'is a file' in texts and '--work-dir' in fixes


def test_work_dir_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr('tempfile.TemporaryFile', refuse)
    states, texts, _ = look(WorkDir, tmp_path)
    assert states == ['problem'] and 'cannot be written to (Permission denied)' in texts


@pytest.mark.parametrize(('free', 'state'), [(0.5, 'problem'), (5, 'warning'), (50, 'ok')])
def test_space(free, state, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=free * 2**30))
    assert look(WorkDir, tmp_path)[0] == [state]


# The swap


@pytest.fixture
def training(monkeypatch):
    """Replaces the process that trains."""

    def replace(code='', timeout=False):
        real = subprocess.run

        def run(command, **options):
            assert command[1:4] == ['-m', 'knowswap_mm', 'train'] and options['timeout'] > 100
            if timeout:
                raise subprocess.TimeoutExpired(command, 300)
            return real([sys.executable, '-c', code, *command[-1:]], **options)

        monkeypatch.setattr(subprocess, 'run', run)

    return replace


@pytest.mark.parametrize(
    ('code', 'words'),
    [
        (
            'import sys; sys.exit("ConfigError: something = 1: is wrong")',
            'failed with code 1: Conf',
        ),
        ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'failed with code -11'),
        ('pass', 'did not write'),
    ],
)
def test_swap_that_fails(code, words, training, tmp_path):
    training(code)
    states, texts, fixes = look(TinySwap, tmp_path)
    assert states == ['problem'] and words in texts and 'knowswap doctor --json' in fixes


def test_swap_that_hangs(training, tmp_path):
    training(timeout=True)
    states, texts, _ = look(TinySwap, tmp_path)
    assert states == ['problem'] and 'did not end within 300 s' in texts


def test_pip_of_this_python():
    assert pip_install('a<2') == f"{shlex.quote(sys.executable)} -m pip install 'a<2'"
