"""What a check of the installation found."""

from __future__ import annotations

from dataclasses import dataclass

STATES = ('ok', 'warning', 'problem')


@dataclass(frozen=True)
class Finding:
    """One line of ``knowswap doctor``.

    Args:
        state (str): ``ok``, ``warning`` (something will be slow, or cannot be used) or ``problem``
            (swaps will fail).
        text (str): What was found.
        fix (str | None): The command that mends it, or what to do; every problem has one.

    Raises:
        ValueError: If the state is unknown, or a problem has no fix.
    """

    state: str
    text: str
    fix: str | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f'state must be one of {STATES}, not {self.state!r}')
        if self.state == 'problem' and not self.fix:
            raise ValueError(f'the problem {self.text!r} needs a fix')

    def __str__(self) -> str:
        lines = [f'{self.state:8}{self.text}']
        if self.fix:
            lines.append(f'{"":8}Fix: {self.fix}')
        return '\n'.join(lines)
