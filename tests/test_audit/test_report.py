import json
import math
import os

import pytest

from knowswap_mm.audit import AuditReport, Estimate, Finding, Table, Verdict

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
