"""Puts numbers in the place of ``auto``, in two steps: what a build needs, then the rest."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from knowswap_mm.checks import check_choice
from knowswap_mm.engine.recipe.completion import (
    complete,
    complete_phase,
    holder_of,
    is_auto,
    present,
    refuse_other_uses,
    value_at,
    values_below,
)
from knowswap_mm.engine.recipe.facts import Facts, PhaseFacts
from knowswap_mm.engine.recipe.formulas import OF_CONFIG, OF_PHASE, OF_RUN, Choice
from knowswap_mm.lora.injector import RANK
from knowswap_mm.runs.plan import Entry, Plan
from knowswap_mm.schedule import PHASE_KINDS
from knowswap_mm.schedule.parser import PhaseParser
from knowswap_mm.schedule.schedule import AUTO, phase_configs

#: What stands for a number that only a built host can tell, until it is built.
_UNTIL_BUILT = {'model.loss.hinge': 'mean'}


class Recipe:
    """What a config leaves to the recipe: single values ``auto``, or all with ``swap.recipe``.

    Made before anything is built, it chooses, in place, what the model, the data set and the
    schedulers are built with; :meth:`resolve` chooses the rest once they are built. Given values
    always win, one by one.

    Args:
        cfg (Config): The config of a swap, with all overrides; another one stays as it is.

    Raises:
        ConfigError: If ``auto`` stands where the recipe has no number.
    """

    def __init__(self, cfg: Config) -> None:
        swap = cfg.get('swap')
        self.whole = isinstance(swap, Mapping) and swap.get('recipe') == AUTO
        self._entries: list[Entry] = []
        self._later: list[str] = []
        if not isinstance(swap, Mapping):
            return
        refuse_other_uses(cfg)
        if self.whole:
            self._entries += complete(cfg)
        rank = value_at(cfg, 'model.lora.rank') or RANK
        for pattern, formula in OF_CONFIG.items():
            for key in present(cfg, pattern):
                holder, name = holder_of(cfg, key)
                chosen = formula(rank) if is_auto(holder[name]) else None
                self._entries.append(_put(holder, name, key, chosen))
        self._later = [key for key in OF_RUN if is_auto(value_at(cfg, key))]
        for key, value in _UNTIL_BUILT.items():
            if key in self._later:
                holder, name = holder_of(cfg, key)
                holder[name] = value

    def resolve(self, cfg: Config, facts: Facts) -> Plan:
        """Choose all that is left, and write it into the config.

        If a phase has an ``auto``, the config has all phases as a list afterwards: it says by
        itself what is run, and a run that is repeated from it has the same numbers.

        Args:
            cfg (Config): The config of the run.
            facts (Facts): What is known of it.

        Returns:
            Plan: All numbers of the recipe, given or chosen; empty if none was chosen.

        Raises:
            ConfigError: If the recipe has no value for this run, or a given one cannot be used.
        """
        entries = list(self._entries)
        for key, formula in OF_RUN.items():
            for found in present(cfg, key):
                holder, name = holder_of(cfg, found)
                chosen = formula(facts) if key in self._later else None
                entries.append(_put(holder, name, key, chosen))
        swap = cfg['swap']
        said = values_below('', [swap.get('phases'), swap.get('phase_settings')])
        if self.whole or any(is_auto(value) for _, value in said):
            phases, chosen = self._phases(phase_configs(swap), facts)
            entries += chosen
            left_out = ('order', 'phase_settings', 'recipe')
            cfg['swap'] = {k: v for k, v in swap.items() if k not in left_out} | dict(phases=phases)
        chosen = self.whole or any(entry.source == AUTO for entry in entries)
        return Plan(tuple(entries)) if chosen else Plan()

    def _phases(self, configs: list[Any], facts: Facts) -> tuple[list[Any], list[Entry]]:
        if not all(isinstance(each, Mapping) for each in configs):
            return configs, []  # the schedule says what is wrong
        parser = PhaseParser(facts.samples, facts.batch // facts.processes, facts.processes)
        kinds, phases, entries = tuple(each.get('kind') for each in configs), [], []
        for index, config in enumerate(configs):
            where, phase = f'swap.phases.{index}', _own_copy(config)
            check_choice(f'{where}.kind', kinds[index], PHASE_KINDS, 'kind of phase')
            about = PhaseFacts(facts, kinds, index, bool(phase.get('merge_learned')))
            if self.whole:
                complete_phase(phase, about)
            for key, formula in OF_PHASE.items():
                holder, name = holder_of(phase, key)
                if isinstance(holder, MutableMapping) and name in holder:
                    chosen = formula(about) if is_auto(holder[name]) else None
                    entries.append(_put(holder, name, f'{where}.{key}', chosen))
                if key == 'split':
                    split = parser.split(f'{where}.{key}', about.kind, phase.get('split'))
                    about = replace(about, split=split)
            if phase.get('epochs') is not None:
                entries.append(Entry(f'{where}.epochs', phase['epochs']))
            phases.append(phase)
        return phases, entries


def settle(cfg: Config) -> Config:
    """Choose, in place, what a model or a data set is built with, where nothing is trained.

    Raises:
        ConfigError: As :class:`Recipe`.
    """
    Recipe(cfg)
    return cfg


def _put(holder: MutableMapping[str, Any], name: str, key: str, chosen: Choice | None) -> Entry:
    """Write what was chosen; the entry of the plan for it, or for what is given."""
    if chosen is None:
        return Entry(key, holder[name])
    value, why = chosen
    holder[name] = float(f'{value:.4g}') if isinstance(value, float) else value
    return Entry(key, holder[name], AUTO, why)


def _own_copy(value: Any) -> Any:
    """Dicts that can be written into; what stands in lists stays."""
    return {k: _own_copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value
