import pytest

from knowswap_mm.evaluation.audit.parts.relearning import Relearning, watch_points


def test_looks_get_rarer():
    assert watch_points(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert watch_points(1) == [1]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('lr', 'finite number > 0'),
        ('steps', 'whole number >= 1'),
        ('batch_size', 'whole number >= 2'),
        ('repeats', 'whole number >= 1'),
        ('regained', 'number in (0, 1]'),
        ('samples', 'whole number >= 1'),
    ],
)
def test_bad_settings(name, words, raises_config_error):
    with raises_config_error(f'audit.parts.Relearning.{name}', 0, words):
        Relearning(**{name: 0})
