"""torchrun with our last words: ``python -m knowswap_mm.distributed.launch`` takes its options.

When a process fails, torchrun prints some forty lines of its own, in the midst of which the reason
stands. Here the reason is what ends the output, and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

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
    if _told(failure):
        return failure.message['message']
    return f'Rank {rank} ended with exit code {number}; its last words are above.'


def cause(failures: Mapping[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """The rank that failed first, and its failure.

    torchrun ends the others by SIGTERM as soon as one has failed, and notes whole seconds: of one
    second, a process that says why it failed is the one to hear.
    """

    def order(rank: int) -> tuple[bool, int, bool]:
        failure = failures[rank]
        return failure.exitcode == -signal.SIGTERM, failure.timestamp, not _told(failure)

    first = min(failures, key=order)
    return first, failures[first]


def _told(failure: ProcessFailure) -> bool:
    """Whether the process itself gave the reason, see :func:`knowswap_mm.console.tell_launcher`."""
    said = failure.message
    return isinstance(said, dict) and 'knowswap' in said.get('extraInfo', ())


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
        sys.exit(describe(*cause(error.failures)))


if __name__ == '__main__':
    main()
