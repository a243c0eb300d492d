"""Run a long compilation by ninja with one line of progress instead of its output.

Usage::

    python tools/setup/with_progress.py LOG COMMAND [ARGUMENT ...]

The output of the command goes to the file LOG. Its end is shown if the command fails. When this is
interrupted, the command ends with all that it started. Needs the standard library only.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time

#: What ninja writes before a step: ``[12/170]``.
STEP = re.compile(r'\[(\d+)/(\d+)\]')
SHOWN = 20
#: Seconds between two lines where the output is no terminal.
PAUSE = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds that pip has to take its temporary files away.
PATIENCE = 10.0


def minutes(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


#: From so many files on the speed is known.
ENOUGH = 4


def describe(done: int, total: int, passed: float, since_first: float) -> str:
    """What is done after so many seconds, and how long the rest takes at that speed.

    ninja names a file when it is compiled, so the speed is known from the end of the first on.
    """
    text = f'[setup] compiled {done} of {total} files in {minutes(passed)}'
    if not ENOUGH <= done < total:
        return text
    return f'{text}, about {minutes(since_first / (done - 1) * (total - done))} left'


class Interrupted(BaseException):
    """A signal asked this process to end."""


def interrupt(number: int, _: object) -> None:
    raise Interrupted(number)


def follow(child: subprocess.Popen, log: str) -> None:
    """Write what the command says into the log, and show how far it is."""
    begun = shown = time.monotonic()
    terminal, first, last = sys.stdout.isatty(), None, ''
    try:
        with open(log, 'w', encoding='utf-8') as file:
            for line in child.stdout:
                file.write(line)
                file.flush()
                step = STEP.search(line)
                if step is None:
                    continue
                now = time.monotonic()
                first = first or now
                last = describe(*map(int, step.groups()), now - begun, now - first)
                if terminal:
                    print(f'\r\x1b[K{last}', end='', flush=True)
                elif now - shown >= PAUSE:
                    print(last, flush=True)
                    shown = now
    finally:
        if terminal and last:
            print(flush=True)


def end(child: subprocess.Popen) -> None:
    """End the command and all that it started, which is a group of processes of its own."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(PATIENCE)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('log', help='file for the output')
    parser.add_argument('command', nargs=argparse.REMAINDER, help='what to run')
    args = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    begun = time.monotonic()
    child = subprocess.Popen(
        args.command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,
    )
    try:
        follow(child, args.log)
        code = child.wait()
    except Interrupted as error:
        end(child)
        passed = minutes(time.monotonic() - begun)
        print(f'[setup] interrupted after {passed}; the log is {args.log}', file=sys.stderr)
        sys.exit(128 + error.args[0])
    if code:
        with open(args.log, encoding='utf-8') as file:
            print(''.join(file.readlines()[-SHOWN:]), file=sys.stderr)
        sys.exit(f'[setup] error: this failed with code {code}, see {args.log}')
    print(f'[setup] installed in {minutes(time.monotonic() - begun)}', flush=True)


if __name__ == '__main__':
    main()
