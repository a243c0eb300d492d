"""The plan of a run as text and as a file, which may hold anything."""

import json

import torch

from knowswap_mm.runs.plan import Entry, Plan

PLAN = Plan(
    (
        Entry('lr', 0.0123456),
        Entry('iters', 40, 'auto', 'at least 40'),
        Entry('param_scheduler', [dict(type='LinearLR', end=3), dict(type=torch.nn.Linear)]),
        Entry('clip_grad', None),
    )
)


def test_as_a_table():
    head, rule, *rows = ([c.strip() for c in r.split('|')[1:-1]] for r in PLAN.table().split('\n'))
    assert head == list(Plan.HEADER) and rows == [
        ['lr', '0.01235', 'given'],
        ['iters', '40', 'auto: at least 40'],
        ['param_scheduler', 'LinearLR(end=3); Linear()', 'given'],
        ['clip_grad', 'None', 'given'],
    ]


def test_as_plain_data():
    stored = json.loads(json.dumps(PLAN.to_list()))
    assert stored[0] == dict(key='lr', value=0.0123456, source='given', why='')
    assert stored[2]['value'][1] == dict(type='Linear')
    again = Plan.read(stored)
    assert again.to_list() == stored and again.entries[1] == PLAN.entries[1]


def test_of_a_file_that_holds_anything():
    for content in (None, 3, 'text', {}, [None, 3, dict(value=1), dict(key=3)]):
        assert Plan.read(content) == Plan()
    (entry,) = Plan.read([dict(key='a', value=dict(b=[1]), source=None, why=7)]).entries
    assert entry.row == ['a', 'b=1', ': 7'] or all(isinstance(cell, str) for cell in entry.row)
