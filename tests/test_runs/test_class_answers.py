"""What single classes are called now, and which are weak, in words."""

import pytest

from knowswap_mm.runs.classes import class_answers, new_answers
from knowswap_mm.runs.results import SwapResults
from knowswap_mm.runs.story import Story
from knowswap_mm.runs.weak_classes import WeakSpot
from tests.helpers.made_runs import made_run

END = dict(learn=75.0, forget=0.0, retain=79.0)


def results(**classes):
    found = SwapResults('m')
    forget = {name: dict(units=200, answers=answers) for name, answers in classes.items()}
    found.add('end', 7, {}, dict(forget=forget))
    return found


@pytest.mark.parametrize(
    ('answers', 'sentence'),
    [
        (dict(dress=168, shirt=32), 'called dress in 84 %, shirt in 16 %.'),
        (dict(dress=168, shirt=9), 'called dress in 84 %.'),  # the others are hardly worth a word
        (dict(top=90, trouser=100, bag=10),
         'called top in 45 %, bag in 5 %, and still trouser in 50 %.'),
        (dict(top=199, trouser=1),
         'called top in more than 99 %, and still trouser in less than 1 %.'),
        (dict(shirt=4, coat=3, bag=2), 'called shirt in 2 %.'),  # one is named, however rare
        (dict({'': 120, 'dress': 60}, trouser=20), 'called dress in 30 %, not found in 60 %, '
         'and still trouser in 10 %.'),
        ({'': 200}, 'not found in 100 %.'),
    ],
)  # fmt: skip
def test_the_sentence(answers, sentence):
    assert new_answers(results(trouser=answers), 'end') == [f'Forgotten trouser is {sentence}']


def test_the_most_frequent_answer_comes_first():
    shares = class_answers(results(trouser=dict(bag=20, dress=180)), 'end', 'forget')
    assert list(shares['trouser'].items()) == [('dress', 0.9), ('bag', 0.1)]
    earlier = SwapResults('m')  # as versions before wrote it
    earlier.add('end', 7, {}, dict(forget=dict(a=dict(images=4, answers=dict(b=1)))))
    assert class_answers(earlier, 'end', 'forget') == dict(a=dict(b=0.25))


def test_what_was_not_recorded_is_not_told():
    assert new_answers(results(trouser=dict(trouser=200)), 'end') == []
    assert new_answers(results(trouser=dict(dress=200)), 'start') == []
    assert class_answers(results(trouser=dict(dress=200)), 'end', 'learn') == {}


@pytest.mark.parametrize(
    'damaged',
    [
        [],
        dict(forget=[]),
        dict(forget=dict(a=3, b=dict(units=0, answers=dict(x=1)))),
        dict(forget=dict(a=dict(units=3, answers=dict(x='1')), b=dict(units=3, answers=[1]))),
        dict(forget=dict(a=dict(units=True, answers=dict(x=1)))),
    ],
)
def test_a_damaged_record_says_nothing(damaged):
    found = SwapResults('m')
    found.states['end'] = dict(iteration=7, metrics={}, answers=damaged)
    assert new_answers(found, 'end') == []


def test_the_story_tells_a_few_and_counts_the_rest():
    run = made_run(END, END)
    entry = dict(units=10, answers={'x\n\x1b[31m': 9})
    answers = dict(forget={name: entry for name in 'abcde'})
    run.results.states['phase2_forget']['answers'] = answers
    said = Story(run).lines()
    told = [line for line in said if 'is called' in line]
    assert told == [f'- Forgotten {name} is called x [31m in 90 %.' for name in 'abc']
    assert said[said.index(told[-1]) + 1] == '- 2 more forgotten classes have new answers.'
    run.results.kinds = ['learn']
    assert not [line for line in Story(run).lines() if 'is called' in line]


def test_weak_spots_are_those_far_below_the_others_of_their_role():
    values = {
        'retain/a': 80.0,
        'retain/b': 90.0,
        'retain/c': 30.0,
        'retain/d': 10.0,
        'learn/x': 1.0,
    }
    start = dict(learn=0.0, forget=90.0, retain=80.0) | {'retain/c': 35.0}
    run = made_run(END, END | values, start=start, classes=dict(learn=['x'], retain=list('abcd')))
    answers = dict(c=3, a=6, b=1)
    state = run.results.states['phase2_forget']
    state['answers'] = dict(retain=dict(c=dict(units=10, answers=answers)))
    spots = WeakSpot.of_run(run, 'phase2_forget')
    assert spots == [  # one learned class has no others
        WeakSpot('retain', 'd', None, 10.0, pytest.approx(200 / 3)),
        WeakSpot('retain', 'c', 35.0, 30.0, 60.0, ('a', 0.6)),
    ]
    assert WeakSpot.of_run(run, 'start') == []
