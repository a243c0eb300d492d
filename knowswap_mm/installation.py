"""What is installed: our configs and weights, what is beside them, and the commands that fix it.

What the package requires is read from its metadata: setup.py writes requirements/*.txt into them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import knowswap_mm
from knowswap_mm.errors import ConfigError, FileError, SwapError

#: What begins a ``_base_`` of ours in a config of anybody's.
PREFIX = 'knowswap_mm::'


def checkout() -> Path | None:
    """The repository that the package lies in; None if it was installed from a wheel."""
    root = Path(knowswap_mm.__file__).resolve().parents[1]
    return root if (root / 'tools' / 'setup').is_dir() else None


def shipped(name: str) -> Path:
    """A file or folder of ``configs``, ``tools`` or ``weights``.

    setup.py puts them into ``.mim`` of an installed package, as packages of OpenMMLab have it.

    Args:
        name (str): The path as in the repository, e.g. ``configs/_base_/swap_auto.py``.

    Raises:
        FileError: If there is none.
    """
    inside = Path(knowswap_mm.__file__).resolve().parent / '.mim'
    path = (inside if inside.is_dir() else checkout() or inside) / name
    if not path.exists():
        fix = 'install the package again: pip install --force-reinstall --no-deps knowswap_mm'
        raise FileError(path, 'should be here and is not', fix)
    return path


def base_config(name: str) -> str:
    """The path of a config by its name ``knowswap_mm::_base_/swap_auto.py``.

    Raises:
        ConfigError: If there is no such config.
    """
    folder = shipped('configs')
    path = folder / name.removeprefix(PREFIX)
    if not path.is_file():
        near = sorted(p.relative_to(folder).as_posix() for p in folder.glob('_base_/*.py'))
        fix = f'choose from {[PREFIX + each for each in near]}, or name another file of configs/'
        raise ConfigError('_base_', name, 'there is no such config', fix)
    return str(path)


#: Are compiled against the installed torch, which a build in isolation would not see.
_COMPILED = ('onedl-mmcv',)


def pip_command(*words: str) -> str:
    """A command of the pip that belongs to this Python."""
    return shlex.join([sys.executable, '-m', 'pip', *words])


def pip_install(*requirements: str, options: tuple[str, ...] = ()) -> str:
    """The command that installs requirements (``peft<0.22,>=0.21``) beside this Python."""
    if any(requirement.startswith(_COMPILED) for requirement in requirements):
        options = ('--no-build-isolation', *options)
    return pip_command('install', *options, *requirements)


def reinstall(name: str) -> str:
    """The command that installs torch or torchvision anew: its version, for the build of torch."""
    version = (installed_version(name) or '').partition('+')[0]
    build = (installed_version('torch') or '').partition('+')[2]
    options = ('--force-reinstall', '--no-deps')
    if build:  # a torch of the publisher's own index, which has its torchvision
        options += ('--index-url', f'https://download.pytorch.org/whl/{build}')
    return pip_install(f'{name}=={version}', options=options)


#: Extras for working on the package, and the one that repeats all others.
_NOT_FOR_USERS = ('all', 'tests')


def installed_version(name: str) -> str | None:
    """Version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_requirements() -> list[tuple[Requirement, tuple[str, ...]]]:
    """Each requirement, with the extras that it is for; no extras: everybody needs it.

    Raises:
        importlib.metadata.PackageNotFoundError: If ``knowswap_mm`` is not installed.
    """
    about = metadata.metadata('knowswap_mm')
    extras = [name for name in about.get_all('Provides-Extra', []) if name not in _NOT_FOR_USERS]
    found: dict[str, tuple[Requirement, tuple[str, ...]]] = {}
    for line in metadata.requires('knowswap_mm') or []:
        requirement = Requirement(line)
        marker, requirement.marker = requirement.marker, None
        always = marker is None or marker.evaluate(dict(extra=''))
        chosen = [] if always else [name for name in extras if marker.evaluate(dict(extra=name))]
        if always or chosen:
            before = found.get(str(requirement), (requirement, ()))[1]
            found[str(requirement)] = (requirement, (*before, *chosen))
    return list(found.values())


def leave_out_multimodal() -> None:
    """Keep mmpretrain from importing its multimodal models beside transformers 5.

    mmpretrain 1.3 cannot, and could not be imported at all. It asks this switch when its models are
    imported for the first time; no host of ours is one of those models.
    """
    major = (installed_version('transformers') or '0').partition('.')[0]
    known = 'mmpretrain.models' in sys.modules or importlib.util.find_spec('mmpretrain') is None
    if int(major) >= 5 and not known:
        importlib.import_module('mmpretrain.utils.dependency').WITH_MULTIMODAL = False


#: Originals, by the fork whose files each would overwrite.
ORIGINALS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmcv-lite': 'onedl-mmcv',
    'mmcv-full': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
    'mmsegmentation': 'onedl-mmsegmentation',
}


def is_here(name: str) -> bool:
    """Tell whether a distribution is installed in this very environment.

    Those of a system beneath a virtual environment are hidden by the forks in it.
    """
    try:
        place = metadata.distribution(name).locate_file('')
    except metadata.PackageNotFoundError:
        return False
    return Path(sys.prefix).resolve() in Path(place).resolve().parents


def replace_originals(names: list[str]) -> str:
    """The command that takes originals away and puts the files of their forks back."""
    remove = pip_command('uninstall', '-y', *names)
    forks = dict.fromkeys(ORIGINALS[name] for name in names)
    return f'{remove} && {pip_install(*forks, options=("--force-reinstall", "--no-deps"))}'


def check_originals() -> None:
    """Look for packages of OpenMMLab that have the import names of the forks.

    Raises:
        SwapError: If there is one.
    """
    if found := [name for name in ORIGINALS if is_here(name)]:
        forks = ', '.join(dict.fromkeys(ORIGINALS[name] for name in found))
        raise SwapError(
            f'{", ".join(found)} of OpenMMLab overwrites the files of {forks}, on which '
            f'knowswap_mm builds. Fix: {replace_originals(found)}'
        )


#: What each default scope needs: its task, and the modules beside the operators of mmcv.
_SCOPES = {
    'mmdet': ('detection', ('mmdet', 'pycocotools')),
    'mmseg': ('segmentation', ('mmseg', 'mmdet')),
}
OPERATORS = 'the compiled operators of mmcv'
#: How long it takes to compile them.
DURATION = 'compiles, 5 to 20 minutes'


def has_operators() -> bool:
    """Whether mmcv was installed with its compiled operators; a classifier needs none."""
    spec = importlib.util.find_spec('mmcv')
    folders = (spec and spec.submodule_search_locations) or ()
    return any(True for folder in folders for _ in Path(folder).glob('_ext*'))


def compile_operators() -> str:
    """The command that installs mmcv with its operators, whatever pip has kept."""
    options = ('--force-reinstall', '--no-deps', '--no-cache-dir', '--no-binary', 'onedl-mmcv')
    return pip_install('onedl-mmcv', options=options)


def complete(task: str | None = None) -> str:
    """The command that gives a light installation the operators, and what a task needs."""
    root = checkout()
    if root is not None and (root / '.venv').resolve() == Path(sys.prefix).resolve():
        return f'make setup, in {root} ({DURATION})'
    needed = [str(r) for r, extras in read_requirements() if task in extras]
    others = f' && {pip_install(*needed)}' if needed else ''
    return f'{compile_operators()}{others} ({DURATION})'


def check_scope(scope: Any) -> None:
    """Find out that a config cannot run in a light installation, before anything is built.

    Args:
        scope: The ``default_scope`` of the config.

    Raises:
        ConfigError: If mmcv has no operators, or the library of the task is not there.
    """
    if scope not in _SCOPES:
        return
    task, modules = _SCOPES[scope]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    missing += [] if has_operators() else [OPERATORS]
    if missing:
        problem = f'{task} needs {" and ".join(missing)}, which this installation does not have'
        raise ConfigError('default_scope', scope, problem, complete(task))


#: Imported at once, these are worth being left out of collections.
_MANY = 100


@contextlib.contextmanager
def quick_imports(*needless: str) -> Iterator[None]:
    """Import many modules in three quarters of the time.

    Modules are no garbage, so Python's collector, which would look at all of them again and again,
    waits. Later collections leave out what was imported here: mmengine collects each time that it
    opens a data set, and a quarter of a short run went there.

    Args:
        needless (str): Packages that what is imported uses where they are installed, and that
            nothing of ours needs. They seem to be absent meanwhile, unless they are loaded already.
    """
    hidden = [name for name in needless if name not in sys.modules]
    collects, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
        if len(sys.modules) - before > _MANY:
            gc.freeze()
        if collects:
            gc.enable()
