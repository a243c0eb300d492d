"""References that are no sound floor, and what that does to verdicts."""

import json
from types import SimpleNamespace

import pytest

from knowswap_mm.audit.case import Case
from knowswap_mm.audit.references import ReferenceCheck, by_chance, ending_of, judge_curve
from knowswap_mm.audit.statistics import Estimate

READER = SimpleNamespace(unit='image', primary='accuracy/top1', scale=100.0)
CASE = SimpleNamespace(reader=READER)


class Model:
    """A model with a given retain metric and a given statistic."""

    def __init__(self, retained, value=0.5):
        self.retained, self.value = retained, value

    def metrics(self):
        return {} if self.retained is None else {'retain/accuracy/top1': self.retained}

    def remembered(self, key, measure):
        return measure()


def check(folder, after, *references, samples=10**6):
    data = SimpleNamespace(as_tested=SimpleNamespace(views=dict(retain=range(samples))))
    case = Case(Model(90), Model(after), [Model(each) for each in references], data, READER)
    return ReferenceCheck.of(case, [folder / f'{i}.pth' for i in range(len(references))])


def write_log(folder, values, key='retain/accuracy/top1'):
    log = folder / '20260101_000000' / 'vis_data'
    log.mkdir(parents=True)
    lines = [json.dumps({key: value, 'step': 10 * (i + 1)}) for i, value in enumerate(values)]
    (log / 'scalars.json').write_text('\n'.join(lines))


@pytest.mark.parametrize(
    ('after', 'references', 'words'),
    [
        (85, (84, 86.9), ''),
        (85, (80, 82), ''),  # exactly 5 points below
        (85, (79.9, 82), 'reference 1 has 79.9 % on the retained classes, the audited model 85.0'),
        (85, (85, 88.1), 'differ by 3.1 points'),
        (85, (85, 88), ''),
        (85, (None, None), ''),  # nothing is retained
        (None, (85, 85), ''),
        (85, (40,), 'the reference has 40.0 %'),
    ],
)
def test_doubts(tmp_path, after, references, words):
    found = check(tmp_path, after, *references)
    assert (words in found.doubt) if words else found.doubt == ''
    rows = found.table.rows
    assert [row[1] for row in rows] == [after, *references]
    assert all(row[3].startswith('not known') for row in rows[1:])


def test_few_images_differ_by_chance(tmp_path):
    # 1.96 times the root of 2 * 0.9 * 0.1 / 100 are 8.3 points.
    assert by_chance([90, 90], 100) == pytest.approx(8.316, abs=1e-3)
    assert check(tmp_path, 90, 86, 94, samples=100).doubt == ''
    assert check(tmp_path, 90, 81, 91, samples=100).doubt.startswith('the references differ by 10')
    assert 'reference 2 has 80.0' in check(tmp_path, 90, 80, 80, samples=100).doubt


def test_warnings(tmp_path):
    assert 'one reference alone' in check(tmp_path, 85, 85).warnings[0]
    (warning,) = check(tmp_path, 85, 85, 86).warnings
    assert 'not known' in warning
    assert check(tmp_path, 85) == ReferenceCheck(None, '', [])


def test_curves():
    # The last two of eight values bring 1.0, and then 1.1 points.
    assert judge_curve([10, 50, 70, 80, 81, 82, 82.5, 83])[0] is True
    converged, words = judge_curve([10, 50, 70, 80, 81, 82, 82.5, 83.1])
    assert converged is False and words == 'its last quarter brought +1.1 points, to 83.1 %'
    assert judge_curve([80, 81, 82, 79])[0] is True  # it fell


def test_the_log_of_a_run_tells_how_it_ended(tmp_path):
    write_log(tmp_path, [50, 60, 70, 80, 80.2, 80.1])
    assert ending_of(tmp_path / 'phase1_learn.pth', CASE)[0] is True
    # What came after the checkpoint does not count: it ends at 80, ten points more than before.
    assert ending_of(tmp_path / 'iter_40.pth', CASE)[0] is False
    assert ending_of(tmp_path / 'iter_30.pth', CASE)[0] is None
    write_log(tmp_path / 'all', [50, 60, 70, 80], 'accuracy/top1')
    assert ending_of(tmp_path / 'all' / 'last.pth', CASE)[0] is False
    found = check(tmp_path / 'all', 80, 80, 80)
    assert 'reference 1 was not converged (its last quarter brought +10.0' in found.doubt


@pytest.mark.parametrize(
    ('chance', 'after', 'verdict'),
    [(None, 0.5, 'unclear'), (None, 0.9, 'unclear'), (0.1, 0.1, 'not recovered'),
     (0.1, 0.5, 'recovered')],
)  # fmt: skip
def test_in_doubt_chance_is_the_floor_or_nothing_is_decided(chance, after, verdict):
    models = [Model(90, value) for value in (0.9, after, 0.5)]
    case = Case(*models[:2], models[2:], None, READER, doubt='the reference is bad')

    def measure(subject):
        return Estimate(subject.value, subject.value - 0.01, subject.value + 0.01)

    finding = case.judged('attack', 'share', measure, chance, remark='Mind.')
    assert str(finding.verdict) == verdict
    assert finding.remark.startswith('Mind. ') and 'the reference is bad' in finding.remark
    assert finding.floor.value == (0.5 if chance is None else chance)
    case.doubt = ''
    assert case.judged('attack', 'share', measure, chance, remark='Mind.').remark == 'Mind.'
