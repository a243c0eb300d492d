"""Writes `model-index.yml` and `configs/<task>/metafile.yml`, by which MIM-like tools find configs.

    python tools/setup/metafiles.py
    python tools/setup/metafiles.py --check

They list every swap and baseline; the first comment of a config becomes its description.
"""

import argparse
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PAPER = 'Knowledge Swapping via Learning and Unlearning'
TASKS = dict(
    classification='Image Classification',
    detection='Object Detection',
    segmentation='Semantic Segmentation',
    continual='Image Classification',
    real='Image Classification, Object Detection, Semantic Segmentation',
)


def describe(path: Path) -> str:
    """The first comment of a config as one line."""
    lines = []
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line.startswith('#'):
            break
        lines.append(line.lstrip('# '))
    return ' '.join(lines)


def metafile(task: str) -> str:
    """The metafile of a task."""
    folder = REPOSITORY / 'configs' / task
    paths = [*sorted(folder.glob('*.py')), *sorted(folder.glob('baselines/*.py'))]
    collection = dict(
        Name=f'knowswap_mm {task}',
        Metadata={'Architecture': ['LoRA'], 'Task': TASKS[task]},
        Paper=dict(Title=PAPER, URL='https://arxiv.org/abs/2502.08075'),
        README='README.md',
    )
    models = [
        {
            'Name': path.stem,
            'In Collection': collection['Name'],
            'Config': path.relative_to(REPOSITORY).as_posix(),
            'Description': describe(path),
            'Metadata': {'Task': TASKS[task]},
        }
        for path in paths
    ]
    content = dict(Collections=[collection], Models=models)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def contents() -> dict[Path, str]:
    """All files with their texts."""
    files = {REPOSITORY / 'configs' / task / 'metafile.yml': metafile(task) for task in TASKS}
    index = dict(Import=[path.relative_to(REPOSITORY).as_posix() for path in files])
    return {REPOSITORY / 'model-index.yml': yaml.safe_dump(index), **files}


def main() -> None:
    """Writes the files, or says which are not up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; fail on a difference')
    check = parser.parse_args().check
    wrong = [p for p, text in contents().items() if not p.is_file() or p.read_text('utf-8') != text]
    if check and wrong:
        names = [path.relative_to(REPOSITORY).as_posix() for path in wrong]
        sys.exit(f'{names} are not up to date. Fix: python tools/setup/metafiles.py')
    for path in wrong:
        path.write_text(contents()[path], encoding='utf-8')
    print(f'{len(wrong)} files written' if wrong else 'all files are up to date')


if __name__ == '__main__':
    main()
