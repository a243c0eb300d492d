import pytest

from knowswap_mm.evaluation.audit.parts.relearning import Relearning, watch_points


def test_looks_get_rarer():
    assert watch_points(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert watch_points(1) == [1]


@pytest.mark.parametrize('name', ['lr', 'steps', 'batch_size', 'repeats', 'regained', 'samples'])
def test_bad_settings(name, raises_config_error):
    with raises_config_error(f'audit.parts.Relearning.{name}', 0, 'number > 0'):
        Relearning(**{name: 0})
