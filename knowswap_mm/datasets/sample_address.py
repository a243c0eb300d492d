"""What the sampler hands to the data set."""

from __future__ import annotations

from typing import NamedTuple


class SampleAddress(NamedTuple):
    """One draw of the sampler.

    Attributes:
        role (str): Role that the sample plays in its batch.
        source (str): Role view that the sample is taken from; differs from ``role`` only for
            learned samples that were merged into the retain set.
        index (int): Index in that view.
        draw (int): Number of the draw from its pool, counted over all processes and the whole
            run; with the seed it fixes the augmentation.
        phase (int): Index of the phase.
    """

    role: str
    source: str
    index: int
    draw: int
    phase: int
