"""How to reproduce the run."""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.plan import Plan
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.blocks import Block, Code, Details, Paragraph, Section, Table


@REPORT_SECTIONS.register_module()
class Configuration(Section):
    """Command, versions, phases, plan and config."""

    name, title, order = 'configuration', 'Reproduce', 90

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """The commands of all starts, the schedule, and the config on demand."""
        commands = '\n'.join(str(entry.get('command')) for entry in record.log)
        blocks: list[Block] = [Code(commands, 'command')] if commands else []
        about = {'seed': record.seed}
        if record.log:
            about |= record.log[-1].get('versions') or {}
        blocks.append(Paragraph(', '.join(f'{key} {value}' for key, value in about.items())))
        rows = []
        for phase in record.phases:
            split = ' + '.join(f'{n} {role}' for role, n in phase['split'].items() if n)
            weights = ', '.join(f'{k} {v:g}' for k, v in phase['weights'].items() if v)
            rows.append([phase['name'], phase['length'], split, weights, phase.get('bound')])
        header = ['phase', 'iterations', 'batch of a process', 'weights', 'bound']
        blocks.append(Table('Phases', header, rows))
        if record.plan.entries:
            rows = [entry.row for entry in record.plan.entries]
            blocks.append(Table('The plan: numbers of the recipe', Plan.HEADER, rows))
        if record.config is not None:
            blocks.append(Details('The whole config', [Code(record.config, 'config')]))
        blocks += [Paragraph(f'Left out: {problem}.', 'note') for problem in record.problems]
        return blocks
