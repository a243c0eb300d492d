"""A swap from a command line: its config, its plan, the run and what became of it."""

from __future__ import annotations

import argparse
import copy
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, RUNNERS, DefaultScope

from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.datasets.classes import names_after
from knowswap_mm.datasets.role_counts import role_counts
from knowswap_mm.engine.config import open_config
from knowswap_mm.errors import ConfigError, SwapError
from knowswap_mm.io.files import write_text
from knowswap_mm.io.text_files import read_text
from knowswap_mm.own.config import OwnConfig, Wishes, made_by, role_line
from knowswap_mm.own.foreign import is_foreign, read_foreign
from knowswap_mm.own.host import device_of, read_host
from knowswap_mm.own.task import short
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.runs.files import ADAPTER_FOLDER, phase_file
from knowswap_mm.runs.lock import kept_nothing
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.tables import markdown_table

CONFIG, SWAP = 'config.py', 'knowswap swap'
_WORDS = {LEARN: 'learns', FORGET: 'forgets', RETAIN: 'retains'}


def make(args: argparse.Namespace, command: str = SWAP) -> tuple[Path, list[str]]:
    """Write the config of a swap into the folder of its run, with the data that it reads.

    Args:
        args (argparse.Namespace): The options.
        command (str): The command that they were given to.

    Returns:
        tuple[Path, list[str]]: The config and the plan, in lines.

    Raises:
        SwapError: If the user can fix something; nothing is left behind then.
    """
    device_of(args.device or '')
    folder, is_new = choose_folder(args.out, args.model)
    MMLogger.get_instance('own', log_level='ERROR')
    try:
        return _make(args, folder, command)
    except BaseException as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, SourceError):
            fix = 'Fix: correct what is named, or take it out of the data.'
            raise SwapError(
                f'{error.root}: the data cannot be used:\n{short(error)}\n{fix}'
            ) from error
        raise


def _make(args: argparse.Namespace, folder: Path, command: str) -> tuple[Path, list[str]]:
    old = names_after('--classes', args.classes)
    if is_foreign(args.model):
        host = read_foreign(args.model, args.checkpoint, old, folder)
    elif args.checkpoint is None:
        fix = 'give the weights of the pretrained model with --checkpoint FILE'
        raise ConfigError('--checkpoint', None, 'the model needs its weights', fix)
    else:
        host, _ = read_host(args.model, args.checkpoint, old)
    wishes = Wishes(
        **{key: getattr(args, key) for key in ('learn', 'data', 'retain', 'test', 'images')},
        forget=names_after('--forget', args.forget) or [],
        deep=args.deep,
        new=names_after('--new', args.new),
        iters=args.iters,
        batch_size=args.batch_size,
    )
    own = OwnConfig(host, wishes, folder)
    path = folder / CONFIG
    counts: dict[str, Any] = {}
    while not counts:
        write_text(path, own.text(command, args.cfg_options or {}))
        config = open_config(path)
        with DefaultScope.overwrite_default_scope(config.default_scope):
            try:
                train = _counts(config, 'train')
            except ConfigError as error:
                role = next((role for role in ROLES if f'roles.{role}.' in error.key), '')
                if not error.key.endswith('.mixed') or not own.make_easier(role):
                    raise
                continue
            smallest, role = min((each['samples'], role) for role, each in train.items())
            few = 2 * smallest < own.task.batch_size[0] and train[role]['left_out']
            if few and own.make_easier(role):
                continue
            if not wishes.batch_size and own.batch_size > max(2 * smallest, 2):
                own.batch_size = max(2 * smallest, 2)
                continue
            counts = dict(train=train, test=_counts(config, 'val'))
    return path, plan_lines(own, path, counts)


def _counts(config: Config, split: str) -> dict[str, Any]:
    dataset = copy.deepcopy(config[f'{split}_dataloader'].dataset)
    return role_counts(DATASETS.build(dict(dataset, classes=config.swap.classes)).views)


def choose_folder(given: Path | None, model: str) -> tuple[Path, bool]:
    """The folder of the run, and whether it is made now.

    Raises:
        ConfigError: If it holds something.
    """
    if given is None:
        stem = Path('work_dirs', f'{Path(model.rpartition(":")[2]).stem}_swap')
        numbered = (stem if n == 1 else Path(f'{stem}_{n}') for n in range(1, 10**6))
        given = next(each for each in numbered if not each.exists())
    if given.exists() and not given.is_dir():
        raise ConfigError('--out', str(given), 'is a file', 'give a new folder')
    if given.is_dir() and any(given.iterdir()) and not take_over(given):
        fix = 'give a new folder'
        if (given / CONFIG).is_file():
            fix += f', or go on with it: knowswap train {given / CONFIG} --resume'
        raise ConfigError('--out', str(given), 'holds another run or other files', fix)
    return given, not given.exists()


def take_over(folder: Path) -> bool:
    """Clear the folder of a swap that ended before it kept anything; False if it is none.

    Its config stays, because somebody may have edited it, and so do its logs.
    """
    config = folder / CONFIG
    made = config.is_file() and f'# {made_by(SWAP)}' in read_text(config)
    if not made or not kept_nothing(folder):
        return False
    numbered = (folder / f'config_before{n or ""}.py' for n in range(10**6))
    before = config.rename(next(each for each in numbered if not each.exists()))
    shutil.rmtree(folder / 'data', ignore_errors=True)
    print(f'{folder}: the swap there ended before it kept anything. Its config is {before.name}.')
    return True


def plan_lines(own: OwnConfig, path: Path, counts: Mapping[str, Any]) -> list[str]:
    """What is about to happen, before anything trains."""
    classes = {LEARN: own.new, FORGET: own.forget, RETAIN: own.retain}
    lines = [f'The {own.task.noun} {own.host.name}:']
    rows = []
    for role, names in classes.items():
        if not names or role not in counts['train']:
            continue
        train, test = (counts[split][role] for split in ('train', 'test'))
        lines.append(f'  {_WORDS[role]} {role_line(names, train["classes"])} (images that train)')
        held = f' + {train["held_out"]}' if train['held_out'] else ''
        left = sum(train['left_out'].values())
        rows.append([role, len(names), f'{train["samples"]}{held}', left, test['samples']])
    header = ('role', 'classes', 'training images', 'left out', 'test images')
    lines += ['', markdown_table(header, rows, aligned=True), '']
    lines += [f'- {note}' for note in own.notes]
    lines.append(f'- The config is {path}; edit it as you like.')
    return lines


class TimeHook(Hook):
    """Says once how long the training will take, by a few measured iterations.

    Args:
        first (int): Iterations that are not measured: they set up what later ones use.
        count (int): Iterations that are measured.
    """

    def __init__(self, first: int = 3, count: int = 5) -> None:
        self.first, self.count, self.begin = first, count, 0.0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the clock."""
        if runner.iter + 1 == self.first:
            self.begin = time.perf_counter()
        elif runner.iter + 1 == self.first + self.count and self.begin:
            each = (time.perf_counter() - self.begin) / self.count
            left = each * (runner.max_iters - runner.iter - 1)
            shown = f'{left / 60:.0f} min' if left > 90 else f'{left:.0f} s'
            print(
                f'Time: about {shown} for the other {runner.max_iters - runner.iter - 1} '
                f'iterations ({each:.2g} s each, measured over {self.count}); evaluations come '
                'on top.',
                flush=True,
            )


def train(path: Path) -> None:
    """Run the swap of a config, and say what trains."""
    config = open_config(path)
    runner = RUNNERS.build(config)
    swapper = runner.swapper
    adapters = sum(each.numel() for each in swapper.adapters.values())
    rows = sum(each.numel() for each in swapper.head_rows.values())
    total = sum(each.numel() for each in swapper.host.parameters())
    print(
        f'What trains: adapters with {adapters:,} weights and head rows with {rows:,}, of '
        f'{total:,}; the rest of the model is frozen.\n'
        'Time: will be said after eight iterations.',
        flush=True,
    )
    runner.register_hook(TimeHook(), 'LOW')
    runner.train()


def tell(folder: Path) -> list[str]:
    """Where the files of a run are, and what to do with them; its verdict was shown before."""
    last = folder / phase_file(RunFolder(folder).phases[-1]['name'])
    return [
        f'state      {last}',
        f'adapter    {folder / ADAPTER_FOLDER}',
        f'try it     knowswap predict {folder} IMAGES',
        f'export it  knowswap export {folder / CONFIG} {last} --out NEW_FOLDER',
        f'again      knowswap train {folder / CONFIG} --work-dir NEW_FOLDER',
    ]
