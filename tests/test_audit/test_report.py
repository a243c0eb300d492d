import json
import math
import os

import pytest

from knowswap_mm.audit import AuditReport, DepthCurve, Estimate, Finding, Table, Verdict

SOME = Estimate(0.5, 0.4, 0.6)


def report_of(*verdicts):
    findings = [
        Finding(f'attack {i}', 'something', SOME, SOME, SOME, verdict)
        for i, verdict in enumerate(verdicts)
    ]
    return AuditReport(findings, [Table('A table', 'text', ['x'], [[SOME], [None]])], dict(seed=0))


@pytest.mark.parametrize(
    ('verdicts', 'words'),
    [
        (['not recovered', 'recovered', 'unclear'], 'Not forgotten: recovered by attack 1.'),
        (['recovered', 'recovered'], 'recovered by attack 0; attack 1.'),  # names hold commas
        (['not recovered', 'unclear'], 'Forgetting is not shown: undecided for attack 1.'),
        (['not recovered', 'not applicable'], 'Forgotten, as far as these attacks can tell.'),
        (['no power', 'not applicable'], 'not shown: no attack behind the answers'),
        (['not recovered', 'no power'], 'can tell. Without power here: attack 1.'),
        (['not recovered', 'recognisable'], 'that never saw the classes: attack 1.'),
        (['not recovered', 'over-forgotten'], 'Over-forgotten, and thereby recognisable: attack 1'),
    ],
)
def test_nothing_is_forgotten_that_an_attack_recovers(verdicts, words):
    headline = report_of(*map(Verdict, verdicts)).headline()
    assert words in headline
    if 'recovered' in verdicts or 'unclear' in verdicts:
        assert 'Forgotten, as far' not in headline


def test_answers_alone_prove_nothing():
    report = report_of(Verdict.NOT_RECOVERED)
    assert report.headline().startswith('Forgotten, as far')
    report.findings[0].attack = 'answers'
    assert report.headline().startswith('Forgetting is not shown')


def test_attacks_of_one_kind_stand_together():
    report = report_of(*[Verdict.RECOVERED] * 3)
    report.findings[0].attack = 'probe, 1 shot'
    report.findings[2].attack = 'probe, 5 shots'
    assert 'recovered by probe (1 shot, 5 shots); attack 1.' in report.headline()


def test_plain_words():
    report = report_of(Verdict.NOT_RECOVERED, Verdict.RECOVERED, Verdict.RECOVERED)
    asked, probe, worst = report.findings
    asked.attack, asked.after, asked.before = 'answers', Estimate.exact(0), Estimate.exact(0.9)
    probe.meaning, worst.meaning = 'some have it', 'anyone has it'
    probe.before = worst.before = Estimate.exact(1)
    worst.after, worst.statistic = Estimate.exact(0.8), 'share of units'
    assert report.plain() == (
        'Asked directly, the model names 0.0 % of what it was to forget (before: 90.0 %). But the '
        'knowledge is still there: anyone has it (80.0 %; a model that never knew them: 50.0 %). '
        'Do not call these classes erased.'
    )
    probe.verdict, worst.verdict = Verdict.UNCLEAR, Verdict.NOT_RECOVERED
    assert 'cannot say' in report.plain()
    probe.verdict = Verdict.NOT_RECOVERED
    assert 'stronger ones may exist' in report.plain()


def test_curves_references_and_warnings(tmp_path):
    report = report_of(Verdict.RECOVERED)
    report.findings[0].meaning = 'anyone has it'
    models = {name: [SOME, SOME] for name in ('before', 'after', 'reference')}
    report.curves = [DepthCurve('probe', 'share', ['layers.0', 'head'], models)]
    report.references = Table('References', 'text', ['model'], [['reference']])
    report.warnings = ['one alone']
    page = report.write(tmp_path).read_text()
    assert '**Mind:** one alone' in page and '## References' in page
    assert '(recovery.svg)' in page and (tmp_path / 'recovery.svg').read_text().startswith('<?xml')
    assert '| layers.0 | 0.5 | 0.5 | 0.5 | 0 |' in page
    assert '- **attack 0**: something. If it recovers something: anyone has it.' in page
    stored = json.loads((tmp_path / 'audit.json').read_text())
    assert stored['curves'][0]['by_model']['after'][1] == dict(value=0.5, low=0.4, high=0.6)
    assert stored['references']['rows'] == [['reference']] and stored['warnings'] == ['one alone']
    assert stored['findings'][0]['meaning'] == 'anyone has it'


def test_page_and_json(tmp_path):
    report = report_of(Verdict.UNCLEAR)
    report.findings[0].floor = None
    report.findings[0].after = Estimate(1.0, -math.inf, math.inf)
    page = report.write(tmp_path / 'new' / 'folder')
    assert '| attack 0 | 0.500 [0.400, 0.600] | 1.000 [-inf, inf] | - | **unclear** |' in (
        page.read_text()
    )
    stored = json.loads((page.parent / 'audit.json').read_text())
    assert stored['findings'][0]['after'] == dict(value=1.0, low=None, high=None)
    assert stored['tables'][0]['rows'] == [[dict(value=0.5, low=0.4, high=0.6)], [None]]
    assert stored['headline'] == report.headline()


def test_an_interrupted_write_is_no_finished_audit(tmp_path, monkeypatch):
    replace = os.replace

    def interrupt(source, target):
        if str(target).endswith('.json'):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, 'replace', interrupt)
    with pytest.raises(KeyboardInterrupt):
        report_of(Verdict.UNCLEAR).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['audit.md']
