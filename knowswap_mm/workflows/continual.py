"""Several swaps in a row: the work of ``knowswap continual``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from knowswap_mm.cli.options import command_of
from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.engine.config import check_place, open_config, override
from knowswap_mm.errors import ConfigError, FileError, SwapError
from knowswap_mm.io.files import write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.runs.files import ADAPTER_FOLDER, phase_file
from knowswap_mm.runs.reader import read_schedule
from knowswap_mm.runs.results import START
from knowswap_mm.schedule.decisions import replayed
from knowswap_mm.schedule.phase import phase_name
from knowswap_mm.visualization.tables import markdown_table

#: Classes that an earlier swap forgot, and those to which a swap gives no role.
EARLIER, NONE = 'earlier', 'none'
GROUPS = {
    LEARN: 'learned now',
    FORGET: 'forgotten now',
    EARLIER: 'forgotten earlier',
    RETAIN: 'retained',
    NONE: 'without a role',
}


class ContinualTable:
    """Accuracy of each class at the start and after each swap, and means by group.

    Args:
        prefix (str): How the metric of a class is named behind its role: ``<role>/class/<name>``.
    """

    def __init__(self, prefix: str = 'class') -> None:
        self.prefix = prefix
        self.states: list[dict[str, Any]] = []
        self._forgotten: list[str] = []

    def add_start(self, classes: ClassRoles, metrics: Mapping[str, float]) -> None:
        """Record the model before the first swap."""
        measured = self._by_class(metrics)
        accuracy = {name: measured[name] for name in classes.old if name in measured}
        self.states.append(dict(name=START, classes=accuracy, groups={}, means={}))

    def add(self, classes: ClassRoles, metrics: Mapping[str, float]) -> None:
        """Record the model after the next swap, by metrics of every class, whatever its role."""
        measured = self._by_class(metrics)
        accuracy = {name: measured[name] for name in classes.names if name in measured}
        groups = {name: self._group(classes, name) for name in accuracy}
        means = {}
        for group in GROUPS:
            values = [accuracy[name] for name in accuracy if groups[name] == group]
            if values:
                means[group] = sum(values) / len(values)
        number = sum(state['name'] != START for state in self.states) + 1
        name = f'swap {number}'
        self.states.append(dict(name=name, classes=accuracy, groups=groups, means=means))
        self._forgotten += [name for name in classes.forget if name not in self._forgotten]

    def _group(self, classes: ClassRoles, name: str) -> str:
        for role in ROLES:
            if name in classes.of(role):
                return role
        return EARLIER if name in self._forgotten else NONE

    def _by_class(self, metrics: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for key, value in metrics.items():
            role, _, rest = key.partition('/')
            if role in ROLES and rest.startswith(f'{self.prefix}/'):
                found[rest.removeprefix(f'{self.prefix}/')] = float(value)
        return found

    @property
    def not_held(self) -> list[str]:
        """Classes that were forgotten, and play no role in the last swap."""
        groups = self.states[-1]['groups']
        return [name for name in groups if groups[name] == EARLIER]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a json file."""
        return dict(states=self.states)

    def markdown(self) -> str:
        """A row a class, a column a state; then the means by group."""
        header = ['class', *(self._title(state['name']) for state in self.states)]
        names = list(dict.fromkeys(name for state in self.states for name in state['classes']))
        rows = [[name, *(self._cell(state, name) for state in self.states)] for name in names]
        for group, title in GROUPS.items():
            if any(group in state['means'] for state in self.states):
                means = [state['means'].get(group) for state in self.states]
                cells = [None if mean is None else f'{mean:.1f}' for mean in means]
                rows.append([f'mean {title}', *cells])
        return markdown_table(header, rows, aligned=True)

    @staticmethod
    def _title(name: str) -> str:
        return name if name == START else f'after {name}'

    @staticmethod
    def _cell(state: Mapping[str, Any], name: str) -> str | None:
        if name not in state['classes']:
            return None
        group = state['groups'].get(name)
        return f'{state["classes"][name]:.1f}' + (f' {group}' if group else '')


METRICS_FILE = 'all_classes.json'
EXPORT_FOLDER = 'exported'


def run(name: str, *arguments: str | Path) -> None:
    """Run another command and stop if it fails."""
    env = dict(os.environ, OMP_NUM_THREADS=os.environ.get('OMP_NUM_THREADS', '1'))
    if subprocess.call(command_of(name, *arguments), env=env):
        sys.exit(
            f'`knowswap {name} {" ".join(map(str, arguments))}` failed; run the same command again.'
        )


def roles_of(cfg: Config, before: list[ClassRoles]) -> ClassRoles:
    """Classes of a swap, checked against those before it."""
    given = cfg.swap.classes
    for role in ('learn', 'forget'):
        if given.get(role) is None:
            fix = 'list the classes, [] for none'
            raise ConfigError(f'swap.classes.{role}', None, 'a chain must know its classes', fix)
    roles = ClassRoles.resolve(given, {})
    if before and roles.old != before[-1].names:
        fix = f'list the classes that the swap before leaves: {before[-1].names}'
        raise ConfigError('swap.classes.old', roles.old, 'does not follow the swap before', fix)
    forgotten = {name for each in before for name in each.forget}
    if forgotten and given.get('retain') is None:
        fix = 'list the classes to retain; with None, forgotten ones would be taught again'
        raise ConfigError('swap.classes.retain', None, f'{sorted(forgotten)} were forgotten', fix)
    return roles


def hold(cfg: Config, before: list[ClassRoles]) -> None:
    """Let a swap forget once more what those before it forgot.

    Later training moves the features of all classes, also towards what was forgotten (issue 27).
    What the swap itself gives a role keeps it.
    """
    roles = roles_of(cfg, before)
    taken = {name for role in ROLES for name in roles.of(role)}
    again = dict.fromkeys(name for each in before for name in each.forget if name not in taken)
    cfg.swap.classes.forget = [*roles.forget, *again]


def prepare(cfg: Config, folder: Path, base: str, earlier: list[Path], through: str) -> Path:
    """Write the config of a swap beside its folder; that of another chain is refused."""
    cfg.work_dir = str(folder)
    if earlier and through == 'export':
        cfg.load_from = str(earlier[-1] / EXPORT_FOLDER / 'model.pth')
    elif earlier:
        cfg.load_from = base
        cfg.model.adapters = [str(each / ADAPTER_FOLDER) for each in earlier]
    path = folder.with_suffix('.py')  # the runner writes into the folder what it makes of it
    if path.is_file() and open_config(path).to_dict() != cfg.to_dict():
        fix = 'give another folder, or the configs and options with which it was begun'
        raise ConfigError('--work-dir', str(folder.parent), 'holds another swap', fix)
    write_text(path, cfg.pretty_text)
    return path


def checkpoint_of(folder: Path) -> Path:
    """Checkpoint of the last phase of a run."""
    last = read_schedule(folder)['phases'][-1]
    return folder / phase_file(phase_name(last['index'], last['kind']))


def measure(config: Path, checkpoint: str | Path, out: Path) -> dict:
    """Metrics of every class: those without a role in the swap are tested as retained ones."""
    if not out.is_file():
        folder = out.parent / 'test'
        arguments = [config, checkpoint, '--out', out, '--work-dir', folder]
        run('test', *arguments, '--cfg-options', 'swap.classes.retain=None')
    metrics = read_json(out)
    if not isinstance(metrics, dict):
        raise FileError(out, 'holds no metrics', 'remove it; the same command measures again')
    return metrics


def check_done(folder: Path) -> None:
    """Refuse to go on from a swap that a decision stopped: its later phases never ran.

    Raises:
        SwapError: Says why it stopped.
    """
    decisions = replayed(read_schedule(folder).get('decisions'))
    if decisions and decisions[-1].kind == 'stop':
        last = decisions[-1]
        raise SwapError(
            f'{folder}: this swap stopped after iteration {last.at} and was not done '
            f'({last.reason or "no reason is known"}). Fix: change its config, remove the '
            'folder, and run the same command again.'
        )


def swap(config: Path, folder: Path, export: bool) -> None:
    """Train, where that is not done, and export."""
    if not (folder / ADAPTER_FOLDER / 'manifest.json').is_file():
        run('train', config, '--work-dir', folder, '--resume')
    check_done(folder)
    out = folder / EXPORT_FOLDER
    if export and not out.is_dir():
        partial = folder / f'{EXPORT_FOLDER}.partial'
        shutil.rmtree(partial, ignore_errors=True)
        run('export', config, checkpoint_of(folder), '--out', partial)
        partial.rename(out)


def chain(args: argparse.Namespace) -> ContinualTable:
    """Run what is left of the chain; return the table."""
    table, roles, folders = ContinualTable(), [], []
    check_place('--work-dir', args.work_dir, folder=True)
    configs = [open_config(path) for path in args.configs]
    for path, cfg in zip(args.configs, configs, strict=True):
        if not isinstance(cfg.get('swap'), dict) or 'classes' not in cfg.swap:
            fix = 'give configs of swaps'
            raise ConfigError('configs', path, 'the config describes no swap', fix)
    for cfg in configs:
        override(cfg, args.cfg_options or {})
        if args.hold:
            hold(cfg, roles)
        roles.append(roles_of(cfg, roles))
    base = configs[0].load_from
    for number, (cfg, classes) in enumerate(zip(configs, roles, strict=True), 1):
        folder = args.work_dir / f'swap{number}'
        config = prepare(cfg, folder, base, folders, args.through)
        if number == 1:
            out = args.work_dir / f'start_{METRICS_FILE}'
            table.add_start(classes, measure(config, base, out))
        export = args.through == 'export' and number < len(configs)
        swap(config, folder, export)
        table.add(classes, measure(config, checkpoint_of(folder), folder / METRICS_FILE))
        folders.append(folder)
    return table
