"""Audits a chain of swaps: does what an earlier swap forgot come back in the later ones?

    python tools/continual.py configs/continual/*.py --work-dir work_dirs/continual
    python benchmarks/cycles.py work_dirs/continual --reference retrained.pth

For each swap of the chain the classes that it forgot are audited right after it and at the end of
the chain (`--every`: after each swap in between, too), against the model before it. One table shows
what each attack recovers, and a line a swap says what rose since it. Whether the chain went through
exports or through adapters, each state is audited as its merged export would be, with a row for
every class of the chain. A reference must never have seen the forgotten classes: `--reference FILE`
is one for all swaps, `2=FILE` for the second alone. Finished audits are kept and not repeated.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from pathlib import Path

import torch
from audit_table import attacks_of, ends, mean_steps, rows_of
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from knowswap_mm.audit.auditor import Auditor, build_auditor
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.engine.config import check_place, open_config
from knowswap_mm.engine.recipe import settle
from knowswap_mm.errors import FileError, SwapError
from knowswap_mm.io.checkpoints import safe_save
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.models import RoleModel, merged_host, original_host
from knowswap_mm.models.loading import load_file_into, load_weights
from knowswap_mm.roles import LEARN
from knowswap_mm.runs.files import AUDIT_FILE
from knowswap_mm.visualization.tables import markdown_table
from knowswap_mm.workflows.continual import check_done, checkpoint_of, roles_of

OUT = 'cycles'
START = 'start'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', type=Path, help='--work-dir of tools/continual.py')
    parser.add_argument('--reference', nargs='+', default=[], metavar='[SWAP=]FILE')
    parser.add_argument('--every', action='store_true', help='audit after each swap in between')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='audit.samples=500')
    return parser.parse_args()


def name_of(number: int) -> str:
    """What a state is called: before all swaps, or after one of them, counted from 1."""
    return f'swap{number}' if number else START


def read_chain(folder: Path, options: dict | None) -> list[Config]:
    """The configs of all swaps, each of which must be finished."""
    configs: list[Config] = []
    while (path := folder / f'{name_of(len(configs) + 1)}.py').is_file():
        run = path.with_suffix('')
        check_done(run)
        if not checkpoint_of(run).is_file():
            raise FileError(checkpoint_of(run), 'is not there', 'finish the chain first')
        configs.append(settle(open_config(path, options)))
    if not configs:
        raise FileError(folder, 'holds no chain of swaps', 'run `knowswap continual` first')
    return configs


def build(config: Config) -> RoleModel:
    """The model of a swap; what its file lacks is the same each time."""
    init_default_scope(config.get('default_scope', 'mmengine'))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS.build(copy.deepcopy(config.model))


def with_all_rows(last: Config, host: torch.nn.Module, rows: int) -> dict:
    """The weights of a host of an earlier swap, with the rows of classes that came later."""
    config = copy.deepcopy(last)
    config.model.pop('adapters', None)
    config.model.head.old_classes = rows
    swapper = build(config)
    load_weights(swapper, host.state_dict(), 'an earlier state')
    return original_host(swapper).state_dict()


def write_states(folder: Path, configs: list[Config], roles: list[ClassRoles]) -> list[Path]:
    """Plain hosts of the start and after each swap, as files."""
    paths = [folder / OUT / f'{name_of(number)}.pth' for number in range(len(configs) + 1)]
    for number, config in enumerate(configs, 1):
        wanted = [paths[number], *([paths[0]] if number == 1 else [])]
        if all(path.is_file() for path in wanted):
            continue
        swapper = build(config)
        load_file_into(swapper, checkpoint_of(folder / name_of(number)))
        hosts = [merged_host(swapper), *([original_host(swapper)] if number == 1 else [])]
        for path, host in zip(wanted, hosts, strict=True):
            state = with_all_rows(configs[-1], host, len(roles[number - 1].names))
            safe_save(dict(state_dict=state), path)
    return paths


def audit_config(number: int, configs: list[Config], roles: list[ClassRoles]) -> Config:
    """The config that audits what a swap forgot: its data, the model and all classes of the last.

    What a later swap forgot plays no role, and what this one learned is retained.
    """
    config, own = copy.deepcopy(configs[number - 1]), roles[number - 1]
    config.model = copy.deepcopy(configs[-1].model)
    config.model.pop('adapters', None)
    gone = {name for each in roles for name in each.forget}
    kept = [name for name in own.retain + own.learn if name not in gone]
    classes = dict(old=roles[-1].names, learn=[], forget=own.forget, retain=kept)
    config.swap.classes = classes
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].dataset.roles.pop(LEARN, None)
    return config


def references_of(number: int, texts: list[str]) -> list[str]:
    """Files for the audit of a swap: those without a number and those with its own."""
    found = []
    for text in texts:
        before, equals, path = text.partition('=')
        if not (equals and before.isdigit()):
            found.append(text)
        elif int(before) == number:
            found.append(path)
    return found


def audit(args: argparse.Namespace, configs: list[Config], roles: list[ClassRoles]) -> list[dict]:
    """All audits that are left; gives all of them by swap and state."""
    MMLogger.get_instance('audit', log_level='ERROR')
    paths, found = write_states(args.work_dir, configs, roles), []
    auditor: Auditor | None = None
    for number, own in enumerate(roles, 1):
        if not own.forget:
            continue
        last = len(configs)
        states = range(number, last + 1) if args.every else sorted({number, last})
        for state in states:
            folder = args.work_dir / OUT / f'forgotten_by_{name_of(number)}' / name_of(state)
            if not (folder / AUDIT_FILE).is_file():
                settings = dict(configs[-1].get('audit') or {})
                settings['skip'] = ['DroppedAdapter', *settings.get('skip', ())]
                auditor = auditor or build_auditor(settings)
                config = audit_config(number, configs, roles)
                references = references_of(number, args.reference)
                report = auditor.audit_files(config, paths[state], references, paths[number - 1])
                report.write(folder)
            page = read_json(folder / AUDIT_FILE)
            found.append(dict(swap=number, forgotten=own.forget, state=state, audit=page))
    return found


def estimate(end: dict) -> Estimate:
    """An estimate of a page, where an open end of an interval is null."""
    low, high = end['low'], end['high']
    open_low, open_high = -math.inf if low is None else low, math.inf if high is None else high
    return Estimate(end['value'], open_low, open_high)


def shown(finding: dict) -> str:
    """What an attack recovered: a number, or the steps to relearn."""
    steps = finding['details'].get('steps')
    if steps:
        return mean_steps(steps['after'], finding['details'].get('limit'))
    return f'{finding["after"]["value"]:.3f}'


def risen(first: dict, last: dict) -> list[str]:
    """Attacks that surely recover more at the last state than at the first one, with the numbers.

    The interval of the difference (:meth:`Estimate.minus`) lies above zero.
    """
    found = []
    for before, after in zip(first['findings'], last['findings'], strict=True):
        old, new = estimate(before['after']), estimate(after['after'])
        if new.minus(old).low > 0:
            found.append(f'{after["attack"]} {shown(before)} -> {shown(after)}')
    return found


def text_of(audits: list[dict]) -> str:
    """The table, and a line a swap."""
    attacks = attacks_of([each['audit'] for each in audits])
    rows, lines = [], []
    for number in dict.fromkeys(each['swap'] for each in audits):
        own = [each for each in audits if each['swap'] == number]
        pages, names = [each['audit'] for each in own], ', '.join(own[0]['forgotten'])
        rows += [[names, f'{cells[0]} {number}' if i == 0 else cells[0], *cells[1:]]
                 for i, cells in enumerate(ends(pages, attacks))]  # fmt: skip
        for each in own:
            rows.append([names, *rows_of(f'after swap {each["state"]}', [each['audit']], attacks)])
        if len(own) > 1:
            changes = '; '.join(risen(pages[0], pages[-1])) or 'nothing is surely more'
            lines.append(f'- {names}, swap {number} to {own[-1]["state"]}: {changes}.')
    header = ['forgotten', 'state', *attacks, 'retained answers']
    return '\n'.join([markdown_table(header, rows), '', *lines]) + '\n'


def main() -> None:
    """Audits everything, prints and writes the table."""
    args = parse_args()
    try:
        check_place('work_dir', args.work_dir, folder=True)
        configs, roles = read_chain(args.work_dir, args.cfg_options), []
        for config in configs:
            roles.append(roles_of(config, roles))
        audits = audit(args, configs, roles)
    except SwapError as error:
        sys.exit(str(error))
    if not audits:
        sys.exit(f'{args.work_dir}: no swap of this chain forgets anything.')
    text = text_of(audits)
    write_text(args.work_dir / OUT / 'table.md', text)
    write_json(args.work_dir / OUT / 'audits.json', audits)
    print(text)


if __name__ == '__main__':
    main()
