"""``knowswap audit``."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_config_options
from knowswap_mm.errors import ConfigError

TEXT = """
A checkpoint is a merged export, or a state of the swap (several may be given: they share what is
measured of the other models). A state holds adapters that anyone can drop, so audit what you hand
on. References were trained without the forget set: two or more, to the end. The page to read is
`audit/<name>/audit.md` beside the checkpoint; `audit.json` there has all numbers.
"""

REFERENCE = '--reference'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('config', help='config of the swap')
    add('checkpoints', nargs='+', metavar='CHECKPOINT', help='.pth or .safetensors')
    add(REFERENCE, nargs='+', default=[], help='models trained without the forget set')
    add('--original', help='the model before the swap, if the config does not say')
    add('--merged', action='store_true', help='audit the checkpoint as its export would be')
    add('--out', type=Path, help='folder instead of `audit` beside the checkpoint')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Audit, print the page and say where it is."""
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    from knowswap_mm.audit.auditor import build_auditor
    from knowswap_mm.console import import_quietly
    from knowswap_mm.engine.config import check_place, open_swap
    from knowswap_mm.io.checkpoints import check_file
    from knowswap_mm.runs.files import AUDIT_FOLDER

    if args.out:
        check_place('--out', args.out, folder=True)
    given = dict.fromkeys(args.checkpoints, 'CHECKPOINT') | dict.fromkeys(args.reference, REFERENCE)
    for path, key in (given | ({args.original: '--original'} if args.original else {})).items():
        check_file(path, key)
    if same := set(args.checkpoints) & set(args.reference):
        fix = 'give models that were trained without the forget set, and never saw it'
        raise ConfigError(REFERENCE, sorted(same)[0], 'is the model that is audited', fix)
    audited: dict[Path, Path] = {}  # by the folder of the page
    for checkpoint in map(Path, args.checkpoints):
        folder = (args.out or checkpoint.parent / AUDIT_FOLDER) / checkpoint.stem
        if other := audited.get(folder):
            fix = f'rename one of them, or audit them in two runs: {other} would lose its page'
            raise ConfigError(
                'CHECKPOINT', str(checkpoint), f'is to be written to {folder}, too', fix
            )
        audited[folder] = checkpoint
    cfg = open_swap(args.config, args.cfg_options)
    import_quietly(cfg.get('default_scope'))
    MMLogger.get_instance('audit', log_level='ERROR')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    auditor = build_auditor(cfg.get('audit'))
    auditor.progress.say = partial(print, flush=True)
    for folder, checkpoint in audited.items():
        started = time.time()
        report = auditor.audit_files(cfg, checkpoint, args.reference, args.original, args.merged)
        report.about['seconds'] = round(time.time() - started)
        page = report.write(folder)
        print(report.page())
        print(f'The page is {page}.')


COMMAND = Command(
    help='Audit a swap: is what was to be forgotten really gone?',
    examples=(
        'knowswap audit my_swap.py exported/model.pth --reference retrained1.pth retrained2.pth',
    ),
    add_arguments=add_arguments,
    run=run,
    order=50,
    text=TEXT,
)
main = COMMAND.main
