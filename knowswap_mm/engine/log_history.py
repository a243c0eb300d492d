"""What a checkpoint keeps of the logged values."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor

#: Values of each logged term in a checkpoint; 16 bytes each.
KEPT = 1000


def bounded(
    scalars: Mapping[str, HistoryBuffer], processor: LogProcessor
) -> dict[str, HistoryBuffer]:
    """Cut histories to what a log line still looks at.

    mmengine keeps each value since the begin of the run, so that each checkpoint is larger than
    the one before (issue 24). All values are in the log files.

    Args:
        scalars (Mapping[str, HistoryBuffer]): Histories by name.
        processor (LogProcessor): Averages over windows of them. If one of them is the whole run,
            nothing is cut.

    Returns:
        dict[str, HistoryBuffer]: Shorter copies; a resumed run logs the same with them.
    """
    windows = [processor.window_size, *(c.get('window_size') for c in processor.custom_cfg)]
    if 'global' in windows:
        return dict(scalars)
    kept = max([KEPT, *(window for window in windows if isinstance(window, int))])
    found = {}
    for name, history in scalars.items():
        values, counts = history.data
        found[name] = HistoryBuffer(values[-kept:], counts[-kept:], history.max_length)
    return found
