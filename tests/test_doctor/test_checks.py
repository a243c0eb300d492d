"""Each check in each of its cases."""

import email.message
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from knowswap_mm.doctor import deformable_attention
from knowswap_mm.doctor.checks import (
    Device,
    Hosts,
    MmcvOperators,
    Originals,
    Packages,
    PythonVersion,
    TinySwap,
    TorchPair,
    TorchvisionOperators,
    WorkDir,
    device,
    originals,
)
from knowswap_mm.doctor.pip_command import pip_install
from knowswap_mm.doctor.requirement_list import read_requirements
from knowswap_mm.version import __version__


def look(kind, tmp_path):
    """States, all texts and all fixes of a check."""
    found = list(kind(tmp_path).findings())
    assert found
    texts, fixes = ' / '.join(f.text for f in found), ' / '.join(f.fix or '' for f in found)
    return [finding.state for finding in found], texts, fixes


@pytest.fixture
def installed(monkeypatch):
    """Makes believe that distributions have these versions; None: not installed."""
    real = metadata.version

    def pretend(**versions):
        given = {name.replace('_', '-'): version for name, version in versions.items()}

        def version(name):
            if name not in given:
                return real(name)
            if given[name] is None:
                raise metadata.PackageNotFoundError(name)
            return given[name]

        monkeypatch.setattr(metadata, 'version', version)

    return pretend


@pytest.fixture
def described(monkeypatch):
    """Makes believe that the metadata of the package say this."""

    def pretend(requires=(), python='>=3.10', version=__version__):
        about = email.message.Message()
        about['Requires-Python'], about['Version'] = python, version
        for name in ('detection', 'segmentation', 'tests', 'all'):
            about['Provides-Extra'] = name
        monkeypatch.setattr(metadata, 'metadata', lambda name: about)
        monkeypatch.setattr(metadata, 'requires', lambda name: list(requires))

    return pretend


def not_found(name):
    raise metadata.PackageNotFoundError(name)


# Python


def test_python_fits(described, tmp_path):
    described()
    states, texts, _ = look(PythonVersion, tmp_path)
    assert states == ['ok', 'ok'] and f'Python {platform.python_version()}' in texts


def test_python_is_too_old(described, tmp_path, monkeypatch):
    described(python='>=3.10,<3.14')
    monkeypatch.setattr(platform, 'python_version', lambda: '3.9.2')
    states, texts, fixes = look(PythonVersion, tmp_path)
    assert states == ['problem', 'ok'] and 'Python 3.9.2 is not supported' in texts
    assert 'virtual environment' in fixes


def test_another_version_is_installed(described, tmp_path):
    described(version='0.0.1')
    states, texts, fixes = look(PythonVersion, tmp_path)
    assert states == ['ok', 'warning'] and '0.0.1 is installed' in texts and 'pip install' in fixes


def test_the_package_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, 'metadata', not_found)
    states, texts, fixes = look(PythonVersion, tmp_path)
    assert states == ['problem'] and 'not installed' in texts and 'make setup' in fixes


# Packages


def test_requirements_are_those_of_the_metadata(described):
    described(
        ['a>=1', 'b<2; extra == "detection"', 'b<2; extra == "segmentation"', 'b<2; extra == "all"',
         'c; extra == "tests"', 'd; python_version < "3"']
    )  # fmt: skip
    found = {str(requirement): extras for requirement, extras in read_requirements()}
    assert found == {'a>=1': (), 'b<2': ('detection', 'segmentation')}


def test_the_real_requirements_name_all_hosts():
    names = {requirement.name for requirement, _ in read_requirements()}
    assert {
        'torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmdetection',
        'onedl-mmsegmentation', 'peft', 'pycocotools',
    } <= names  # fmt: skip


@pytest.mark.parametrize(
    ('line', 'found', 'state', 'words'),
    [
        ('peft<0.22,>=0.21', '0.21.2', 'ok', 'peft 0.21.2'),
        ('torch>=2.4', '2.13.0+cu130', 'ok', 'torch 2.13.0'),
        ('torch>=2.4', '2.14.0.dev20260101', 'ok', 'torch 2.14'),
        ('peft<0.22,>=0.21', '0.22.0', 'problem', '0.22.0 is not supported'),
        ('peft<0.22,>=0.21', None, 'problem', 'is not installed'),
        ('onedl-mmcv<2.4,>=2.3.6', '2.2.0', 'problem', '2.2.0 is not supported'),
        ('pycocotools>=2.0.8; extra == "detection"', None, 'warning', 'installed (for detection)'),
        ('pycocotools>=2.0.8; extra == "detection"', '2.0.1', 'problem', 'is (for detection)'),
    ],
)
def test_versions(line, found, state, words, described, installed, tmp_path):
    described([line])
    requirement = line.partition(';')[0]
    name = requirement.partition('<')[0].partition('>')[0]
    installed(**{name.replace('-', '_'): found})
    states, texts, fixes = look(Packages, tmp_path)
    assert states == [state] and words in texts
    if state == 'ok':
        assert not fixes
    else:
        command = shlex.split(fixes)
        assert command[:4] == [sys.executable, '-m', 'pip', 'install']
        assert command[-1] == requirement
        assert ('--no-build-isolation' in command) == (name == 'onedl-mmcv')


# Originals


def test_no_original_is_there(tmp_path):
    assert look(Originals, tmp_path)[0] == ['ok']


def test_an_original_beside_its_fork(tmp_path, monkeypatch):
    monkeypatch.setattr(originals, 'is_here', lambda name: name == 'mmdet')
    states, texts, fixes = look(Originals, tmp_path)
    assert states == ['problem'] and 'mmdet overwrites the files of onedl-mmdetection' in texts
    assert 'uninstall -y mmdet && ' in fixes and fixes.endswith('--no-deps onedl-mmdetection')


@pytest.mark.parametrize(('inside', 'here'), [(True, True), (False, False)])
def test_an_original_beneath_the_environment_is_hidden(inside, here, tmp_path, monkeypatch):
    prefix = tmp_path / 'venv'
    place = (prefix if inside else tmp_path) / 'lib'
    monkeypatch.setattr(sys, 'prefix', str(prefix))
    fake = SimpleNamespace(locate_file=lambda name: place)
    monkeypatch.setattr(metadata, 'distribution', lambda name: fake)
    assert originals.is_here('mmcv') == here


# Torch and torchvision


@pytest.mark.parametrize(
    ('pair', 'state', 'words', 'fix'),
    [
        (('2.13.0+cpu', '0.28.0'), 'ok', 'belong together', ''),
        (('2.4.1', '0.19.1'), 'ok', 'belong together', ''),
        (('2.5.0', '0.28.0'), 'problem', '0.20 does', "--no-deps 'torchvision==0.20.*'"),
        (('2.5.0', None), 'problem', 'is not installed beside', "'torchvision==0.20.*'"),
        ((None, '0.20.0'), 'problem', 'torch is not installed', 'install torch torchvision'),
        (('3.0.0', '1.0.0'), 'warning', 'is not known', ''),
    ],
)
def test_torch_pair(pair, state, words, fix, installed, tmp_path):
    installed(torch=pair[0], torchvision=pair[1])
    states, texts, fixes = look(TorchPair, tmp_path)
    assert states == [state] and words in texts and fix in fixes


def test_torch_that_cannot_be_imported(installed, tmp_path, monkeypatch):
    def fail(name):
        raise ImportError('libtorch_cpu.so: undefined symbol')

    installed(torch='2.13.0+cu130', torchvision='0.28.0')
    monkeypatch.setattr('importlib.import_module', fail)
    states, texts, fixes = look(TorchPair, tmp_path)
    assert states == ['problem'] and 'cannot be imported (ImportError: libtorch_cpu.so' in texts
    assert fixes.endswith('--index-url https://download.pytorch.org/whl/cu130 torch==2.13.0')


@pytest.fixture
def operators(monkeypatch):
    """Makes believe that torchvision's non-maximum suppression does this."""

    def pretend(outcome):
        def nms(boxes, scores, threshold):
            if isinstance(outcome, Exception):
                raise outcome
            return torch.tensor(outcome)

        monkeypatch.setitem(sys.modules, 'torchvision.ops', SimpleNamespace(nms=nms))

    return pretend


@pytest.mark.parametrize(
    ('outcome', 'state', 'words'),
    [
        ([0, 2], 'ok', 'operators of torchvision run'),
        ([0, 1, 2], 'problem', 'kept the boxes [0, 1, 2]'),
        (NotImplementedError('no kernel'), 'warning', 'no swap needs'),
    ],
)
def test_torchvision_operators(outcome, state, words, operators, installed, tmp_path):
    operators(outcome)
    installed(torch='2.13.0+cpu', torchvision='0.28.0+cu130')
    states, texts, fixes = look(TorchvisionOperators, tmp_path)
    assert states == [state] and words in texts
    if state != 'ok':
        assert fixes.endswith('/whl/cpu torchvision==0.28.0')


@pytest.mark.parametrize(
    ('error', 'shim'),
    [
        (RuntimeError('operator torchvision::nms does not exist'), True),
        (ImportError('libc10.so: no such file'), False),
    ],
)
def test_torchvision_that_cannot_be_imported(error, shim, installed, tmp_path, monkeypatch):
    def fail(name):
        if name == 'torchvision.ops':
            raise error
        return torch

    installed(torch='2.13.0', torchvision='0.28.0')
    monkeypatch.setattr('importlib.import_module', fail)
    states, texts, fixes = look(TorchvisionOperators, tmp_path)
    assert states == ['problem'] and str(error) in texts
    assert ('tools/setup/install_shim.py' in fixes) == shim
    assert 'torchvision==0.28.0' in fixes and '--index-url' not in fixes


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
        monkeypatch.setattr(device, 'read_driver', lambda: driver)

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

    monkeypatch.setattr(device, 'multiply', multiply)
    states, texts, _ = look(Device, tmp_path)
    assert states == [state] and words in texts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_real_gpu(tmp_path):
    states, texts, _ = look(Device, tmp_path)
    assert set(states) == {'ok'} and 'driver' in texts


def test_multiplication():
    assert device.multiply('cpu') == 512


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
    assert device.read_driver() == found


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
