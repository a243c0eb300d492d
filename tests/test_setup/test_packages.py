"""Wheel and sdist: what is in them, and that a swap runs from an installed wheel in any folder."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
LEFT_OUT = ('.git', '.venv', 'data', 'work_dirs', 'build', 'dist', '*.egg-info', '__pycache__')
MIM = 'knowswap_mm/.mim'
BUILD = 'from setuptools import build_meta as b; import sys; getattr(b, sys.argv[1])(sys.argv[2])'


def build(kind, source, out):
    """Build in a folder and return the file; needs no network."""
    out.mkdir(exist_ok=True)
    command = [sys.executable, '-c', BUILD, f'build_{kind}', str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope='module')
def sdist(tmp_path_factory):
    """Built from a copy, because a build leaves files behind."""
    root = tmp_path_factory.mktemp('sdist')
    shutil.copytree(REPOSITORY, root / 'source', ignore=shutil.ignore_patterns(*LEFT_OUT))
    return build('sdist', root / 'source', root / 'dist')


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, so that it lacks nothing that the sdist lacks."""
    root = tmp_path_factory.mktemp('wheel')
    with tarfile.open(sdist) as archive:
        archive.extractall(root, filter='data')
    (source,) = root.iterdir()
    return build('wheel', source, root / 'dist')


def configs():
    return {p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / 'configs').rglob('*.py')}


def test_what_an_sdist_holds(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert configs() | {'model-index.yml', 'Makefile', 'tools/setup/install.sh'} <= names
    assert 'requirements/runtime.txt' in names and 'docs/get_started.md' in names
    assert not [name for name in names if name.startswith(('data/', 'work_dirs/', '.venv'))]


def test_what_a_wheel_holds(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {name.removeprefix(f'{MIM}/') for name in names if name.startswith(MIM)}
    tools = {f'tools/{name}' for name in ('dist_train.sh', 'dataset_converters/shapes.py')}
    assert configs() | tools | {'model-index.yml'} <= shipped
    assert not [name for name in shipped if name.startswith('tools/setup')]  # of a clone
    assert {f'weights/{name}.safetensors' for name in (
        'vit-demo_7cls', 'vit-demo-shapes_7cls', 'dino-mini_12cls', 'mask2former-mini_16cls'
    )} <= shipped  # fmt: skip
    assert 'knowswap_mm/cli/main.py' in names
    pages = (REPOSITORY / 'knowswap_mm' / 'visualization' / 'report').glob('*.[hc][ts]*')
    assert {page.relative_to(REPOSITORY).as_posix() for page in pages} <= names
    assert {name.partition('/')[0] for name in names} == {
        'knowswap_mm', next(n for n in names if '.dist-info/' in n).partition('/')[0]
    }  # fmt: skip
    (script,) = (name for name in names if name.endswith('/entry_points.txt'))
    assert 'knowswap = knowswap_mm.cli.main:main' in zipfile.ZipFile(wheel).read(script).decode()
    assert wheel.stat().st_size < 30e6


#: Modules that a classifier does without, and cv2, of which mmcv brings one of two distributions.
NOT_REQUIRED = {'mmdet', 'mmseg', 'pycocotools', 'faster_coco_eval', 'argcomplete', 'cv2'}


def test_what_is_imported_is_required():
    """A library that another one happens to bring may be gone with its next release."""
    lines = (REPOSITORY / 'requirements' / 'runtime.txt').read_text().splitlines()
    required = {canonicalize_name(re.split('[<>= ]', line)[0]) for line in lines if line[0] != '#'}
    providers, missing, seen = packages_distributions(), {}, set()
    for path in (REPOSITORY / 'knowswap_mm').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in {each.partition('.')[0] for each in names} - sys.stdlib_module_names:
                seen.add(name)
                owners = {canonicalize_name(owner) for owner in providers.get(name, [])}
                if name not in {'knowswap_mm', *NOT_REQUIRED} and not owners & required:
                    missing[name] = path.name
    assert missing == {}
    assert seen >= NOT_REQUIRED | {'torch', 'scipy', 'sklearn'}


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The Python of an environment with the wheel, and an mmcv without operators.

    All else comes from the environment of the tests, whose mmcv is hidden.
    """
    root = tmp_path_factory.mktemp('installed')
    venv.EnvBuilder(symlinks=True, with_pip=False).create(root)
    (site,) = root.glob('lib/python*/site-packages')
    zipfile.ZipFile(wheel).extractall(site)
    shared = Path(sysconfig.get_path('purelib'))
    (site / 'shared.pth').write_text(f'{shared}\n')
    (site / 'mmcv').mkdir()
    for path in (shared / 'mmcv').iterdir():
        if not path.name.startswith(('_ext', '__pycache__')):
            (site / 'mmcv' / path.name).symlink_to(path)
    return root / 'bin' / 'python'


@pytest.fixture
def run(installed, tmp_path):
    """Runs Python of the environment in an empty folder."""
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME')}

    def call(*arguments, code=0):
        done = subprocess.run(
            [installed, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            timeout=280, env=dict(env, OMP_NUM_THREADS='1'),
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return call


PLACE = 'from knowswap_mm.installation import shipped; import sys; print(shipped(sys.argv[1]))'
CONFIG = """
_base_ = ['knowswap_mm::demo/vit-demo_shapes_learn-forget.py']
swap = dict(phase_settings=dict(learn=dict(iters=2), forget=dict(iters=2)))
train_dataloader = dict(batch_size=16, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=50, num_workers=0, persistent_workers=False)
"""
#: Everything that one does with a classifier, in one process.
COMMANDS = """
import sys
from knowswap_mm.cli.main import main
def run(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        assert not end.code, (words, end.code)
run('train', 'my.py', '--work-dir', 'run')
assert 'mmcv._ext' not in sys.modules
run('test', 'my.py', 'run/phase1_learn.pth', '--out', 'test.json')
run('report', 'run')
run('export', 'my.py', 'run/phase2_forget.pth', '--out', 'exported', '--test-data')
run('audit', 'my.py', 'exported/model.pth', '--out', 'audit')
run('compare', '--out', 'compared', '--seeds', '0', '--runs', 'swap=my.py')
"""


@pytest.mark.slow
def test_a_swap_from_any_folder_without_operators(run, tmp_path):
    tool = run('-c', PLACE, 'tools/dataset_converters/shapes.py').stdout.strip()
    weights = run('-c', PLACE, 'weights/vit-demo-shapes_7cls.safetensors').stdout.strip()
    assert '/site-packages/knowswap_mm/.mim/' in tool
    run(tool, '--per-class', '40', '--val-per-class', '8')
    (tmp_path / 'my.py').write_text(f'{CONFIG}load_from = {weights!r}\n')
    done = run('-c', COMMANDS)
    assert 'Traceback' not in done.stderr
    for name in ('run/report.html', 'test.json', 'exported/model.pth', 'audit', 'compared'):
        assert (tmp_path / name).exists(), name


@pytest.mark.slow
@pytest.mark.parametrize('name', ['detection', 'segmentation'])
def test_another_task_names_the_command(name, run, tmp_path):
    config = dict(
        detection='detection/dino-mini_shapes_learn.py',
        segmentation='segmentation/mask2former-mini_shapes_learn.py',
    )[name]
    place = run('-c', PLACE, f'configs/{config}').stdout.strip()
    done = run('-m', 'knowswap_mm', 'train', place, code=1)
    assert 'the compiled operators of mmcv' in done.stderr and name in done.stderr
    assert '--no-build-isolation' in done.stderr and '--no-binary onedl-mmcv' in done.stderr
    assert len(done.stderr.splitlines()) <= 5 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_doctor_says_that_it_is_light(run):
    done = run('-m', 'knowswap_mm', 'doctor')
    (line,) = (line for line in done.stdout.splitlines() if 'light installation' in line)
    assert line.startswith('warning') and 'a swap of two steps works' in done.stdout
