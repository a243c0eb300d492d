r"""Audits a swap: is what was to be forgotten really gone?

    python tools/audit.py CONFIG work_dirs/RUN/phase2_forget.pth --reference retrained.pth

A checkpoint is a state of the swap, or its merged export (several may be given: they share what is
measured of the other models); a reference was trained without the forget set. The page to read is
`audit/<name>/audit.md` beside the checkpoint, `audit.json` there has all numbers.
"""

import argparse
import sys
import time
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.engine.option_action import OptionAction
from knowswap_mm.engine.tool_config import check_place, open_config
from knowswap_mm.errors import SwapError
from knowswap_mm.registry import EVALUATORS


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the swap')
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT', help='.pth or .safetensors')
    parser.add_argument(
        '--reference', nargs='+', default=[], help='models trained without the forget set'
    )
    parser.add_argument('--original', help='the model before the swap, if the config does not say')
    parser.add_argument(
        '--merged', action='store_true', help='audit the checkpoint as its export would be'
    )
    parser.add_argument('--out', type=Path, help='folder instead of `audit` beside the checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='overrides')
    return parser.parse_args()


def main() -> None:
    """Audits, prints the page and says where it is."""
    args = parse_args()
    try:
        if args.out:
            check_place('--out', args.out, folder=True)
        cfg = open_config(args.config, args.cfg_options)
        MMLogger.get_instance('audit', log_level='ERROR')
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        auditor = EVALUATORS.build(dict(dict(type='knowswap_mm.Auditor'), **cfg.get('audit', {})))
        for checkpoint in map(Path, args.checkpoints):
            started = time.time()
            report = auditor.audit_files(
                cfg, checkpoint, args.reference, args.original, args.merged
            )
            report.about['seconds'] = round(time.time() - started)
            page = report.write((args.out or checkpoint.parent / 'audit') / checkpoint.stem)
            print(report.page())
            print(f'The page is {page}.')
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
