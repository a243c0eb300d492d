"""A written config reads as what it was made of."""

from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from knowswap_mm.io.config_text import WIDTH, Name, config_text, value_text

KEYS = st.sampled_from(['type', 'a_long_name', 'class', 'two words', 'x'])
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
) | st.text(max_size=20)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_reads_as_it_was(value):
    assert eval(value_text(value)) == value


def test_long_values_are_broken():
    names = [f'class {number}' for number in range(60)]
    value = dict(classes=names, steps=[dict(type='Resize', scale=(64, 64))] * 9, one=(1,))
    text = value_text(value, used=20)
    assert eval(text) == value
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len(text.splitlines()) < 30


def test_variables_stand_for_themselves():
    text = config_text(
        ['A head.'], [('Data.', dict(steps=[dict(type='A')], data=dict(pipeline=Name('steps'))))]
    )
    assert text == "# A head.\n\n# Data.\nsteps = [dict(type='A')]\ndata = dict(pipeline=steps)\n"
    assert Config.fromstring(text, '.py').data.pipeline == [dict(type='A')]
