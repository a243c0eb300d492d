"""Adapters that the gradients of the losses do not reach stop a run by name."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS
from mmpretrain.models import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import nn
from torch.utils.checkpoint import checkpoint

from knowswap_mm.engine.hooks.untrained import AdapterGradients, by_chance, patterns_of
from knowswap_mm.errors import ConfigError, PhaseError
from tests.helpers.processes import join, start
from tests.helpers.swap_configs import forget, learn, swap_config, train

FIRST = 'backbone.layers.0.ffn.layers.0.0, backbone.layers.0.ffn.layers.1'


class FirstLayer(TransformerEncoderLayer):
    """A first layer that gives its adapters no gradient, in one of several ways."""

    way = None

    def forward(self, x):
        if self.way == 'no_grad':
            with torch.no_grad():
                return super().forward(x)
        if self.way == 'detached':
            return super().forward(x).detach()
        if self.way == 'checkpoint':  # nothing before it trains, so this drops all gradients
            return checkpoint(super().forward, x, use_reentrant=True)
        if self.way == 'times zero':
            return x + 0 * super().forward(x)
        return super().forward(x)


@MMPRETRAIN.register_module(force=True)
class DeafViT(VisionTransformer):
    def __init__(self, way, layers=1, **settings):
        super().__init__(**settings)
        for layer in self.layers[:layers]:
            layer.__class__, layer.way = FirstLayer, way


@HOOKS.register_module(force=True)
class FreezesAtForward(Hook):
    """Freezes when the model is called, long after everything was built and checked."""

    def before_train(self, runner):
        def freeze(module, args):
            next(iter(runner.swapper.adapters.values())).requires_grad_(False)

        runner.swapper.host.backbone.layers[1].register_forward_pre_hook(freeze)


@pytest.fixture
def make_config(picture_tree, host, tmp_path):
    def make(way, layers=1, phases=None, **changes):
        phases = phases or [learn(iters=4), forget(iters=2)]
        config = swap_config(picture_tree, tmp_path / 'run', phases, host=host, **changes)
        config.model.host.backbone.update(type='DeafViT', way=way, layers=layers)
        return config

    return make


def stopped(config, error=PhaseError):
    runner = RUNNERS.build(config)
    with pytest.raises(error) as caught:
        runner.train()
    return str(caught.value), runner


@pytest.mark.parametrize('sparsity', [0, 0.005], ids=['not sparse', 'sparse'])
@pytest.mark.parametrize('way', ['no_grad', 'detached', 'checkpoint', 'times zero'])
def test_a_layer_without_gradients_is_named(way, sparsity, make_config):
    weights = dict(learn=1.0, retain=1.0, sparsity=sparsity)
    config = make_config(way, phases=[learn(iters=4, weights=weights)])
    message, runner = stopped(config)
    assert runner.iter == 1, 'after the second iteration'
    assert '2 iterations of phase1_learn gave the adapters of 2 of 4 layers' in message
    assert FIRST in message
    exclude = re.search(r'model\.lora\.exclude = (\[.*?\]),', message)[1]
    assert exclude == r"['^backbone\\.layers\\.0\\.']"
    config.model.lora.exclude = eval(exclude)
    runner, _ = train(config)
    assert len(runner.swapper.adapters) == 4


def test_all_layers(make_config):
    message, _ = stopped(make_config('times zero', layers=2, policy='new_rows'))
    assert '4 of 4 layers' in message and 'look at weights and bound' in message


def test_a_forget_loss_above_its_bound(make_config):
    weights = dict(forget=1.0, retain=0.0)
    message, _ = stopped(make_config(None, phases=[forget(iters=4, bound=1e-9, weights=weights)]))
    assert '4 of 4 layers' in message and 'above its bound' in message


def test_a_warning_instead(make_config):
    config = make_config('no_grad')
    config.swap.untrained = 'warn'
    runner, _ = train(config)
    logs = [path.read_text() for path in Path(runner.work_dir).rglob('*.log')]
    assert sum(text.count(FIRST) for text in logs) == 1


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(policy='all'),
        dict(optim_wrapper__accumulative_counts=3),
        dict(optim_wrapper=dict(type='knowswap_mm.SwapOptimWrapper', dtype='bfloat16')),
        dict(dropout=0.3, batch_size=2),
    ],
    ids=['plain', 'rows', 'accumulation', 'bfloat16', 'stochastic depth'],
)
def test_ordinary_runs_go_on(changes, make_config):
    wrapper = changes.pop('optim_wrapper', None)
    config = make_config(None, **changes)
    if wrapper:
        config.optim_wrapper.update(wrapper)
    for seed in range(3 if 'dropout' in changes else 1):
        config.randomness.seed = seed
        config.experiment_name = f'{config.experiment_name}_{seed}'
        train(config)


def test_what_is_zero_until_the_head_moves(make_config):
    """A head of zeros passes nothing on until it has made a step."""
    config = make_config(None, policy='all', optim_wrapper__accumulative_counts=2)
    runner = RUNNERS.build(config)
    load = runner.load_or_resume

    def with_zeros():
        load()
        with torch.no_grad():
            for rows in runner.swapper.head_rows.values():
                rows.zero_()

    runner.load_or_resume = with_zeros
    runner.train()


def test_frozen_at_forward(make_config):
    config = make_config(None, custom_hooks=[dict(type='FreezesAtForward')])
    message, runner = stopped(config, ConfigError)
    assert message.startswith("model.host = 'backbone.layers.0.ffn.layers.0.0.lora_A")
    assert runner.iter == 0


def test_a_learning_rate_of_zero(make_config):
    config = make_config(None)
    config.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.layers.1.': dict(lr_mult=0.0)})
    message, runner = stopped(config, ConfigError)
    assert 'learning rate of backbone.layers.1.ffn' in message and runner.iter == 0


@pytest.mark.distributed
def test_two_processes_stop_together(make_config):
    """Without the sparse term the wrapper would fail in the second iteration, without names."""
    weights = dict(learn=1.0, retain=1.0)
    config = make_config('no_grad', phases=[learn(iters=4, weights=weights)], batch_size=4)
    assert join(start(config, 2)) == [1, 1]
    for rank in range(2):
        assert FIRST in (Path(config.work_dir) / f'rank{rank}.txt').read_text()


class TestAdapterGradients:
    def watch(self, b=0.0):
        matrices = {
            f'{layer}.{part}.default.weight': nn.Parameter(
                torch.full((3, 2), b) if part == 'lora_B' else torch.randn(3, 2)
            )
            for layer in ('one', 'two')
            for part in ('lora_A', 'lora_B')
        }
        return AdapterGradients(matrices), list(matrices.values())

    @pytest.mark.parametrize('b', [0.0, 0.3])
    def test_the_sparse_term_alone_is_no_gradient_of_the_task(self, b):
        gradients, (a, b1, *others) = self.watch(b)
        norms = sum(p.square().sum() for p in (a, b1, *others)).add(1e-24).sqrt()
        (1024 * 0.005 * norms + (b1 * torch.randn(3, 2) * 1e-4).sum()).backward()
        assert gradients.look() == (['two'], False)

    def test_numbers_that_are_not_finite_say_nothing(self):
        gradients, (a, *_) = self.watch()
        (a * torch.inf).sum().backward()
        assert gradients.look() == (['one', 'two'], True)
        assert gradients.called() == ['one']

    def test_closed_it_watches_no_more(self):
        gradients, (a, *_) = self.watch()
        gradients.close()
        a.sum().backward()
        assert gradients.called() == []


def test_patterns_match_those_layers_only():
    layers = [f'stages.{i}.blocks.{j}.fc{k}' for i in range(3) for j in range(2) for k in (1, 2)]
    for missing in (layers[:4], layers[:3], layers[4:5], layers[4:], layers):
        patterns = patterns_of(missing, layers)
        assert [n for n in layers if any(re.search(p, n) for p in patterns)] == missing
    assert patterns_of(layers[:4], layers) == [r'^stages\.0\.']


def test_stochastic_depth_excuses_its_own_block_only(make_config):
    config = make_config(None, dropout=0.2)
    host = RUNNERS.build(config).swapper.train().host
    layers = [f'backbone.layers.{i}.ffn.layers.1' for i in range(2)]
    # The rate grows with depth from zero.
    assert by_chance(host, layers) == layers[1:]
    assert by_chance(host.eval(), layers) == []
