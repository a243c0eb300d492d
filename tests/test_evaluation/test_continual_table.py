from knowswap_mm.datasets.classes import ClassRoles
from knowswap_mm.workflows.continual import ContinualTable

FIRST = ClassRoles(['a', 'b', 'c'], learn=['x'], forget=['a'])
SECOND = ClassRoles(['a', 'b', 'c', 'x'], learn=['y'], forget=['x'], retain=['b'])


def table():
    found = ContinualTable()
    found.add_start(
        FIRST, {f'retain/class/{n}': v for n, v in zip('abcx', [90, 80, 70, 1], strict=True)}
    )
    found.add(
        FIRST,
        {'forget/class/a': 2, 'retain/class/b': 80, 'retain/class/c': 60, 'x': 9}
        | {'learn/class/x': 99, 'learn/accuracy/top1': 99},
    )
    found.add(
        SECOND,
        {f'retain/class/{n}': v for n, v in zip('abc', [4, 70, 50], strict=True)}
        | {'forget/class/x': 3, 'learn/class/y': 97},
    )
    return found


def test_a_class_is_followed_whatever_its_role():
    start, first, second = table().to_dict()['states']
    assert start['classes'] == dict(a=90, b=80, c=70)  # x was not known then
    assert first['groups'] == dict(a='forget', b='retain', c='retain', x='learn')
    assert second['groups'] == dict(a='earlier', b='retain', c='none', x='forget', y='learn')


def test_means_by_group():
    _, first, second = table().to_dict()['states']
    assert first['means'] == dict(learn=99, forget=2, retain=70)
    assert second['means'] == dict(learn=97, forget=3, earlier=4, retain=70, none=50)


def test_the_table_has_a_row_a_class_and_a_row_a_group():
    lines = [[c.strip() for c in line.split('|')[1:-1]] for line in table().markdown().split('\n')]
    assert lines[0] == ['class', 'start', 'after swap 1', 'after swap 2']
    rows = {row[0]: row[1:] for row in lines[2:]}
    assert rows['a'] == ['90.0', '2.0 forget', '4.0 earlier']
    assert rows['y'] == ['-', '-', '97.0 learn']
    assert rows['mean forgotten earlier'] == ['-', '-', '4.0']
    assert rows['mean retained'] == ['-', '70.0', '70.0']
