"""What became of every class over several swaps in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowswap_mm.datasets.class_roles import ClassRoles
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES

START = 'start'
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
        """Record the model before the first swap.

        Args:
            classes (ClassRoles): Classes of the first swap.
            metrics (Mapping[str, float]): Metrics of the model.
        """
        measured = self._by_class(metrics)
        accuracy = {name: measured[name] for name in classes.old if name in measured}
        self.states.append(dict(name=START, classes=accuracy, groups={}, means={}))

    def add(self, classes: ClassRoles, metrics: Mapping[str, float]) -> None:
        """Record the model after the next swap.

        Args:
            classes (ClassRoles): Classes of the swap.
            metrics (Mapping[str, float]): Metrics of every class, whatever its role.
        """
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
                cells = ['-' if mean is None else f'{mean:.1f}' for mean in means]
                rows.append([f'mean {title}', *cells])
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [header, ['-' * width for width in widths], *rows]
        return '\n'.join(
            '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + ' |'
            for line in lines
        )

    @staticmethod
    def _title(name: str) -> str:
        return name if name == START else f'after {name}'

    @staticmethod
    def _cell(state: Mapping[str, Any], name: str) -> str:
        if name not in state['classes']:
            return '-'
        group = state['groups'].get(name)
        return f'{state["classes"][name]:.1f}' + (f' {group}' if group else '')
