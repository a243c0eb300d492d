"""Put the torchvision start-up shim into the running environment, or take it out.

Usage::

    .venv/bin/python tools/setup/install_shim.py [--target SITE_PACKAGES] [--uninstall]
"""

import argparse
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / 'knowswap_mm' / 'torchvision_schema_shim.py'
PTH_NAME = 'torchvision_schema_shim.pth'
PTH_LINE = 'import torchvision_schema_shim; torchvision_schema_shim.install()\n'


def shim_files(target: Path) -> dict[Path, str]:
    """Return the files of the shim in ``target`` with their contents, the module first.

    The order matters: a ``.pth`` file without its module would print an error at every start of
    Python.
    """
    return {
        target / SOURCE.name: SOURCE.read_text(encoding='utf-8'),
        target / PTH_NAME: PTH_LINE,
    }


def install(target: Path) -> bool:
    """Write the shim into ``target`` and return whether anything had to be written."""
    outdated = {
        path: text
        for path, text in shim_files(target).items()
        if not path.exists() or path.read_text(encoding='utf-8') != text
    }
    for path, text in outdated.items():
        temporary = path.with_name(f'{path.name}.tmp')
        temporary.write_text(text, encoding='utf-8')
        temporary.replace(path)
    return bool(outdated)


def uninstall(target: Path) -> None:
    """Remove the shim from ``target``, the ``.pth`` file first."""
    for path in reversed(shim_files(target)):
        path.unlink(missing_ok=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Install the torchvision start-up shim.')
    parser.add_argument('--target', type=Path, help="default: this environment's site-packages")
    parser.add_argument('--uninstall', action='store_true')
    args = parser.parse_args()
    if args.target is None:
        if sys.prefix == sys.base_prefix:
            parser.error('this Python is no virtual environment: run it with .venv/bin/python')
        args.target = Path(sysconfig.get_path('purelib'))
    if not args.target.is_dir():
        parser.error(f'--target {args.target} is not a folder')
    return args


def main() -> None:
    args = parse_args()
    if args.uninstall:
        uninstall(args.target)
    elif install(args.target):
        print('installed the torchvision start-up shim')


if __name__ == '__main__':
    main()
