"""The distance of answers to those of references, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.audit.attacks.answer_distance import AnswerDistance, total_variation
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.readers.reader import Units

LABELS = np.repeat([0, 1], 10)
answers = st.lists(st.integers(0, 4), min_size=1, max_size=9).map(np.array)


class Answering:
    """A model whose answers to ten units of each of two forgotten classes are given."""

    def __init__(self, *counts):
        """By class, how often each answer is given."""
        self.predicted = np.concatenate([np.repeat(list(c), list(c.values())) for c in counts])

    def units(self, split, role):
        return Units(np.zeros((20, 1)), LABELS, self.predicted, np.zeros(20))

    def remembered(self, key, measure):
        return measure()


def distance(after, *references, before=None):
    before = before or Answering({0: 10}, {1: 10})
    case = Case(before, after, references, None, SimpleNamespace(unit='image'))
    (finding,) = AnswerDistance().run(case)
    return finding


def test_by_hand():
    # Shares 0.5, 0.5, 0 against 0.25, 0.5, 0.25.
    assert total_variation(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])) == 0.25
    # Class 0: (0.5, 0.5) against (1, 0) is 0.5; class 1: nothing in common is 1; their mean.
    after = Answering({2: 5, 3: 5}, {2: 10})
    first, second = Answering({2: 10}, {3: 10}), Answering({2: 9, 3: 1}, {3: 10})
    finding = distance(after, first, second)
    assert finding.after.value == pytest.approx((0.75 + 0.7) / 2)
    assert finding.before.value == 1
    assert finding.floor.value == pytest.approx(0.05)  # 0.1 and 0


@given(answers, answers, answers)
def test_it_is_a_distance(one, two, three):
    assert total_variation(one, one) == 0
    assert total_variation(one, two) == pytest.approx(total_variation(two, one))
    assert 0 <= total_variation(one, two) <= 1
    detour = total_variation(one, three) + total_variation(three, two)
    assert total_variation(one, two) <= detour + 1e-9


ALIKE = [Answering({2: 10}, {3: 9, 2: 1}), Answering({2: 9, 3: 1}, {3: 10})]


@pytest.mark.parametrize(
    ('after', 'verdict'),
    [
        (Answering({0: 10}, {1: 10}), 'recovered'),  # names them
        (Answering({4: 10}, {4: 10}), 'recognisable'),  # names neither, but no reference says 4
        (Answering({0: 2, 4: 8}, {4: 10}), 'recognisable'),
        (Answering({2: 10}, {3: 10}), 'not recovered'),
        (Answering({2: 9, 3: 1}, {3: 9, 2: 1}), 'not recovered'),
    ],
)
def test_verdicts(after, verdict):
    assert str(distance(after, *ALIKE).verdict) == verdict


def test_one_reference_has_no_other():
    finding = distance(Answering({4: 10}, {4: 10}), ALIKE[0])
    assert str(finding.verdict) == 'unclear' and finding.floor is None
    assert 'two references' in finding.remark and finding.after.value == 1
    assert str(distance(ALIKE[0], ALIKE[0], ALIKE[0]).verdict) == 'unclear'  # one file twice
    case = Case(ALIKE[0], ALIKE[1], [], None, SimpleNamespace(unit='image'))
    assert AnswerDistance().run(case) == []
