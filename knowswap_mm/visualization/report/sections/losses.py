"""The terms of the loss."""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.roles import FORGET, ROLES
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.plots import Curve, plot_curves
from knowswap_mm.visualization.report.blocks import Block, Figure, Paragraph, Section, Table

_HINT = "No scalars were logged. They are if vis_backends has dict(type='LocalVisBackend')."


@REPORT_SECTIONS.register_module()
class Losses(Section):
    """Loss of each role with the bound, the weighted terms, and the learning rate."""

    name, title, order = 'losses', 'Losses and learning rate', 30

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Plots of what was logged, and how often the bound was reached."""
        log = record.scalars
        if not log.training:
            return [Paragraph(_HINT, 'note')]
        blocks: list[Block] = []
        raw = {role: log.curve(f'{role}/raw') for role in ROLES}
        raw = {role: points for role, points in raw.items() if points}
        if raw:
            plot = plot_curves(
                [Curve.of_role(role, points) for role, points in raw.items()],
                record.phases,
                'loss of the host',
                log=True,
                bounds=FORGET in raw and any(p.get('bound') is not None for p in record.phases),
            )
            alt = (
                "The host's own loss on each role over the iterations, logarithmic; a dashed line "
                f'is the bound of the forget loss. Last values: {_last(raw)}.'
            )
            blocks.append(Figure('role-losses', plot, alt, 'Loss of each role.', raw))
        if bounds := self._bounds(record):
            blocks.append(bounds)
        found = {key: [p for p in log.curve(key) if p[1]] for key in log.keys('loss_')}
        terms = {key.removeprefix('loss_'): points for key, points in found.items() if points}
        if terms:
            others = [name for name in terms if name not in ROLES]
            curves = [
                Curve.of_role(name, points)
                if name in ROLES
                else Curve.other(name, points, others.index(name))
                for name, points in terms.items()
            ]
            plot = plot_curves(curves, record.phases, 'term of the total', log=True)
            alt = (
                'The weighted terms whose sum is minimised, over the iterations, logarithmic. Last '
                f'values: {_last(terms)}.'
            )
            caption = 'Weighted terms; one that is exactly zero is not drawn.'
            blocks.append(Figure('terms', plot, alt, caption, terms))
        if rate := log.curve('lr'):
            curve = Curve.other('learning rate', rate)
            plot = plot_curves([curve], record.phases, 'learning rate', restarts=True)
            alt = f'Learning rate, from {rate[0][1]:.2g} at first to {rate[-1][1]:.2g} at last.'
            blocks.append(Figure('learning-rate', plot, alt, values=dict(lr=rate)))
        return blocks

    @staticmethod
    def _bounds(record: RunFolder) -> Table | None:
        hits, losses = record.scalars.curve('forget/bound_hit'), record.scalars.curve('forget/raw')
        rows = []
        for phase in record.phases:
            begin, end = phase['begin'], phase['begin'] + phase['length']
            inside = [[y for x, y in curve if begin < x <= end] for curve in (hits, losses)]
            if phase.get('bound') is None or not all(inside):
                continue
            share = 100 * sum(inside[0]) / len(inside[0])
            rows.append([phase['name'], float(phase['bound']), inside[1][-1], share])
        header = ['phase', 'bound', 'forget loss at last', 'at the bound, %']
        caption = (
            'Bound of the forget loss: the forget term is zero once the loss has reached it. Share '
            "of logged steps in which it has, or of their samples with hinge='sample'"
        )
        return Table(caption, header, rows) if rows else None


def _last(curves: dict[str, list[tuple[int, float]]]) -> str:
    return ', '.join(f'{name} {points[-1][1]:.3g}' for name, points in curves.items())
