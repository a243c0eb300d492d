"""torchrun with our last words: ``python -m knowswap_mm.distributed.launch`` takes its options.

When a process fails, torchrun prints some forty lines of its own, in the midst of which the reason
stands. Here the reason is what ends the output, and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from knowswap_mm.console import SUMMARY


def describe(rank: int, failure: ProcessFailure) -> str:
    """The reason why a process ended, in at most five lines."""
    number = failure.exitcode
    if number < 0:
        name = signal.Signals(-number).name
        text = f'Rank {rank} was ended by the signal {name}.'
        if name == 'SIGKILL':
            text += ' Fix: if nobody sent it, the memory was full: use smaller batches or workers.'
        return text
    said = failure.message
    if isinstance(said, dict) and 'knowswap' in said.get('extraInfo', ()):  # see tell_launcher
        return said['message']
    return f'Rank {rank} ended with exit code {number}; its last words are above.'


def main(args: Sequence[str] | None = None) -> None:
    """Start processes and wait for them.

    Raises:
        SystemExit: With the reason, if one of them failed.
    """
    from torch.distributed import run

    os.environ[SUMMARY] = '1'
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.run(run.parse_args(args))
    except ChildFailedError as error:
        sys.exit(describe(*error.get_first_failure()))


if __name__ == '__main__':
    main()
