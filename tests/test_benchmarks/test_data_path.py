"""The benchmark runs, and what it prints is what it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_small_one(tmp_path):
    out = tmp_path / 'out.json'
    arguments = '--pictures 32 --batch 8 --workers 1 --epochs 2 --ways none memory --out'.split()
    done = subprocess.run(
        [sys.executable, 'benchmarks/data_path.py', *arguments, str(out)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())['rows']
    assert [row['cache'] for row in rows] == ['none', 'memory']
    for row in rows:
        assert len(row['pictures_per_s']) == 2
        assert f'| {row["cache"]} | {row["pictures_per_s"][0]:,.0f} |' in done.stdout
