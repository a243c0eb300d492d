"""A resumed run repeats the random numbers of Python, numpy and torch, in workers and models."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS

from knowswap_mm.datasets.seeding import seed_all
from tests.helpers.processes import train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=4), forget(iters=4)]
END = 'phase2_forget.pth'


@TRANSFORMS.register_module()
class RandomPixels(BaseTransform):
    """Noise of all three generators, as augmentations of different authors draw it."""

    def transform(self, results):
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        results['img'] = results['img'] + np.float32(30 * noise)
        return results


@HOOKS.register_module()
class RandomModelHook(Hook):
    """Stands for a host that draws with Python and numpy, too, in its forward pass."""

    priority = 'NORMAL'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        data_batch['inputs'] = [picture + 30 * noise for picture in data_batch['inputs']]


@pytest.fixture
def make_config(picture_tree, host):
    def make(folder, batch_size, **changes):
        config = swap_config(
            picture_tree,
            folder,
            PHASES,
            host=host,
            batch_size=batch_size,
            dropout=0.2,
            policy='new_rows',
            default_hooks__checkpoint__interval=1,
            custom_hooks=[dict(type=RandomModelHook)],
            **changes,
        )
        config.train_dataloader |= dict(num_workers=2, persistent_workers=True)
        for role in config.train_dataloader.dataset.roles.values():
            role.dataset.pipeline.insert(1, dict(type='RandomPixels'))
        return config

    return make


def test_workers_and_model_draw_the_same_again(make_config, tmp_path):
    _, whole = train(make_config(tmp_path / 'whole', 8))
    config = make_config(tmp_path / 'again', 8, resume=str(tmp_path / 'whole' / 'iter_3.pth'))
    random.seed(99)  # whatever the process did before
    np.random.seed(99)
    _, again = train(config)
    assert again.column('loss') == whole.column('loss')[3:]
    assert len(set(whole.column('loss'))) == 8
    left, right = (weights_of(tmp_path / name / END) for name in ('whole', 'again'))
    assert_same_weights(left, right)


@pytest.mark.distributed
def test_two_processes_draw_the_same_again(make_config, tmp_path):
    train_together(make_config(tmp_path / 'whole', 4), 2)
    resume = str(tmp_path / 'whole' / 'iter_6.pth')
    train_together(make_config(tmp_path / 'again', 4, resume=resume), 2)
    left, right = (weights_of(tmp_path / name / END) for name in ('whole', 'again'))
    assert_same_weights(left, right)


def test_all_generators_are_seeded():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    seed_all(2**62 + 5)
    first = draw()
    assert draw() != first
    seed_all(2**62 + 5)
    assert draw() == first
