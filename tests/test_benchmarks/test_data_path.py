"""The benchmark runs, and what it prints is what it measured."""

import json
from pathlib import Path

import pytest

from tests.helpers.forked import run_script

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_small_one(tmp_path):
    out = tmp_path / 'out.json'
    arguments = '--pictures 32 --batch 8 --workers 1 --epochs 2 --ways none memory --out'.split()
    done = run_script(REPOSITORY / 'benchmarks/data_path.py', *arguments, out, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())['rows']
    assert [row['cache'] for row in rows] == ['none', 'memory']
    for row in rows:
        assert len(row['pictures_per_s']) == 2
        assert f'| {row["cache"]} | {row["pictures_per_s"][0]:,.0f} |' in done.stdout
