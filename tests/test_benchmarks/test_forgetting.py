"""benchmarks/forgetting.py: gaps and ratios by hand, bars, and the table of its rows."""

import json
import runpy
import sys

import pytest

from knowswap_mm.errors import FileError
from tests.helpers.doc_blocks import REPOSITORY

FILE = REPOSITORY / 'benchmarks' / 'forgetting.py'


@pytest.fixture(scope='module')
def module():
    return runpy.run_path(str(FILE))


def models(after, *references):
    named = {f'reference{" " * bool(i)}{i + 1 if i else ""}': v for i, v in enumerate(references)}
    return {name: dict(value=value) for name, value in dict(named, after=after).items()}


def audit(after=0.6, floors=(0.5, 0.6), steps=(16, 16), others=(16, 16), distance=0.1):
    """What five shots, a prompt, relearning and the distance of answers found; one block."""

    def finding(attack, statistic='share', **details):
        found = details['by_model']['after'] if 'by_model' in details else dict(value=-4.0)
        return dict(attack=attack, statistic=statistic, after=found, details=details)

    counts = dict(after=list(steps), reference=list(others))
    curve = {name: [dict(value=each['value'] - 0.2), each]
             for name, each in models(after, *floors).items()}  # fmt: skip
    return dict(
        headline='?',
        curves=[dict(attack='prototype probe, 5 shots', places=['block', 'head'], by_model=curve)],
        findings=[
            finding('prototype probe, 5 shots', by_model=models(after, *floors)),
            finding('visual prompt', by_model=models(0.3, 0.1, 0.1)),
            finding('relearning', 'minus the logarithm', steps=counts),
            finding('relearning from prototype rows', 'minus the logarithm', steps=counts),
            finding('answer distance', 'total variation', by_model=models(distance, 0.1, 0.1)),
        ],
    )  # fmt: skip


def test_gaps_by_hand(module):
    gaps = module['gaps_of'](audit())
    assert gaps['prototype probe, 5 shots'] == dict(block=5.0, head=5.0)  # 60 against 55
    assert gaps['visual prompt'] == dict(head=20.0)
    assert set(gaps) == {'prototype probe, 5 shots', 'visual prompt'}  # shares alone
    assert module['gaps_of'](dict(findings=[], curves=[])) == {}


def test_ratio_of_steps(module):
    ratio = module['steps_ratio']
    assert ratio(audit(steps=(8, 32), others=(8, 8)), 'relearning') == 2.0  # 16 against 8
    assert ratio(audit(steps=(8, None)), 'relearning') is None
    assert ratio(audit(), 'no such attack') is None


def test_bars(module):
    def row(seed, **changes):
        page = audit(**changes)
        return dict(
            benchmark='b', objective='o', seed=seed,
            start=dict(learn=0.0, forget=90.0, retain=80.0),
            end=dict(learn=90.0, forget=0.0, retain=79.0), gaps=module['gaps_of'](page),
            relearning=module['steps_ratio'](page, 'relearning'),
            prototype_relearning=module['steps_ratio'](page, 'relearning from prototype rows'),
            total_variation=module['value_of'](page, 'answer distance'), references_deviate=1.0,
        )  # fmt: skip

    misses = module['misses']
    good = [row(seed, after=after) for seed, after in enumerate((0.55, 0.56, 0.54))]
    assert misses(good) == []
    far = [row(seed, after=after, distance=0.3) for seed, after in enumerate((0.69, 0.7, 0.71))]
    found = misses(far)
    assert [text.split(':')[0] for text in found[:2]] == ['head', 'layers']
    assert 'off by 16.0 > 10' in found[2] and 'total variation 0.30 > 0.15' in found[3]
    # So few seeds, so far apart, say nothing.
    assert misses([row(0, after=0.4), row(1, after=0.7)])[0].startswith('head')
    assert misses(good[:1])[0].startswith('head')
    quick = [row(seed, after=0.55, steps=(4, 4)) for seed in range(3)]
    assert misses(quick) == [
        'relearning: 0.25 times the steps',
        'prototype_relearning: 0.25 times the steps',
    ]
    good[0]['end']['forget'] = 3.0
    assert misses(good) == ['forget 1.0 > 0.5']
    assert '| b | o | 80.0 | 90.0 / 1.0 / 79.0 | +0.0 |' in module['table'](good)


def test_a_table_of_finished_audits(module, tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'runs'
    folder.mkdir()
    states = {
        state: dict(iteration=i, metrics={f'{role}/accuracy/top1': 10.0 * (i + 1)
                                          for role in ('learn', 'forget', 'retain')})
        for i, state in enumerate(('start', 'phase1_learn'))
    }  # fmt: skip
    runs = [dict(name=name, seed=seed, primary='accuracy/top1', scale=100.0, states=states)
            for name in ('deep', 'retrain') for seed in (0, 1)]  # fmt: skip
    (folder / 'results.json').write_text(json.dumps(runs))
    audits = [dict(name=run['name'], seed=run['seed'], audit=audit()) for run in runs]
    (folder / 'audits.json').write_text(json.dumps([*audits, dict(audits[0], audit=None)]))
    out = tmp_path / 'forgetting.json'
    words = ['forgetting.py', f'tiny={folder}', '--reference', 'retrain', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', words)
    module['main']()
    rows = json.loads(out.read_text())['rows']
    assert [(row['objective'], row['seed']) for row in rows] == [('deep', 0), ('deep', 1)]
    assert rows[0]['end'] == dict(learn=20.0, forget=20.0, retain=20.0)
    assert '| tiny | deep | 10.0 | 20.0 / 20.0 / 20.0 |' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*words[:1], f'tiny={tmp_path}', *words[2:]])
    with pytest.raises(SystemExit, match='no NAME=FOLDER'):
        module['main']()
    (folder / 'audits.json').write_text('{')
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(FileError):
        module['main']()
