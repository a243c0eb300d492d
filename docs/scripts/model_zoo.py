"""Writes `docs/model_zoo.md`: the weights that ship with the code, and what swaps of them measured.

    python docs/scripts/model_zoo.py
    python docs/scripts/model_zoo.py --check
    python docs/scripts/model_zoo.py --demos work_dirs/demo work_dirs/demo_detection

The last one takes over what demos measured, before it writes the page.

Weights come from their cards (`weights/*.json`) and files, swaps from the tables and commands of
`docs/measurements/` and from `benchmarks/results/demos.json`, descriptions from the metafiles.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import yaml
from mmengine.config import Config

from knowswap_mm.roles import ROLES
from knowswap_mm.runs.files import RESULTS_FILE
from knowswap_mm.runs.reader import read_schedule
from knowswap_mm.runs.results import SwapResults

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / 'docs' / 'model_zoo.md'
DEMOS = REPOSITORY / 'benchmarks' / 'results' / 'demos.json'
#: Pages whose first section measures swaps of shipped weights: mean over seeds, test split.
MEASUREMENTS = dict(
    fashion_mnist='top-1 accuracy, %', shapes_detection='box AP, %', shapes_segmentation='mIoU, %'
)
#: What tables call the metrics of the demos.
METRICS = {
    'accuracy/top1': 'top-1 accuracy, %',
    'coco/bbox_mAP': 'box AP, %',
    'seg/mIoU': 'mIoU, %',
}
HEAD = """# Model zoo

Small models that ship with the code, in `weights/`, and swaps of them that were measured. They are
made for trying things out in minutes: 28 px images of clothes or shapes, 128 px scenes of shapes.
How each was trained, with commands and accuracies by class:
[weights/README.md](../weights/README.md). Large models come from their publishers:
[data.md](data.md#official-checkpoints).

Arrows lead from the model before the swap to its end, on classes by role. Swaps by the configs
under `configs/demo/` are one run each on validation images (`benchmarks/results/demos.json`); the
others are means over seeds on test images; [results.md](results.md) names the pages with each seed
and the command for all of them. A dash stands where a run gives no class that role.

This page is written by `docs/scripts/model_zoo.py`; a test compares it with what it is made of.
"""


def first_section(name: str) -> str:
    """The text of the first section of a page of measurements."""
    page = REPOSITORY / 'docs' / 'measurements' / f'{name}.md'
    return re.split(r'^## .+$', page.read_text(encoding='utf-8'), flags=re.MULTILINE)[1]


def first_table(text: str) -> list[list[str]]:
    """The rows of the first table of a text, without its head and without emphasis."""
    lines = text[text.index('\n|') + 1 :].split('\n\n')[0].splitlines()
    return [
        [re.sub(r'\*+|\\', '', c).strip() for c in line.strip('|').split('|')] for line in lines[2:]
    ]


def config_of(run: str, text: str) -> Path:
    """The config of a run: by the command of its section, or named like the others there."""
    named = dict(re.findall(r"'([^'=]+)=(configs/[\w./-]+\.py)'", text))
    for name, config in named.items():
        if run.split(':')[0] == name:
            return REPOSITORY / config
    stem = next(iter(named.values())).rsplit('_', 1)[0]
    return REPOSITORY / f'{stem}_{run}.py'


def weights_of(config: Path) -> str:
    """The weights that a config starts from."""
    return str(Config.fromfile(config).load_from)


def swaps_of(text: str, metric: str) -> list[tuple[str, str, list[str]]]:
    """Weights, config and row of each run of a section: its state at the end."""
    last: dict[str, list[str]] = {}
    start, run = None, ''
    for row in first_table(text):
        run = row[0] or run
        if row[0] == 'before the swap' or row[1] == 'start':
            start = row[2:5]
        if row[0] != 'before the swap':
            last[run] = row[2:5]
    found = []
    for run, numbers in last.items():
        config = config_of(run, text)
        cells = [f'{before} → {after}' for before, after in zip(start, numbers, strict=True)]
        name = config.relative_to(REPOSITORY).as_posix()
        found.append((weights_of(config), name, [metric, *cells]))
    return found


def demos() -> list[tuple[str, str, list[str]]]:
    """The same of the demos, by what they left."""
    found = []
    for config, run in json.loads(DEMOS.read_text(encoding='utf-8')).items():
        states = list(run['states'].values())
        cells = [f'{states[0][role]:.1f} → {states[-1][role]:.1f}' for role in ROLES]
        found.append((weights_of(REPOSITORY / config), config, [run['metric'], *cells]))
    return found


def take_over(folders: list[Path]) -> None:
    """Puts the results of finished demos into the file of demos."""
    known = json.loads(DEMOS.read_text(encoding='utf-8')) if DEMOS.is_file() else {}
    for folder in folders:
        results = SwapResults.read(folder / RESULTS_FILE)
        if len(results.states) != 1 + len(read_schedule(folder)['phases']):
            sys.exit(f'{folder} holds a run that is not finished. Fix: let it end, or resume it.')
        (config,) = (
            p for p in (REPOSITORY / 'configs' / 'demo').glob('*.py') if (folder / p.name).is_file()
        )
        states = {
            state: {role: round(results.value(state, role), 1) for role in ROLES}
            for state in results.states
        }
        metric = METRICS[results.primary]
        known[config.relative_to(REPOSITORY).as_posix()] = dict(metric=metric, states=states)
    DEMOS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + '\n', encoding='utf-8')


def descriptions() -> dict[str, str]:
    """What the metafiles say of each config."""
    index = yaml.safe_load((REPOSITORY / 'model-index.yml').read_text(encoding='utf-8'))
    files = (yaml.safe_load((REPOSITORY / path).read_text('utf-8')) for path in index['Import'])
    return {model['Config']: model['Description'] for file in files for model in file['Models']}


def section(card_file: Path, swaps: list[tuple[str, str, list[str]]], about: dict[str, str]) -> str:
    """The part of the page about one file of weights."""
    card = json.loads(card_file.read_text(encoding='utf-8'))
    weights = card_file.with_suffix('.safetensors')
    name = weights.relative_to(REPOSITORY).as_posix()
    (config,) = (REPOSITORY / 'configs').glob(f'*/pretrain/{card["config"]}.py')
    config = config.relative_to(REPOSITORY).as_posix()
    log = f'{card_file.stem}.log.txt'
    metrics = ', '.join(f'{key} {value:g}' for key, value in card['metrics'].items())
    lines = [
        f'## {card_file.stem}',
        '',
        f'| weights | `{name}`, {weights.stat().st_size / 2**20:.1f} MiB, {card["dtype"]} |',
        '| --- | --- |',
        f'| SHA-256 | `{card["file_sha256"]}` |',
        f'| parameters | {card["parameters"]:,} |',
        f'| classes | {", ".join(card["classes"])} |',
        f'| measured | {metrics} |',
        f'| trained by | [{config}](../{config}) |',
        f'| training | {card["iterations"]:,} iterations, seed {card["seed"]} |',
        f'| log | [{log}](../weights/{log}) |',
        '',
    ]
    own = [(config, cells) for start, config, cells in swaps if start == name]
    if own:
        lines += [
            '| swap | metric | learn | forget | retain |',
            '| --- | --- | --- | --- | --- |',
        ]
        for config, cells in own:
            lines.append(f'| [{Path(config).stem}](../{config}) | {" | ".join(cells)} |')
        lines += ['', *(f'    .venv/bin/python tools/train.py {config}' for config, _ in own), '']
        told = [f'- `{Path(c).stem}`: {about[c]}' for c, _ in own if c in about]
        lines += [*told, ''] if told else []
    return '\n'.join(lines)


def page() -> str:
    """The whole page."""
    pages = MEASUREMENTS.items()
    swaps = [swap for name, metric in pages for swap in swaps_of(first_section(name), metric)]
    swaps += demos()
    about = descriptions()
    cards = sorted((REPOSITORY / 'weights').glob('*.json'))
    parts = [HEAD, *(section(card, swaps, about) for card in cards)]
    return '\n'.join(parts).rstrip() + '\n'


def main() -> None:
    """Writes the page, or says that it is not up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; fail on a difference')
    parser.add_argument(
        '--demos', type=Path, nargs='+', default=[], help='folders of finished demos'
    )
    args = parser.parse_args()
    if args.demos:
        take_over(args.demos)
    text = page()
    if PAGE.is_file() and PAGE.read_text(encoding='utf-8') == text:
        print(f'{PAGE.name} is up to date')
    elif args.check:
        sys.exit(f'docs/{PAGE.name} is not up to date. Fix: python docs/scripts/model_zoo.py')
    else:
        PAGE.write_text(text, encoding='utf-8')
        print(f'docs/{PAGE.name} written')


if __name__ == '__main__':
    main()
