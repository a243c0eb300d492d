"""The start-up shim for torchvision, tried in real interpreters.

Most tests start the Python of a tiny virtual environment that holds the shim, a fake torch and a
fake torchvision: so both sides are tested whatever pair is installed here. The last ones use the
real pair.
"""

import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

SETUP_DIR = Path(__file__).resolve().parents[2] / 'tools' / 'setup'

FAKE_TORCH = """
import json, os, types
case = json.loads(os.environ['SHIM_TEST_CASE'])
version = types.SimpleNamespace(cuda=case.get('cuda'), hip=case.get('hip'))
declared = []
def load_library(path):
    if not case.get('loads'):
        raise OSError(f'cannot load {path}')
operators = types.SimpleNamespace(**dict.fromkeys(case.get('known', [])))
ops = types.SimpleNamespace(torchvision=operators, load_library=load_library)
library = types.SimpleNamespace(define=lambda name, schema: declared.append(name))
"""
# As the real one: the operators have to be declared when its own code runs.
FAKE_TORCHVISION = """
import torch
declared_before = list(torch.declared)
"""
BOTH = ['torchvision::nms', 'torchvision::qnms']


def run_python(python, code, **env):
    """Run code in a fresh interpreter and return the JSON that it prints last."""
    result = subprocess.run(
        [python, '-c', textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1', **env},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert 'Error processing line' not in result.stderr, result.stderr  # of a .pth file
    return json.loads(result.stdout.strip().splitlines()[-1])


def run_fake(env_python, code, case=None):
    """Run code beside the fakes, which behave as the case says."""
    return run_python(env_python, code, PYTHONPATH='', SHIM_TEST_CASE=json.dumps(case or {}))


def run_install_shim(*args):
    command = [sys.executable, SETUP_DIR / 'install_shim.py', *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope='module')
def fake_env(tmp_path_factory):
    """The Python of an environment with the shim and the two fakes."""
    root = tmp_path_factory.mktemp('env')
    venv.EnvBuilder(symlinks=True, with_pip=False).create(root)
    site = next(root.glob('lib/python*/site-packages'))
    (site / 'torch.py').write_text(FAKE_TORCH)
    (site / 'torchvision').mkdir()
    (site / 'torchvision' / '__init__.py').write_text(FAKE_TORCHVISION)
    (site / 'torchvision' / '_C.so').touch()
    result = run_install_shim('--target', site)
    assert result.returncode == 0, result.stderr
    return root / 'bin' / 'python'


def test_start_imports_no_torch(fake_env):
    code = """
        import json, sys
        finders = [type(finder).__name__ for finder in sys.meta_path]
        print(json.dumps([finders[0], sorted({'torch', 'torchvision'} & set(sys.modules))]))
    """
    assert run_fake(fake_env, code) == ['TorchvisionFinder', []]


def test_looking_for_torchvision_imports_no_torch(fake_env):
    code = """
        import importlib.util, json, sys
        spec = importlib.util.find_spec('torchvision')
        print(json.dumps([spec.name, 'torch' in sys.modules]))
    """
    assert run_fake(fake_env, code) == ['torchvision', False]


@pytest.mark.parametrize(
    ('case', 'declared'),
    [
        pytest.param({}, BOTH, id='cpu torch, library does not load'),
        pytest.param({'known': ['nms']}, BOTH[1:], id='one operator is known already'),
        pytest.param({'loads': True}, [], id='matching pair'),
        pytest.param({'cuda': '13.0'}, [], id='CUDA'),
        pytest.param({'hip': '6.4'}, [], id='HIP'),
    ],
)
def test_declares_only_what_is_missing(fake_env, case, declared):
    code = """
        import json, sys, torchvision
        left = [finder for finder in sys.meta_path if type(finder).__name__ == 'TorchvisionFinder']
        print(json.dumps([torchvision.declared_before, len(left)]))
    """
    assert run_fake(fake_env, code, case) == [declared, 0]


def test_find_spec_before_import_still_declares(fake_env):
    code = """
        import importlib.util, json
        importlib.util.find_spec('torchvision')
        import torchvision
        print(json.dumps(torchvision.declared_before))
    """
    assert run_fake(fake_env, code) == BOTH


def test_install_is_idempotent_and_can_be_undone(tmp_path):
    assert 'installed' in run_install_shim('--target', tmp_path).stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['torchvision_schema_shim.pth', 'torchvision_schema_shim.py']

    assert run_install_shim('--target', tmp_path).stdout == ''

    run_install_shim('--target', tmp_path, '--uninstall')
    assert list(tmp_path.iterdir()) == []


def test_install_refuses_a_target_that_is_no_folder(tmp_path):
    result = run_install_shim('--target', tmp_path / 'absent')
    assert result.returncode != 0
    assert '--target' in result.stderr


def test_real_torchvision_can_be_imported(tmp_path):
    pytest.importorskip('torch')
    run_install_shim('--target', tmp_path)
    code = f"""
        import json, site
        site.addsitedir({str(tmp_path)!r})
        import torchvision, torch
        print(json.dumps(hasattr(torch.ops.torchvision, 'nms')))
    """
    assert run_python(sys.executable, code) is True


def test_real_torchvision_without_the_shim():
    """The shim is needed here, or it changes nothing here: each pair shows one of the two."""
    pytest.importorskip('torch')
    code = """
        import json, sys
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'TorchvisionFinder']
        try:
            import torchvision
        except RuntimeError as error:
            print(json.dumps(str(error)))
        else:
            print(json.dumps(torchvision.extension._has_ops()))
    """
    outcome = run_python(sys.executable, code)
    assert outcome is True or 'operator torchvision::nms does not exist' in outcome


def test_real_torch_with_a_library_that_loads_declares_nothing(tmp_path):
    torch = pytest.importorskip('torch')
    if torch.version.cuda or torch.version.hip:
        pytest.skip('nothing is ever declared beside CUDA or HIP')
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / '_C.so').symlink_to(torch._C.__file__)
    run_install_shim('--target', tmp_path)
    code = f"""
        import json, site, sys
        sys.path.insert(0, {str(tmp_path)!r})
        site.addsitedir({str(tmp_path)!r})
        import torchvision, torch
        print(json.dumps([torchvision.__file__, hasattr(torch.ops.torchvision, 'nms')]))
    """
    outcome = run_python(sys.executable, code)
    assert outcome == [str(package / '__init__.py'), False]
