"""The structure of the official training step."""

from __future__ import annotations

from torch import Tensor

from training_steps.plain_loop import PlainLoop


class OfficialLoop(PlainLoop):
    """As the official code goes about it: the host, model and data are those of the other loops.

    Two forward passes, a square, a sum and a root for each group, and every value of the log read
    back from the device in every step (read off the official step; no code was taken over).
    """

    def report(self, *values: Tensor) -> None:
        """Read each value back; the device waits."""
        self.log = [value.item() for value in values]
