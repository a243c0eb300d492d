"""benchmarks/run_digest.py: runs that computed the same, and one that did not."""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.runs.files import SCALARS
from tests.helpers.doc_blocks import REPOSITORY

RUN = REPOSITORY / 'tests' / 'old_files' / 'run'
END = 'phase2_forget.pth'


@pytest.fixture
def compare(monkeypatch):
    def run(*folders):
        monkeypatch.setattr(sys, 'argv', ['run_digest.py', *map(str, folders)])
        runpy.run_path(str(REPOSITORY / 'benchmarks' / 'run_digest.py'), run_name='__main__')

    return run


@pytest.fixture
def copied(tmp_path) -> Path:
    return shutil.copytree(RUN, tmp_path / 'run')


def test_times_do_not_count(compare, copied, capsys):
    (log,) = copied.glob(SCALARS)
    text = log.read_text()
    log.write_text(text.replace('"time": ', '"time": 1'))
    assert log.read_text() != text
    compare(RUN, copied)
    printed = capsys.readouterr().out
    for name in (f'{END}, weights', f'{END}, optimizer', 'log', 'metrics'):
        assert f'| {name} | ' in printed


def test_a_bit_counts(compare, copied):
    checkpoint = safe_load(copied / END)
    name = next(name for name in checkpoint['state_dict'] if 'lora_A' in name)
    weight = checkpoint['state_dict'][name]
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(torch.inf))
    torch.save(checkpoint, copied / END)
    with pytest.raises(SystemExit, match=f'^Different: {END}, weights$'):
        compare(RUN, copied)


def test_a_loss_counts(compare, copied):
    (log,) = copied.glob(SCALARS)
    log.write_text(log.read_text().replace('"loss": ', '"loss": 1'))
    with pytest.raises(SystemExit, match='^Different: log$'):
        compare(RUN, copied)


def test_no_run(compare, tmp_path):
    with pytest.raises(SystemExit, match='no checkpoint'):
        compare(tmp_path, tmp_path)
