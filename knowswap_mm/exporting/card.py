"""The model card of an export: Markdown with the metadata that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.runs.files import RECORD_FILE, RESULTS_FILE
from knowswap_mm.runs.results import START, SwapResults
from knowswap_mm.version import __version__
from knowswap_mm.visualization.tables import markdown_table, markdown_text

CARD_FILE = 'README.md'
#: What hubs call the task of a host library.
_TASKS = dict(
    mmpretrain='image-classification', mmdet='object-detection', mmseg='image-segmentation'
)
_INFERENCERS = dict(
    mmpretrain=(
        'from mmpretrain import ImageClassificationInferencer',
        "tool = ImageClassificationInferencer('config.py', pretrained='model.pth')",
    ),
    mmdet=(
        'from mmdet.apis import DetInferencer',
        "tool = DetInferencer('config.py', 'model.pth')",
    ),
    mmseg=(
        'from mmseg.apis import MMSegInferencer',
        "tool = MMSegInferencer('config.py', 'model.pth')",
    ),
)
#: Classes that a line names.
_NAMED = 50
_CAVEAT = (
    'Forgetting is of answers, not erasure: of a forgotten class the model says something else, '
    'with confidence. What it knew of the class may still be in its features, and a little '
    'training may bring it back. Do not rely on it where knowledge has to be gone; an audit '
    '(`knowswap audit`) tells how much is left.'
)


def check_license(name: str) -> None:
    """Refuse what no hub takes as the identifier of a licence.

    Raises:
        ConfigError: Names ``--license``.
    """
    if not re.fullmatch(r'[a-z0-9][a-z0-9.+-]*', name):
        fix = 'write it as hubs do, e.g. apache-2.0, mit, cc-by-nc-4.0 or other'
        raise ConfigError('--license', name, 'is no identifier of a licence', fix)


@dataclass(frozen=True)
class ModelCard:
    """What a reader of an export must know of it.

    Attributes:
        name (str): Name of the export.
        library (str): The host library, e.g. ``mmpretrain``.
        base (str): File of the weights that the swap began with; empty if it is not known.
        license (str): Identifier of the licence.
        classes (dict[str, list[str]]): Names by role.
        dropped (Sequence[str]): Classes that have no row in the head.
        measured (tuple[SwapResults, str] | None): Results of the run, and the state that the
            checkpoint is; None if it was not evaluated.
    """

    name: str
    library: str
    base: str
    license: str
    classes: dict[str, list[str]]
    dropped: Sequence[str] = ()
    measured: tuple[SwapResults, str] | None = None

    def text(self) -> str:
        """The file."""
        head = yaml.safe_dump(self.metadata(), sort_keys=False, allow_unicode=True, width=1000)
        return f'---\n{head}---\n\n{self.body()}'

    def metadata(self) -> dict[str, Any]:
        """What hubs read."""
        task = _TASKS[self.library]
        tags = [self.library, 'knowledge-swapping', 'machine-unlearning', 'lora']
        found: dict[str, Any] = dict(license=self.license, library_name=self.library)
        found |= dict(pipeline_tag=task, tags=tags)
        if base := re.sub(r'[^A-Za-z0-9._-]+', '-', Path(self.base).stem).strip('-.'):
            found['base_model'] = base
        if self.measured:
            found['metrics'] = [self.measured[0].primary]
            results = [
                dict(
                    task=dict(type=task),
                    dataset=dict(name=f'{role} classes of the swap', type='custom'),
                    metrics=[dict(type=self.measured[0].primary, name=f'{role}, %', value=after)],
                )
                for role, _, after in self._figures()
                if after is not None and after == after  # NaN is no figure
            ]
            found['model-index'] = [dict(name=' '.join(self.name.split()), results=results)]
        return found

    def body(self) -> str:
        """What people read."""
        base = f' `{Path(self.base).name.replace("`", "")}`' if self.base else ' a pretrained model'
        lines = [
            f'# {markdown_text(self.name)}',
            f'A model of {self.library}, made from{base} by a knowledge swap that was asked to '
            f'learn {_count(self.classes[LEARN])}, to forget {_count(self.classes[FORGET])} and to '
            f'keep {_count(self.classes[RETAIN])}; the metrics say how far it came. The adapters '
            'of the swap are merged into the weights.',
            '## Classes',
            '\n'.join(f'- {role}: {_listed(self.classes[role])}' for role in ROLES),
        ]
        if self.dropped:
            lines.append(f'Without a row in the head: {_listed(self.dropped)}.')
        if self.classes[FORGET]:
            lines += ['## What forgetting means here', _CAVEAT]
        lines += ['## Metrics', self._table()]
        code = [*_INFERENCERS[self.library], "tool('image.jpg')"]
        lines += ['## Use', '\n'.join(f'    {line}' for line in code)]
        lines.append(f'Licence: {self._license()} Exported by knowswap_mm {__version__}.')
        return '\n\n'.join(lines) + '\n'

    def _license(self) -> str:
        if self.license == 'unknown':
            return 'not stated; that of the base model and of the training data holds.'
        return f'{self.license}.'

    def _table(self) -> str:
        if not self.measured:
            return 'The swap did not evaluate this checkpoint.'
        results = self.measured[0]
        rows = [
            [role, *('–' if value is None else f'{value:.1f}' for value in values)]
            for role, *values in self._figures()
        ]
        text = f'{markdown_text(results.primary)} in percent of its best value, on the validation'
        text += ' data of the swap, before the adapters were merged. Of forget, 0 was asked for.'
        return f'{text}\n\n{markdown_table(["role", "before the swap", "after"], rows)}'

    def _figures(self) -> list[tuple[str, float | None, float | None]]:
        results, state = self.measured
        ends = [results.by_role(each) for each in (START, state)]
        found = [(role, *(end[role] for end in ends)) for role in ROLES]
        return [each for each in found if each[1:] != (None, None)]


def read_results(checkpoint: dict[str, Any], path: Path) -> tuple[SwapResults, str] | None:
    """What the run measured of a checkpoint, and the state that it is; None if nothing was.

    The evaluation of a phase comes after its checkpoint, so it is the run's folder that has it:
    that of the checkpoint, if it is of the same run.
    """
    meta, swap = checkpoint.get('meta'), checkpoint.get('swap')
    done = meta.get('iter') if isinstance(meta, dict) else None
    run = swap.get('run') if isinstance(swap, dict) else None
    try:
        record = read_json(path.parent / RECORD_FILE)
        if run is None or not isinstance(record, dict) or record.get('run') != run:
            return None
        results = SwapResults.read(path.parent / RESULTS_FILE)
    except FileError:
        return None
    for state, entry in reversed(results.states.items()):
        if state != START and entry['iteration'] == done:
            return results, state
    return None


def _count(names: Sequence[str]) -> str:
    return f'{len(names) or "no"} class{"" if len(names) == 1 else "es"}'


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    shown = ', '.join(markdown_text(name) for name in names[:_NAMED]) or 'none'
    return f'{shown} and {more} more (`classes.json` has all)' if more > 0 else shown
