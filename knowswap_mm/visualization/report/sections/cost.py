"""What the run cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.plots import Curve, plot_curves
from knowswap_mm.visualization.report.blocks import Block, Figure, Section, Table


@REPORT_SECTIONS.register_module()
class Cost(Section):
    """Time and memory."""

    name, title, order = 'cost', 'Time and memory', 60

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """A table, and the time of a step over the iterations."""
        log = record.scalars
        times, loading, memory = (log.curve(key) for key in ('time', 'data_time', 'memory'))
        rows = [['iterations', str(record.total)]]
        if record.log:
            last = record.log[-1]
            rows += [
                ['machine', f'{last.get("device")}, {last.get("processes")} process(es)'],
                ['started', ', '.join(str(entry.get('started')) for entry in record.log)],
            ]
            if last.get('seconds') is not None:
                whole = 'all of it' if len(record.log) == 1 else 'since it was resumed last'
                seconds = timedelta(seconds=round(last['seconds']))
                rows.append([f'time with evaluations, {whole}', str(seconds)])
            for key, name in (('host_memory', 'process'), ('device_memory', 'GPU')):
                if last.get(key) is not None:
                    rows.append([f'largest memory, {name}', f'{last[key]:,} MiB'])
        if times:
            rows.append(['time of a step, median', f'{median(y for _, y in times):.3f} s'])
        if loading:
            text = f'{median(y for _, y in loading):.3f} s'
            rows.append(['of which waiting for data, median', text])
        if memory and not any(row[0] == 'largest memory, GPU' for row in rows):
            rows.append(['largest memory, GPU', f'{max(y for _, y in memory):,.0f} MiB'])
        blocks: list[Block] = [Table('Of the whole run', ['what', 'how much'], rows)]
        if times:
            curves = [Curve.other('step', times), Curve.other('waiting for data', loading, 1)]
            plot = plot_curves(curves, record.phases, 'seconds')
            alt = f'Time of a step over the iterations: {min(y for _, y in times):.3f} to '
            alt += f'{max(y for _, y in times):.3f} seconds.'
            values = dict(time=times, data_time=loading)
            blocks.append(Figure('step-time', plot, alt, values=values))
        if memory:
            plot = plot_curves([Curve.other('GPU memory', memory)], record.phases, 'MiB')
            alt = f'Largest GPU memory so far, at last {memory[-1][1]:.0f} MiB.'
            blocks.append(Figure('memory', plot, alt, values=dict(memory=memory)))
        return blocks
