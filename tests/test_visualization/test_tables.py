"""Tables in Markdown hold whatever names and errors are put into them."""

import pytest

from knowswap_mm.visualization.tables import markdown_table, markdown_text


@pytest.mark.parametrize(
    ('cell', 'shown'),
    [
        ('a|b', r'a\|b'),
        ('a\\|b', r'a\\\|b'),
        ('two\nlines', 'two lines'),
        ('**bold** phase1_learn <x>', '**bold** phase1_learn <x>'),
        (None, '-'),
        (7, '7'),
    ],
)
def test_a_cell_stays_a_cell(cell, shown):
    assert markdown_table(['x', 'y'], [[cell, '']]).splitlines()[2] == f'| {shown} | |'


def test_columns_of_one_width_for_a_terminal():
    lines = markdown_table(['n', 'name'], [[10, 'a|b'], [7, 'longer name']], aligned=True)
    assert lines.splitlines() == [
        '| n  | name        |',
        '| -- | ----------- |',
        r'| 10 | a\|b        |',
        '| 7  | longer name |',
    ]


def test_foreign_text_is_no_markup():
    table = markdown_table(['<b>'], [['[x](y) `z`']], escape=markdown_text)
    assert table.splitlines()[::2] == ['| &lt;b&gt; |', r'| \[x\](y) \`z\` |']
