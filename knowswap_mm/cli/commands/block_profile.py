"""``knowswap block-profile``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.errors import ConfigError

TEXT = """
A row of the figure is a host: runs with the same blocks belong together, and phases of one kind are
averaged. Each run needs a block_profile.json, which knowswap_mm.BlockProfileHook writes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('runs', nargs='+', type=Path, metavar='RUN', help='folder of a run')
    add('--out', type=Path, default=Path('work_dirs/block_profile.png'), help='.png, .svg or .pdf')
    add('--names', nargs='+', default=[], help='names of the hosts, in the order of the runs')


def read_profile(run: Path) -> dict:
    """The profile of a run.

    Raises:
        ConfigError: If there is none, or it cannot be read.
    """
    from knowswap_mm.runs.files import PROFILE_FILE

    path = run / PROFILE_FILE
    fix = "train with default_hooks.block_profile = dict(type='knowswap_mm.BlockProfileHook')"
    if not path.is_file():
        raise ConfigError('RUN', str(run), f'there is no {PROFILE_FILE} in it', fix)
    try:
        profile = json.loads(path.read_text(encoding='utf-8'))
        if profile['blocks'] and profile['phases']:
            return profile
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError('RUN', str(run), f'{PROFILE_FILE} is broken ({error})', fix) from None
    raise ConfigError('RUN', str(run), f'{PROFILE_FILE} holds no phase', fix)


def group_by_host(profiles: list[dict], names: list[str]) -> dict[str, list[dict]]:
    """Profiles of the same blocks, by the name of their host.

    Raises:
        ConfigError: If there are names, but not one for each host.
    """
    hosts: dict[tuple[str, ...], list[dict]] = {}
    for profile in profiles:
        hosts.setdefault(tuple(profile['blocks']), []).append(profile)
    if names and len(set(names)) != len(hosts):
        fix = 'give each host a name of its own, in the order of the runs'
        raise ConfigError('--names', names, f'the runs are of {len(hosts)} host(s)', fix)
    names = names or [f'{len(blocks)} blocks' for blocks in hosts]
    if len(set(names)) < len(names):
        names = [f'host {number + 1}' for number in range(len(hosts))]
    return dict(zip(names, hosts.values(), strict=True))


def run(args: argparse.Namespace) -> None:
    """Draw the figure and print the depths."""
    hosts = group_by_host([read_profile(run) for run in args.runs], args.names)
    from knowswap_mm.visualization.plots import plot_where
    from knowswap_mm.visualization.plots.depth import depth_table
    from knowswap_mm.visualization.plots.style import write_figure

    write_figure(args.out, plot_where(hosts), dpi=110)
    print(depth_table(hosts))
    print(f'\nThe figure is {args.out}.')


COMMAND = Command(
    help='Draw where learning and forgetting happened in the transformer blocks of runs.',
    examples=('knowswap block-profile work_dirs/learn_only work_dirs/forget_only',),
    add_arguments=add_arguments,
    run=run,
    order=60,
    text=TEXT,
)
main = COMMAND.main
