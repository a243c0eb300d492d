"""Values of --cfg-options."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.cli.options import OptionAction, read_dicts

PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
NESTED = st.recursive(
    PLAIN.filter(lambda value: value not in (float('inf'), float('-inf'))),
    lambda each: st.lists(each) | st.tuples(each) | st.dictionaries(st.text(), each),
)


@given(NESTED)
def test_values_are_read_as_they_are_written(value):
    assert read_dicts(repr(value)) == value


def options(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_dictionaries_are_read_as_configs_have_them():
    assert options(
        'swap.split=dict(learn=4, retain=4)',
        'model.loss=dict(type=knowswap_mm.FeatureMatchingLoss,target=.5)',
        "audit.parts=[Answers,dict(type='LinearProbe',folds=3)]",
        "a={'b.c': (1, -2.5), 'on': true}",
    ) == {
        'swap.split': dict(learn=4, retain=4),
        'model.loss': dict(type='knowswap_mm.FeatureMatchingLoss', target=0.5),
        'audit.parts': ['Answers', dict(type='LinearProbe', folds=3)],
        'a': {'b.c': (1, -2.5), 'on': True},
    }


def test_other_values_are_those_of_mmengine():
    words = ('a=1', 'b=[A,B]', 'c=None', 'd=x=y', 'root=data/{x}/y', 'e=(1,2)')
    wanted = dict(a=1, b=['A', 'B'], c=None, d='x=y', root='data/{x}/y', e=(1, 2))
    assert options(*words) == wanted


@pytest.mark.parametrize(
    'word', ['a=dict(b=open(1))', 'a=dict(b', 'a=[1,(2', 'a=dict(**b)', 'a=dict(1)', 'a={1, 2}']
)
def test_the_word_that_cannot_be_read_is_named(word, capsys):
    with pytest.raises(SystemExit):
        options('good=1', word)
    assert f'{word!r} cannot be read' in capsys.readouterr().err
