"""How far an audit is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

#: Seconds between two lines.
_EVERY = 15.0


class Progress:
    """Counts images that pass through models, and says how many are left and how long they take.

    The time is an upper bound where a part may end early, as relearning does. What is worked out
    from features that were read before is not counted: it takes no images.

    Args:
        say (Callable[[str], object] | None): Takes a line; None for silence.
        every (float): Seconds between two lines, but for the first line of a part.
        clock (Callable[[], float]): Seconds.
    """

    def __init__(
        self,
        say: Callable[[str], object] | None = None,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.say, self.every, self.clock = say, every, clock
        self.begin([])

    def begin(self, plan: Sequence[tuple[str, int]], shared: int = 0) -> None:
        """Begin an audit, whose parts read so many images at most, and all together ``shared``."""
        self._plan, self._shared = list(plan), shared
        self._number, self._here, self._done = -1, 0, 0
        self._sharing, self._busy = False, 0.0
        self._since = self._said = self.clock()

    def next(self) -> None:
        """The next part begins."""
        self._number += 1
        self._here, self._since = 0, self.clock()
        self._tell()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """What is counted in the block is of use for all parts."""
        self._sharing, self._since = True, self.clock()
        try:
            yield
        finally:
            self._sharing = False

    def count(self, images: int) -> None:
        """So many images have passed through a model."""
        if self._sharing:
            self._shared = max(self._shared - images, 0)
        else:
            self._here += images
        now = self.clock()
        self._done += images
        self._busy += now - self._since
        self._since = now
        if now - self._said >= self.every:
            self._tell()

    def left(self) -> float | None:
        """Seconds that are left at most; None as long as nothing is known."""
        if not self._done:
            return None
        later = sum(images for _, images in self._plan[self._number + 1 :])
        here = self._plan[self._number][1] if 0 <= self._number < len(self._plan) else 0
        images = later + max(here - self._here, 0) + self._shared
        return images * self._busy / self._done

    def _tell(self) -> None:
        self._said = self.clock()
        if self.say is None or not 0 <= self._number < len(self._plan):
            return
        name = self._plan[self._number][0]
        line = f'audit, part {self._number + 1} of {len(self._plan)}: {name}'
        left = self.left()
        if left is not None:
            minutes = left / 60
            shown = f'{minutes:.0f} min' if minutes >= 1.5 else f'{max(left, 1):.0f} s'
            line += f', at most {shown} left'
        self.say(line)
