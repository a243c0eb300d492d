"""Questions that install.sh asks about the environment of the Python that runs this file.

Usage::

    .venv/bin/python tools/setup/environment.py COMMAND

It needs the standard library only, because it runs before anything is installed.
"""

import argparse
import hashlib
import importlib
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST_TORCH = (2, 5)
NEWEST_TORCH = (2, 13)  # as in requirements/runtime.txt
LIGHT = ('torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'peft')
FULL = (*LIGHT, 'mmdet', 'mmseg', 'pytest')
# Distributions that own the same import names as the forks and overwrite their files.
ORIGINALS = ('mmengine', 'mmcv', 'mmcv-lite', 'mmcv-full', 'mmdet', 'mmsegmentation', 'mmpretrain')


def version(distribution: str) -> str | None:
    """Return the installed version of a distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def compiled() -> bool:
    """Tell whether mmcv was installed with its operators."""
    if version('onedl-mmcv') is None:
        return False
    files = metadata.distribution('onedl-mmcv').files or ()
    return any(path.name.startswith('_ext') for path in files)


def fingerprint() -> None:
    """Print a hash of all that the set-up depends on."""
    package = [f'knowswap_mm/{name}.py' for name in ('version', 'torchvision_schema_shim')]
    files = [ROOT / name for name in ('setup.py', 'pyproject.toml', *package)]
    for folder in ('requirements', 'tools/setup'):
        files += sorted((ROOT / folder).glob('*'))
    digest = hashlib.sha256(f'{ROOT} {sys.version}'.encode())
    for path in files:
        if path.is_file():
            digest.update(path.read_bytes())
    for name in ('torch', 'torchvision', 'onedl-mmcv', 'knowswap_mm'):
        digest.update(f'{name}={version(name)}'.encode())
    digest.update(f'operators={compiled()}'.encode())
    print(digest.hexdigest())


def constraints() -> None:
    """Print constraints for pip that keep the installed torch and torchvision."""
    print((ROOT / 'requirements/constraints.txt').read_text(encoding='utf-8'))
    for name in ('torch', 'torchvision'):
        if version(name):
            print(f'{name}=={version(name)}')


def beside_torch() -> None:
    """Print what pip has to install beside the installed torch: nothing, or its torchvision.

    torch 2.N belongs to torchvision 0.(N + 15).
    """
    installed = version('torch')
    if installed is None:
        raise SystemExit(1)
    major, minor = (int(number) for number in re.findall(r'\d+', installed)[:2])
    if (major, minor) < OLDEST_TORCH:
        sys.exit(f'torch {installed} is too old: upgrade it to 2.5 or later, or remove .venv')
    if (major, minor) > NEWEST_TORCH:
        newest = '.'.join(map(str, NEWEST_TORCH))
        sys.exit(f'torch {installed} was not tested: install {newest}, or remove .venv')
    if version('torchvision') is None:
        print(f'torchvision==0.{minor + 15}.*')


def mmcv() -> None:
    """Fail if mmcv is not there in the version that is tested, with operators or without."""
    lines = (ROOT / 'requirements/constraints.txt').read_text(encoding='utf-8').splitlines()
    raise SystemExit(f'onedl-mmcv=={version("onedl-mmcv")}' not in lines)


def ops() -> None:
    """Run a compiled operator of mmcv on a tiny input."""
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9], [8.0, 8.0, 9.0, 9.0]])
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), iou_threshold=0.5)
    if kept.tolist() != [0, 2]:
        sys.exit(f'mmcv.ops.nms kept the boxes {kept.tolist()} instead of [0, 2]')


def check_full() -> None:
    """Import everything that the package builds on, run an operator, and print the versions."""
    ops()
    check(FULL)


def check_light() -> None:
    """Import what a classifier needs, training included, and print the versions."""
    check(LIGHT)
    importlib.import_module('knowswap_mm.engine')
    if not compiled():
        print('[setup] ready for classifiers; detection, segmentation and tests: make setup')


def check(modules: tuple[str, ...]) -> None:
    for name in ORIGINALS:
        try:
            place = metadata.distribution(name).locate_file('')
        except metadata.PackageNotFoundError:
            continue
        if Path(sys.prefix).resolve() in Path(place).resolve().parents:
            sys.exit(f'{name} stands in the way of its fork onedl-*: remove .venv and set up again')
    found = [f'torch {version("torch")}']
    for name in modules:
        module = importlib.import_module(name)
        found.append(f'{name} {module.__version__}')
    if version('knowswap_mm') is None:
        sys.exit('knowswap_mm is not installed')
    print(', '.join([*found, f'knowswap_mm {version("knowswap_mm")}']))


def main() -> None:
    functions = (fingerprint, constraints, beside_torch, mmcv, ops, check_full, check_light)
    commands = {function.__name__: function for function in functions}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('command', choices=commands)
    commands[parser.parse_args().command]()


if __name__ == '__main__':
    main()
