"""A swap on the adapter of an earlier one, as the runner does it."""

import pytest
import torch
from mmengine.config import Config

from knowswap_mm.errors import CheckpointError
from knowswap_mm.runs.results import SwapResults
from tests.helpers.continual_runs import TOOLS, run_tool, write_configs
from tests.helpers.swap_configs import assert_same_weights, train, weights_of


@pytest.fixture(scope='module')
def runs(picture_tree, host, tmp_path_factory):
    """Two finished swaps: their folder, and how to configure the second."""
    folder = tmp_path_factory.mktemp('stack')
    first, second, _ = write_configs(picture_tree, folder, host, (6, 5))

    def config(work_dir, **changes):
        cfg = Config.fromfile(second)
        cfg.work_dir = str(work_dir)
        cfg.model.adapters = [str(folder / 'swap1' / 'adapter')]
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
        return cfg

    train(Config.fromfile(first))
    train(config(folder / 'swap2'))
    return folder, config


def test_it_starts_where_the_earlier_swap_ended(runs):
    folder, _ = runs
    ended, began = (
        SwapResults.read(folder / name / 'swap_results.json') for name in ('swap1', 'swap2')
    )
    # The second forgets what the first learned, and retains what the first retained.
    assert began.value('start', 'forget') == ended.value('phase2_forget', 'learn')
    assert began.value('start', 'retain') == ended.value('phase2_forget', 'retain')


def test_resumed_equals_uninterrupted(runs, tmp_path):
    folder, config = runs
    train(config(tmp_path, resume=True, load_from=str(folder / 'swap2' / 'phase1_learn.pth')))
    wanted = weights_of(folder / 'swap2' / 'phase2_forget.pth')
    assert_same_weights(weights_of(tmp_path / 'phase2_forget.pth'), wanted)


def test_a_merged_model_beneath_is_refused(runs, tmp_path):
    """The first swap would be in it twice."""
    folder, config = runs
    run_tool(
        TOOLS / 'model_converters' / 'export.py',
        folder / 'config1.py',
        folder / 'swap1' / 'phase2_forget.pth',
        '--out',
        tmp_path / 'plain',
    )
    with pytest.raises(CheckpointError, match="'base_sha256'.*of the base|'base_sha256'.*shape"):
        train(config(tmp_path / 'run', load_from=str(tmp_path / 'plain' / 'model.pth')))


def test_a_checkpoint_of_the_earlier_swap_is_refused(runs, tmp_path):
    folder, config = runs
    with pytest.raises(CheckpointError, match=r'Missing key.*lora_A\.swap1'):
        train(config(tmp_path, load_from=str(folder / 'swap1' / 'phase2_forget.pth')))


def test_a_random_base_is_refused(runs, tmp_path):
    _, config = runs
    with pytest.raises(CheckpointError, match='load_from = None'):
        train(config(tmp_path, load_from=None, swap__allow_random_host=True))


def test_the_weights_of_the_host_stay_those_of_the_base(runs, host):
    folder, _ = runs
    base = weights_of(host)
    for key, tensor in weights_of(folder / 'swap2' / 'phase2_forget.pth').items():
        name = key.removeprefix('host.').replace('.base_layer.', '.')
        if name in base and not name.startswith('head.'):
            assert torch.equal(tensor, base[name]), name
