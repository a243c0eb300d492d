"""One line of a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knowswap_mm.visualization.phase_plot import STYLES
from knowswap_mm.visualization.plots.colours import MUTED

_DASHES = ('-', '--', ':', '-.')


@dataclass(frozen=True)
class Curve:
    """A value over the iterations.

    Attributes:
        label (str): Its name in the legend.
        points (Sequence[tuple[float, float]]): Iteration and value.
        colour (str): Colour of :mod:`colours`.
        marker (str): Marker of matplotlib; empty for none.
        dashes (str): Line style of matplotlib.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = MUTED
    marker: str = ''
    dashes: str = '-'

    @classmethod
    def of_role(
        cls, role: str, points: Sequence[tuple[float, float]], label: str = '', marked: bool = False
    ) -> Curve:
        """The curve of a role in its colour.

        Args:
            role (str): The role.
            points (Sequence[tuple[float, float]]): Iteration and value.
            label (str): Name in the legend; the role's by default.
            marked (bool): Whether each point has the role's marker.
        """
        colour, marker = STYLES[role]
        return cls(label or role, points, colour.lower(), marker if marked else '')

    @classmethod
    def other(cls, label: str, points: Sequence[tuple[float, float]], number: int = 0) -> Curve:
        """The curve of something that is no role's; dashes tell several apart.

        Args:
            label (str): Name in the legend.
            points (Sequence[tuple[float, float]]): Iteration and value.
            number (int): How many others there are before it.
        """
        return cls(label, points, MUTED, '', _DASHES[number % len(_DASHES)])
