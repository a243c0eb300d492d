"""Records of runs that never ran, as the rules about runs read them."""

from types import SimpleNamespace

from knowswap_mm.runs.reader import ScalarLog
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.schedule.phase import phase_name

ROLES = ('learn', 'forget', 'retain')
START = dict(learn=0.0, forget=90.0, retain=80.0)


def phase(index, kind, length=100, **settings):
    """A phase as the files of a run have it; all before it are as long."""
    weights = dict(learn=1.0, retain=0.2, forget=0.1, sparsity=0.005)
    bound = 7.0 if kind in ('forget', 'joint') else None
    given = dict(
        index=index, kind=kind, name=phase_name(index, kind), begin=index * length, length=length,
        epoch_length=None, weights=weights, bound=bound, merge_learned=False, merged_share=None,
    )  # fmt: skip
    return given | settings


def made_run(
    *states, kinds=('learn', 'forget'), start=START, logged=None, measured=None, classes=None,
    decisions=(), ending=None, audits=None, scale=100.0, settings=None, config=None,
):  # fmt: skip
    """A run by what it measured.

    Args:
        states: Metrics of the roles after each phase, in percent; fewer than phases if it stopped.
            A key ``role/class`` is the metric of a class.
        kinds: Kinds of the phases.
        start: Metrics before the swap, None if there are none.
        logged: Values by logged key and iteration.
        measured: Percents by role and iteration, of evaluations within phases.
        classes: Names by role.
        decisions, ending, audits: As a :class:`RunFolder` has them.
        scale: Best value of the metric.
        settings: Settings of all phases.
        config: Its text.
    """
    phases = [phase(index, kind, **(settings or {})) for index, kind in enumerate(kinds)]
    results = SwapResults('m', scale)
    results.kinds = kinds
    for name, at, values in zip(
        ['start', *(each['name'] for each in phases)],
        [0, *(each['begin'] + each['length'] for each in phases)],
        [start, *states],
        strict=False,
    ):
        if values is not None:
            keys = {key: key.partition('/') for key in values}
            named = {k: f'{r}/class/{c}' if c else f'{r}/m' for k, (r, _, c) in keys.items()}
            metrics = {named[key]: value * scale / 100 for key, value in values.items()}
            results.add(name, at, metrics)
    lines = {}
    for key, points in (logged or {}).items():
        for step, value in points.items():
            lines.setdefault(step, dict(step=step, iter=step))[key] = value
    evaluations = [
        {'step': step, f'{role}/m': value * scale / 100}
        for role, points in (measured or {}).items()
        for step, value in points.items()
    ]
    training = [lines[step] for step in sorted(lines)]
    return SimpleNamespace(
        results=results, phases=phases, config=config, decisions=list(decisions), ending=ending,
        scalars=ScalarLog(training, evaluations), audits=audits or {},
        classes={role: list((classes or {}).get(role, ())) for role in ROLES},
        finished=len(states) == len(phases), total=sum(each['length'] for each in phases),
    )  # fmt: skip


def curve(begin, values, every=10):
    """A curve of values at every tenth iteration."""
    return {begin + every * (place + 1): value for place, value in enumerate(values)}
