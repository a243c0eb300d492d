"""benchmarks/largest.py: what fits by calculation, and activations that are computed again."""

import runpy
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from tests.test_benchmarks.test_step_time import still, task_of

FOLDER = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def largest():
    """The names of the script, whose main part does not run."""
    return runpy.run_path(str(FOLDER / 'largest.py'))


def test_what_fits_by_hand(largest):
    # 100 MiB an image beside 400 MiB: 23 GiB of 24 hold (23552 - 400) / 100 images.
    assert largest['fitting']((2, 600), (4, 800), 24) == 231
    assert largest['fitting']((2, 60_000), (4, 80_000), 24) == 0
    table = largest['table'](
        [
            dict(host='A', again=True, points=[(2, 600), (4, 800)],
                 cards={24: dict(batch=231, milliseconds=1234.5), 80: dict(batch=0)})
        ],
        [24, 80],
    )  # fmt: skip
    assert table.splitlines()[-1] == '| A | computed again | 100 | 231 (1,234) | none |'


def test_blocks_that_are_computed_again_train_the_same(largest):
    args = Namespace(task='classification', precision='fp32', accelerations=[])
    ends = []
    for again in (False, True):
        torch.manual_seed(0)
        task = task_of('classification')
        loop = largest['built'](task, args, again)
        still(loop.model)
        loop.step()
        ends.append({n: p for n, p in loop.model.named_parameters() if p.requires_grad})
    assert len(ends[0]) > 4
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name])


def test_another_batch_is_trained_by_the_same_model(largest):
    args = Namespace(task='classification', precision='fp32', accelerations=[])
    small, large = task_of('classification'), task_of('classification', batch=6)
    loop = largest['built'](small, args, False)
    model, seen = loop.model, []
    model.host.backbone.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    loop.step()
    largest['give'](loop, large)
    loop.step()
    assert loop.model is model and seen == [2 * small.batch, 12]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is one')
def test_without_a_gpu_it_says_so(largest, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['largest.py', 'detection'])
    with pytest.raises(SystemExit, match='no GPU'):
        largest['main']()
