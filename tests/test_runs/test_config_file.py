"""Under which name a run keeps its config."""

from pathlib import Path

import pytest

from knowswap_mm.runs.files import config_file


@pytest.mark.parametrize(
    ('read_from', 'kept'),
    [
        ('elsewhere/my_swap.py', 'my_swap.py'),
        ('run/config.py', 'config_resolved.py'),  # never over what was read
        ('run/config.json', 'config_resolved.py'),
        ('./elsewhere/../run/config.py', 'config_resolved.py'),
        ('run/config_resolved.py', 'config_resolved.py'),  # which has all its numbers already
    ],
)
def test_where_the_config_goes(read_from, kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file(read_from, Path('run')) == kept
    assert config_file(read_from, tmp_path / 'run') == kept
