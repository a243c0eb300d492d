import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.audit.attacks.relearning import Relearning, regained_after, watch_points
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.report import AuditReport

LIMIT = 64
KEY = 'audit.settings.Relearning.steps'
NOT = None  # a run that did not get there


class Model:
    """A model of which only the steps to relearn are known."""

    host = None

    def __init__(self, steps):
        self.steps, self.known = steps, {}

    def remembered(self, key, measure):
        if key.startswith('named'):
            return 1.0
        return self.steps if key.startswith('steps') else self.known.setdefault(key, measure())


class Data:
    def positions(self, split, role):
        return range(1000)


class Reader:
    unit = 'image'


def relearn(after, *references, **settings):
    models = [Model([0] * len(after)), Model(after), *map(Model, references)]
    case = Case(models[0], models[1], models[2:], Data(), Reader())
    return Relearning(**{'steps': LIMIT, **settings}).run(case)


@pytest.mark.parametrize(
    ('after', 'floor', 'verdict', 'words'),
    [
        # Both got there.
        ([4, 4, 4], [32, 32, 32], 'recovered', 'anew.'),
        ([32, 32, 32], [32, 32, 32], 'not recovered', 'anew.'),
        ([24, 24, 24], [32, 32, 32], 'unclear', 'anew.'),
        ([48, 48, 48], [8, 8, 8], 'over-forgotten', 'anew.'),
        # Neither did: nothing can be said of which is quicker.
        ([NOT, NOT, NOT], [NOT, NOT, NOT], 'no power', f'raise {KEY}'),
        ([64, NOT, NOT], [NOT, NOT, 48], 'no power', f'raise {KEY}'),
        # The reference alone did not: 65 / 5 = 13 and 65 / 49 = 1.3 times as long, or longer.
        (
            [4, 4, 4],
            [NOT, NOT, NOT],
            'recovered',
            'learning anew got there: it takes at least 13.0',
        ),
        ([0, 0, 0], [NOT, NOT, NOT], 'recovered', 'at least 65.0 times'),
        ([4, 4, 4], [64, 64, NOT], 'recovered', 'at least 13.0 times'),
        (
            [48, 48, 48],
            [NOT, NOT, NOT],
            'unclear',
            'at least 1.3 times as long as the other; raise',
        ),
        ([64, 64, 64], [NOT, NOT, NOT], 'unclear', 'learning anew got there; raise'),
        # The audited model alone did not: 65 / 61 and 65 / 9 = 7.2 times as long, or longer.
        ([NOT, NOT, NOT], [60, 60, 60], 'not recovered', 'audited model got there: it takes'),
        ([NOT, NOT, NOT], [8, 8, 8], 'over-forgotten', 'at least 7.2 times as long as the other.'),
        ([2, 64, NOT], [32, 32, 32], 'unclear', f'raise {KEY} (now 64) to tell.'),
    ],
)
def test_verdicts(after, floor, verdict, words):
    finding, table = relearn(after, floor)
    assert str(finding.verdict) == verdict
    assert words in finding.remark
    assert finding.details['steps'] == dict(before=[0, 0, 0], after=after, reference=floor)
    assert ('more than 64' in table.rows[1][1]) == (NOT in after)
    page = AuditReport([finding], [table], {}).page()
    assert words in page and 'nan' not in page


def test_without_power_nothing_is_called_forgotten():
    headline = AuditReport([relearn([NOT] * 3, [NOT] * 3)[0]], [], {}).headline()
    assert headline.startswith('Forgetting is not shown')
    assert headline.endswith('Without power here: relearning.')


@pytest.mark.parametrize('floor', [[32], [NOT], [1]])
def test_one_run_alone_has_no_power(floor):
    finding, _ = relearn([16], floor, repeats=1)
    assert str(finding.verdict) == 'no power'
    assert 'audit.settings.Relearning.repeats to 2' in finding.remark


def test_one_of_several_references_that_did_not_get_there():
    finding, _ = relearn([2, 2, 2], [48, 48, 48], [NOT, NOT, NOT])
    assert str(finding.verdict) == 'recovered' and math.isinf(finding.floor.low)
    finding, _ = relearn([NOT, NOT, NOT], [48, 48, 48], [NOT, NOT, NOT])
    assert str(finding.verdict) == 'no power'


def test_without_a_reference_relearning_is_unclear():
    finding, _ = relearn([NOT, NOT, NOT])
    assert str(finding.verdict) == 'unclear' and finding.remark == ''


def test_the_statistic():
    assert vars(regained_after([0, 0], LIMIT)) == dict(value=0, low=0, high=0)
    found = regained_after([7, 7], LIMIT)
    assert (found.value, found.low, found.high) == pytest.approx((-3, -3.3, -2.7))
    late = regained_after([63, NOT], 63)
    assert late.value == -6 and late.low == -math.inf and late.high == pytest.approx(-5.7)


@given(st.lists(st.integers(0, LIMIT), min_size=2, max_size=4), st.integers(0, LIMIT - 1))
def test_what_lies_beyond_the_limit_is_within_the_interval(steps, limit):
    """A smaller limit makes the interval longer, downwards alone."""
    seen = [count if count <= limit else None for count in steps]
    found, full = regained_after(seen, limit), regained_after(steps, LIMIT)
    assert found.low <= full.low and found.value >= full.value


def test_looks_get_rarer():
    assert watch_points(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert watch_points(1) == [1]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('lr', 'finite number > 0'),
        ('steps', 'integer >= 1'),
        ('batch_size', 'integer >= 2'),
        ('repeats', 'integer >= 1'),
        ('regained', 'number in (0, 1]'),
        ('samples', 'integer >= 1'),
    ],
)
def test_bad_settings(name, words, raises_config_error):
    with raises_config_error(f'audit.parts.Relearning.{name}', 0, words):
        Relearning(**{name: 0})
