"""Checks of what is installed, in each of their cases."""

import email.message
import platform
import shlex
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from knowswap_mm.doctor.checks import packages
from knowswap_mm.doctor.checks.libraries import TorchPair, TorchvisionOperators
from knowswap_mm.doctor.checks.packages import Originals, Packages, PythonVersion
from knowswap_mm.installation import read_requirements
from knowswap_mm.version import __version__
from tests.helpers.looks import look


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
    monkeypatch.setattr(packages, 'is_here', lambda name: name == 'mmdet')
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
    assert packages.is_here('mmcv') == here


# Torch and torchvision


def test_no_torch_and_no_package(installed, tmp_path, monkeypatch):
    installed(torch=None)
    monkeypatch.setattr(metadata, 'metadata', not_found)
    assert look(TorchPair, tmp_path)[2].endswith('install torch torchvision')


@pytest.mark.parametrize(
    ('pair', 'state', 'words', 'fix'),
    [
        (('2.13.0+cpu', '0.28.0'), 'ok', 'belong together', ''),
        (('2.4.1', '0.19.1'), 'ok', 'belong together', ''),
        (('2.5.0', '0.28.0'), 'problem', '0.20 does', "--no-deps 'torchvision==0.20.*'"),
        (('2.5.0', None), 'problem', 'is not installed beside', "'torchvision==0.20.*'"),
        ((None, '0.20.0'), 'problem', 'torch is not installed', "'torch<2.14,>=2.5' torchv"),
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


def test_torchvision_that_cannot_be_imported(installed, tmp_path, monkeypatch):
    error = ImportError('libc10.so: no such file')

    def fail(name):
        if name == 'torchvision.ops':
            raise error
        return torch

    installed(torch='2.13.0', torchvision='0.28.0')
    monkeypatch.setattr('importlib.import_module', fail)
    states, texts, fixes = look(TorchvisionOperators, tmp_path)
    assert states == ['problem'] and str(error) in texts
    assert 'torchvision==0.28.0' in fixes and '--index-url' not in fixes
