"""The runs of swaps and references, each in a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config

from knowswap_mm.engine.config import open_config, override
from knowswap_mm.errors import SwapError
from knowswap_mm.io.files import write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.runs.files import RECORD_FILE, RESULTS_FILE
from knowswap_mm.runs.results import START, SwapResults
from knowswap_mm.workflows.compare import CONFIGS, Run, train
from real.data import fit_endings
from real.hosts import weights_of
from real.plan import SWAPS, config_of, give_recipe, make_reference


def run_name(swap: str, kind: str) -> str:
    """Name of the runs of a recipe or reference, one a seed."""
    return f'{swap}_{kind}'


def make_config(
    name: str, recipe: str, args: argparse.Namespace, reference: str = '', iters: int = 0
) -> Config:
    """The config of a swap with a recipe, or of a reference of so many iterations."""
    swap = SWAPS[name]
    cfg = open_config(config_of(swap, recipe))
    override(cfg, swap.options)
    if swap.host:
        cfg.load_from = str(weights_of(args.work_dir, swap.host))
    give_recipe(cfg, swap, recipe)
    override(cfg, args.swap_options)
    fit_endings(cfg)
    if reference:
        make_reference(cfg, reference, iters)
    return cfg


def _write(run: str, cfg: Config, args: argparse.Namespace) -> str:
    """Write the config of a run; it may be read and run by itself."""
    path = args.work_dir / 'configs' / f'{run}.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, cfg.pretty_text)
    return str(path)


def run_swap(name: str, recipe: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run a swap, unless it is done; returns what it ended with."""
    run = run_name(name, recipe)
    with CONFIGS:
        config = _write(run, make_config(name, recipe, args), args)
    return _run(Run(run, config, (), seed), args)


def run_reference(
    name: str, recipe: str, reference: str, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Run a reference as long as the swap of that seed was.

    Raises:
        SwapError: If that is not done.
    """
    swapped = finished(name, recipe, seed, args)
    if swapped is None:
        raise SwapError(f'{name}, {recipe}, seed {seed} is not done; run its stage first')
    run, iters = run_name(name, f'{recipe}_{reference}'), swapped['iterations']
    with CONFIGS:
        cfg = make_config(name, recipe, args, reference, iters)
        config = _write(f'{run}_{iters}', cfg, args)
    return _run(Run(run, config, (), seed), args)


def _run(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    result = train(run, SimpleNamespace(split='test', roles=None), args.work_dir / 'runs')
    if 'error' not in result and not args.keep:
        for path in Path(result['work_dir']).glob('*.pth'):
            path.unlink()
    return result


def finished(name: str, kind: str, seed: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """What a run ended with, from its folder; None if it is not done."""
    folder = args.work_dir / 'runs' / Run(run_name(name, kind), '', (), seed).folder
    state = folder / 'compare.json'
    if not state.is_file() or not read_json(state)['finished']:
        return None
    results = SwapResults.read(folder / RESULTS_FILE)
    states = {state: results.by_role(state) for state in results.states}
    iters = list(results.states.values())[-1]['iteration']
    return dict(
        start=states[START],
        end=list(states.values())[-1],
        states=states,
        iterations=iters,
        images=iters * read_json(folder / RECORD_FILE)['total_batch'],
        seconds=round(read_json(state)['seconds']),
    )
