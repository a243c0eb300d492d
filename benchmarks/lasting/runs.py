"""What is run: hosts, references, swaps and audits, each command in a process of its own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from audit_table import read_as_host
from mmengine.config import Config
from real.hosts import convergence, train_host, weights_of
from real.jobs import Job
from real.plan import ROOT, SWAPS, WITHOUT, Host, make_reference
from real.runs import finished, run_name

from knowswap_mm.engine.config import open_config, override
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import LEARN, RETAIN
from knowswap_mm.runs.files import AUDIT_FILE, AUDIT_FOLDER, phase_file
from knowswap_mm.runs.reader import ScalarLog
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.workflows.compare import CONFIGS, TRAINED, Run, measure, train
from knowswap_mm.workflows.processes import call
from lasting.plan import (
    BENCHMARKS,
    RECIPE,
    reference_config,
    swap_config,
    unseen_name,
    watch,
)
from lasting.starts import write_start

REFERENCE = 'reference'
#: In the folder of a finished reference.
CARD_FILE = 'reference.json'


class Runs:
    """The jobs of a work dir.

    Args:
        args (Namespace): Those of the command line: ``work_dir``, ``reference_seeds``, and changes
            of the configs of hosts, references, swaps and audits.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.work_dir / 'runs'

    def folder(self, benchmark: str, kind: str, seed: int) -> Path:
        """Folder of a run: of an objective, or of a reference."""
        return self.out / Run(run_name(benchmark, kind), '', (), seed).folder

    def host(self, name: str, host: Host | None = None) -> Job:
        """Train a host: one of ``real.plan.HOSTS``, or another one."""
        found = weights_of(self.args.work_dir, name)
        return Job(f'host {name}', partial(train_host, name, self.args, host), found.is_file)

    def swap(self, benchmark: str, objective: str, seed: int) -> Job:
        """Run a swap, and keep its checkpoints."""
        host = SWAPS[benchmark].host
        return Job(
            f'{benchmark}, {objective}, seed {seed}',
            partial(self._swap, benchmark, objective, seed),
            lambda: self.checkpoint(benchmark, objective, seed) is not None,
            (self.host(host),) if host else (),
        )

    def reference(self, benchmark: str, seed: int) -> Job:
        """Train a model that never sees the forget set."""
        plan, needs = BENCHMARKS[benchmark], ()
        if plan.unseen:
            needs = (
                self.host(unseen_name(benchmark, seed), replace(plan.unseen, seed=seed)),
                self.swap(benchmark, RECIPE, seed),
            )
        elif plan.begins and not self.args.reference_options.get('load_from'):
            needs = (self.reference(plan.begins[1], seed),)
        return Job(
            f'{benchmark}, {REFERENCE}, seed {seed}',
            partial(self._reference, benchmark, seed),
            (self.folder(benchmark, REFERENCE, seed) / CARD_FILE).is_file,
            needs,
        )

    def audit(self, benchmark: str, objective: str) -> Job:
        """Audit the swaps of an objective against all references of their benchmark."""
        seeds = self.args.seeds
        references = [self.reference(benchmark, each) for each in self.args.reference_seeds]
        swaps = [self.swap(benchmark, objective, seed) for seed in seeds]
        return Job(
            f'{benchmark}, {objective}, audit',
            partial(self._audit, benchmark, objective),
            lambda: all(self.audited(benchmark, objective, seed) for seed in seeds),
            (*references, *swaps),
        )

    def checkpoint(self, benchmark: str, objective: str, seed: int) -> Path | None:
        """The last state of a swap; None if it is not finished, or was removed."""
        found = finished(benchmark, objective, seed, self.args)
        if found is None:
            return None
        path = self.folder(benchmark, objective, seed) / phase_file(list(found['states'])[-1])
        return path if path.is_file() else None

    def card(self, benchmark: str, seed: int) -> dict[str, Any] | None:
        """What was measured of a reference; None if it is not done."""
        path = self.folder(benchmark, REFERENCE, seed) / CARD_FILE
        return read_json(path) if path.is_file() else None

    def audited(self, benchmark: str, objective: str, seed: int) -> Path | None:
        """The audit of a swap; None if there is none."""
        folder = self.folder(benchmark, objective, seed) / AUDIT_FOLDER
        return next(iter(sorted(folder.glob(f'*/{AUDIT_FILE}'))), None)

    def _swap(self, benchmark: str, objective: str, seed: int) -> dict[str, Any]:
        with CONFIGS:
            cfg = self._swap_config(benchmark, objective)
            run = self._written(benchmark, objective, cfg, seed)
        return train(run, SimpleNamespace(split='test', roles=None), self.out)

    def _swap_config(self, benchmark: str, objective: str) -> Config:
        cfg = swap_config(benchmark, objective, self.args.swap_options)
        if host := SWAPS[benchmark].host:
            cfg.load_from = str(weights_of(self.args.work_dir, host))
        return cfg

    def _reference(self, benchmark: str, seed: int) -> dict[str, Any]:
        """Train a reference; its plateau is seen on validation data where there are such."""
        with CONFIGS:
            roles = self._swap_config(benchmark, RECIPE)
            named = self._written(benchmark, 'roles', roles, seed).config
            cfg = self._reference_config(benchmark, seed)
            plain = 'swap' not in cfg
            run = self._written(benchmark, REFERENCE, cfg, seed)
        split = 'test' if plain else 'val'
        result = train(run, SimpleNamespace(split=split, roles=named), self.out)
        if 'error' not in result:
            write_json(self.folder(benchmark, REFERENCE, seed) / CARD_FILE, self._card(result))
        return result

    def _reference_config(self, benchmark: str, seed: int) -> Config:
        plan, changes = BENCHMARKS[benchmark], self.args.reference_options
        if plan.unseen:
            swapped = finished(benchmark, RECIPE, seed, self.args)
            cfg = self._swap_config(benchmark, RECIPE)
            cfg.load_from = str(weights_of(self.args.work_dir, unseen_name(benchmark, seed)))
            make_reference(cfg, WITHOUT, swapped['iterations'])
            watch(cfg, swapped['iterations'])
            return cfg
        cfg = reference_config(benchmark, changes)
        if plan.begins and not changes.get('load_from'):
            config, donor = plan.begins
            cfg.load_from = str(self.folder(benchmark, 'begin', seed).with_suffix('.pth'))
            write_start(ROOT / 'configs' / config, self._reference_state(donor, seed), seed,
                        Path(cfg.load_from))  # fmt: skip
        if 'swap' in cfg:
            watch(cfg, cfg.swap.phase_settings.learn.iters)
        return cfg

    def _card(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """What a reference reads on test images, and how its training ended."""
        folder, primary, scale = Path(result['work_dir']), result['primary'], result['scale']
        results = SwapResults(primary, scale)
        if TRAINED in result['states']:
            key, results.states = primary, result['states']
        else:
            key = f'{RETAIN}/{primary}'
            # Not the config in the folder, which is to be resumed.
            found = measure(result['checkpoint'], result['config'], 'test', folder, TRAINED)
            results.add(TRAINED, list(result['states'].values())[-1]['iteration'], found)
        end = results.by_role(TRAINED)
        points = ScalarLog.of_run(folder).evaluated(key)
        curve = {step: round(100 * value / scale, 2) for step, value in points}
        checkpoint = Path(result['checkpoint']).name
        kept = dict(checkpoint=checkpoint, learn=end[LEARN], retain=end[RETAIN])
        return dict(kept, **convergence(curve), seconds=result['seconds'])

    def _audit(self, benchmark: str, objective: str) -> None:
        """Audit what is not audited yet, in one process: all swaps saw the same images."""
        seeds = [s for s in self.args.seeds if not self.audited(benchmark, objective, s)]
        checkpoints = [self.checkpoint(benchmark, objective, seed) for seed in seeds]
        folder = self.folder(benchmark, objective, seeds[0])
        config = folder / 'audit.py'
        with CONFIGS:
            cfg = open_config(folder / 'config.py')
            read_as_host(cfg)
            override(cfg, self.args.audit_options)
            audit = cfg.setdefault('audit', {})
            audit['skip'] = ['DroppedAdapter', *audit.get('skip', ())]
            write_text(config, cfg.pretty_text)
        references = [self._reference_state(benchmark, e) for e in self.args.reference_seeds]
        call(folder, 'audit', config, *checkpoints, '--merged', '--reference', *references)

    def _reference_state(self, benchmark: str, seed: int) -> Path:
        return self.folder(benchmark, REFERENCE, seed) / self.card(benchmark, seed)['checkpoint']

    def _written(self, benchmark: str, kind: str, cfg: Config, seed: int) -> Run:
        """A run whose config may be read and run by itself."""
        name = run_name(benchmark, kind)
        path = self.args.work_dir / 'configs' / f'{name}_seed{seed}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, cfg.pretty_text)
        return Run(name, str(path), (), seed)
