"""Are the references a sound floor?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knowswap_mm.audit.case import Case
from knowswap_mm.audit.findings import Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.roles import RETAIN
from knowswap_mm.runs.reader import ScalarLog

#: Points (percent of the best value) by which references that were trained alike may differ in
#: their metric of the retained classes; they should differ by seeds alone (issue 27).
RANGE = 3.0
#: Points by which a converged reference may lie below the audited model, which had more training.
BELOW = 5.0
#: Points that the last quarter of a training may still bring to a converged model.
STILL = 1.0
#: Evaluations from which a curve says something.
_FEWEST = 4


@dataclass
class ReferenceCheck:
    """What is known of the references.

    Attributes:
        table (Table | None): The retain metric of audited model and references, and how their
            trainings ended; None without a reference.
        doubt (str): Why they are no sound floor; empty if nothing speaks against it.
        warnings (list[str]): What a reader should know besides.
    """

    table: Table | None
    doubt: str
    warnings: list[str]

    @classmethod
    def of(cls, case: Case, files: Sequence[str | Path]) -> ReferenceCheck:
        """Check the references of a case, which were read from these files."""
        if not case.references:
            return cls(None, '', [])
        audited = retain_metric(case.after, case)
        samples = retained_samples(case)
        rows, doubts, values = [['audited model', audited, None, '']], [], []
        for number, (subject, file) in enumerate(zip(case.references, files, strict=True), 1):
            name = 'the reference' if len(files) == 1 else f'reference {number}'
            value = retain_metric(subject, case)
            converged, words = ending_of(Path(file), case)
            gap = None if value is None or audited is None else value - audited
            rows.append([name.removeprefix('the '), value, gap, words])
            if value is not None:
                values.append(value)
            if gap is not None and -gap > max(BELOW, by_chance([value, audited], samples)):
                doubts.append(
                    f'{name} has {value:.1f} % on the retained classes, the audited model '
                    f'{audited:.1f} %: it is not converged, or was trained on less'
                )
            if converged is False:
                doubts.append(f'{name} was not converged ({words})')
        spread = max(values) - min(values) if values else 0.0
        if values and spread > max(RANGE, by_chance(values, samples)):
            doubts.append(
                f'the references differ by {spread:.1f} points on the retained classes '
                f'(more than {RANGE:g}): they were not trained alike, or not long enough'
            )
        warnings = []
        if len(case.references) == 1:
            warnings.append(
                'There is one reference alone, so that nobody knows how far such models lie apart: '
                'give two or more (--reference a.pth b.pth).'
            )
        if values and not doubts and any('not known' in row[3] for row in rows):
            warnings.append(
                'Whether all references were trained to the end is not known: keep their '
                'checkpoints in the folders of their runs, and evaluate them while they train.'
            )
        text = (
            f'`{case.reader.primary}` of the retained test data in percent, its difference to the '
            'audited model, and how the training ended. A floor is sound if its models are '
            f'converged and alike: at most {BELOW:g} points below the audited model, at most '
            f'{RANGE:g} apart, or as far as {samples} test images allow by chance.'
        )
        header = ['model', 'retained', 'difference', 'end of its training']
        return cls(Table('References', text, header, rows), '; '.join(doubts), warnings)


def retain_metric(subject: Subject, case: Case) -> float | None:
    """The primary metric of the retained classes in percent; None if they have no test data."""
    value = subject.metrics().get(f'{RETAIN}/{case.reader.primary}')
    return None if value is None else 100 * float(value) / case.reader.scale


def retained_samples(case: Case) -> int:
    """How many test samples the metric of the retained classes is of."""
    views = case.data.as_tested.views
    return len(views[RETAIN]) if RETAIN in views else 0


def by_chance(values: Sequence[float], samples: int) -> float:
    """Points by which equally good models may differ on so many samples (95 %).

    The metrics in percent are taken for shares of the samples, which is a rough estimate for a mean
    precision.
    """
    mean = min(max(sum(values) / len(values) / 100, 0.0), 1.0)
    return 196 * math.sqrt(2 * mean * (1 - mean) / samples) if samples else math.inf


def ending_of(file: Path, case: Case) -> tuple[bool | None, str]:
    """Whether the training that left a checkpoint had converged; None if nothing tells.

    The log of its run, in the folder of the file, is asked for the metric of the retained classes,
    or of all. Evaluations after the iteration or epoch in the name of the file do not count.
    """
    log = ScalarLog.of_run(file.parent)
    primary = case.reader.primary
    for key in (f'{RETAIN}/{primary}', primary):
        points = log.evaluated(key)
        if number := re.fullmatch(r'(?:iter|epoch)_(\d+)', file.stem):
            points = [(step, value) for step, value in points if step <= int(number.group(1))]
        if len(points) >= _FEWEST:
            return judge_curve([100 * value / case.reader.scale for _, value in points])
    return None, 'not known: too few evaluations beside the file'


def judge_curve(values: Sequence[float]) -> tuple[bool, str]:
    """Whether a curve in percent has come to rest: its last quarter brought little.

    The best value of the last quarter (at least one value) is compared with the best one before.
    """
    last = max(len(values) // 4, 1)
    before, end = max(values[:-last]), max(values[-last:])
    gain = end - before
    words = f'its last quarter brought {gain:+.1f} points, to {end:.1f} %'
    return gain <= STILL, words
