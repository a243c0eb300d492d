"""Writes `docs/hosts.md`: host configs that ship with the libraries, and what a swap makes of them.

    python docs/scripts/hosts.py
    python docs/scripts/hosts.py --only swin --again
    python docs/scripts/hosts.py --page

Each host is tried in a process of its own, with random weights and small images. What was found is
kept in `benchmarks/results/hosts.json` after each host: a run that was stopped goes on where it
was, `--again` tries hosts that were tried, and `--page` writes the page alone.
"""

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REPOSITORY = SCRIPTS.parents[1]
sys.path.insert(0, str(SCRIPTS))

from host_list import HOSTS  # noqa: E402

PAGE = REPOSITORY / 'docs' / 'hosts.md'
RESULTS = REPOSITORY / 'benchmarks' / 'results' / 'hosts.json'
HEAD = """# Hosts

Configs that ship with mmpretrain, mmdet and mmseg, each taken as it is: its pretrained weights are
set aside, its number of classes is raised by two, and its weights are loaded from a file. A script
builds it, trains two steps of a learn phase, exports it, and compares the export with the merged
model, and what it says of old classes with the plain host. Weights are random and the networks
shallow, so that it takes seconds on a CPU; widths, names and structure are those of the config.

- **works**: with `model = dict(type='knowswap_mm.KnowledgeSwapper', host=..., lora=dict(),
  head=dict(old_classes=...))` and nothing else.
- **works with keys**: with what stands behind it under `model`; without, the message says why not.
- **refused**: before training, with the message.

Nothing else should stand here: no host crashes, and none trains without effect in silence. If one
does for you, please open an issue with its config.

This page is written by `docs/scripts/hosts.py`; a test compares it with what was found, and tries
a dozen of the hosts again.
"""
ORDER = ('works', 'works with keys', 'refused', 'silent', 'crashes')


def child(pipe, library: str, config: str, options: dict) -> None:
    """Try one host and send what was found."""
    import torch
    from host_trial import try_host

    torch.set_num_threads(1)
    pipe.send(try_host(library, config, options))


def try_apart(library: str, config: str, options: dict, seconds: float) -> dict:
    """Try one host in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context('fork')
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(there, library, config, options))
    start = time.monotonic()
    process.start()
    there.close()
    try:
        if here.poll(seconds):
            found = here.recv()
        else:
            found = dict(outcome='crashes', keys='', message=f'not done after {seconds:.0f} s')
    except EOFError:
        process.join()
        message = f'the process ended with {process.exitcode}'
        found = dict(outcome='crashes', keys='', message=message)
    if process.is_alive():
        process.join(5)
        process.kill()
    process.join()
    return dict(found, seconds=round(time.monotonic() - start, 1))


def page(results: dict) -> str:
    """The text of the page."""
    rows = []
    for family, library, config, _ in HOSTS:
        found = results.get(f'{library}/{config}')
        if found is None:
            continue
        said = ': '.join(part for part in (_keys(found), _text(found['message'])) if part)
        name = config.removesuffix('.py')
        rows.append(f'| {family} | {library} | `{name}` | {found["outcome"]} | {said} |')
    counted = [found['outcome'] for found in results.values()]
    counts = ', '.join(
        f'{counted.count(outcome)} {outcome}' for outcome in ORDER if outcome in counted
    )
    table = [
        '| family | library | config | outcome | keys, message |',
        '|---|---|---|---|---|',
        *rows,
    ]
    return f'{HEAD}\n{len(rows)} configs: {counts}.\n\n' + '\n'.join(table) + '\n'


def _keys(found: dict) -> str:
    return f'`{found["keys"]}`'.replace('|', '\\|') if found['keys'] else ''


def _text(message: str) -> str:
    """A message as a cell of a table."""
    for mark in '\\|<>*_[]`':
        message = message.replace(mark, f'\\{mark}')
    return message


def read() -> dict:
    """What was found so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main() -> None:
    """Try hosts, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='', help='a part of the names of the configs')
    parser.add_argument('--again', action='store_true', help='also those that were tried')
    parser.add_argument('--page', action='store_true', help='write the page alone')
    parser.add_argument('--seconds', type=float, default=300, help='time limit of a host')
    args = parser.parse_args()
    results = read()
    if not args.page:
        import host_trial  # noqa: F401  imported once, for all processes
        import mmseg.models  # noqa: F401
    for family, library, config, options in [] if args.page else HOSTS:
        key = f'{library}/{config}'
        if args.only not in key or (key in results and not args.again):
            continue
        found = try_apart(library, config, options, args.seconds)
        print(family, key, found, flush=True)
        results = read() | {key: found}  # another process may try others
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + '\n')
    known = {f'{library}/{config}' for _, library, config, _ in HOSTS}
    PAGE.write_text(page({key: found for key, found in results.items() if key in known}))


if __name__ == '__main__':
    main()
