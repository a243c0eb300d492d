"""Profiles over the blocks are true, survive a resumed run, and never wait for the device."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

from knowswap_mm.engine import BlockProfileHook
from knowswap_mm.engine.hooks.block_profile import BlockProfile
from knowswap_mm.lora import merge_adapters
from knowswap_mm.lora.groups import BlockNorms
from knowswap_mm.lora.injector import lora_layers
from tests.helpers.swap_configs import forget, learn, swap_config, train
from tests.helpers.waits import waits

PHASES = [learn(iters=6), forget(iters=5, merge_learned=True)]


class Witness(Hook):
    """Measures by hand what the optimizer is given, and the adapter after each iteration."""

    def __init__(self):
        self.gradients, self.updates = [], []

    def before_train(self, runner):
        runner.optim_wrapper.optimizer.register_step_pre_hook(lambda *_: self.look(runner))

    def look(self, runner):
        squares = {}
        for name, parameter in runner.swapper.adapters.items():
            block = name[: name.index('.ffn')].removeprefix('host.')
            squares[block] = squares.get(block, 0) + float(parameter.grad.double().square().sum())
        self.gradients.append([value**0.5 for value in squares.values()])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        squares = {}
        for name, layer in lora_layers(runner.swapper.host):
            block = name[: name.index('.ffn')]
            update = layer.get_delta_weight(runner.swapper.adapter_name).double()
            squares.setdefault(block, []).append(update.detach())
        self.updates.append(squares)


def norms(updates, since=None):
    return [
        sum(
            float((each - (since[block][i] if since else 0)).square().sum())
            for i, each in enumerate(found)
        )
        ** 0.5
        for block, found in updates.items()
    ]


def config(picture_tree, host, folder, phases=PHASES, clip=None, **changes):
    made = swap_config(picture_tree, folder, phases, host=host, policy='new_rows', **changes)
    made.default_hooks.block_profile = dict(type='knowswap_mm.BlockProfileHook', parts=3)
    if clip:
        made.optim_wrapper.clip_grad = dict(max_norm=clip)
    return made


def profile_of(folder):
    return json.loads((folder / 'block_profile.json').read_text())


@pytest.mark.parametrize('clip', [None, 0.05])
def test_means_and_norms_are_those_of_every_step(clip, picture_tree, host, tmp_path):
    runner = RUNNERS.build(config(picture_tree, host, tmp_path, clip=clip))
    witness = Witness()
    runner.register_hook(witness)
    runner.train()
    profile = profile_of(tmp_path)
    assert profile['blocks'] == ['backbone.layers.0', 'backbone.layers.1']
    gradients = torch.tensor(witness.gradients, dtype=torch.float64)
    for phase, ends in zip(profile['phases'], ([2, 4, 6], [8, 9, 11]), strict=True):
        assert phase['ends'] == ends and sum(phase['steps']) == phase['end'] - phase['begin']
        begins = [phase['begin'], *ends[:-1]]
        start = witness.updates[phase['begin'] - 1] if phase['begin'] else None
        for part, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            steps = gradients[begin:end]
            share = (steps / steps.sum(dim=1, keepdim=True)).mean(dim=0)
            assert phase['gradient'][part] == pytest.approx(steps.mean(dim=0).tolist(), rel=1e-4)
            assert phase['share'][part] == pytest.approx(share.tolist(), rel=1e-4)
            after = witness.updates[end - 1]
            assert phase['update'][part] == pytest.approx(norms(after), rel=1e-4)
            assert phase['change'][part] == pytest.approx(norms(after, start), rel=1e-3)
    if clip:
        assert gradients.square().sum(dim=1).sqrt().max() <= clip * 1.001


def test_the_update_is_what_merging_adds(picture_tree, host, tmp_path):
    runner, _ = train(config(picture_tree, host, tmp_path))
    model = runner.swapper.host
    layers = dict(lora_layers(model))
    before = {name: layer.get_base_layer().weight.clone() for name, layer in layers.items()}
    found = BlockNorms(model, runner.swapper.adapter_name)
    update, weight = found.updates(), found.weights()
    merge_adapters(model)
    added = dict.fromkeys(found.names, 0.0)
    base = dict.fromkeys(found.names, 0.0)
    for name, old in before.items():
        block = name[: name.index('.ffn')]
        added[block] += float((model.get_submodule(name).weight - old).square().sum())
        base[block] += float(old.square().sum())
    assert update.tolist() == pytest.approx([v**0.5 for v in added.values()], rel=1e-3)
    assert weight.tolist() == pytest.approx([v**0.5 for v in base.values()], rel=1e-4)


@pytest.mark.parametrize('point', ['iter_3.pth', 'iter_6.pth', 'phase1_learn.pth', 'iter_9.pth'])
def test_a_resumed_run_has_the_same_profile(point, picture_tree, host, tmp_path):
    every = dict(default_hooks__checkpoint__interval=3)
    train(config(picture_tree, host, tmp_path / 'whole', **every))
    again = config(picture_tree, host, tmp_path / 'again', **every)
    again.resume, again.load_from = True, str(tmp_path / 'whole' / point)
    train(again)
    assert profile_of(tmp_path / 'again') == profile_of(tmp_path / 'whole')


def test_an_expand_phase_leaves_the_adapter_alone(picture_tree, host, tmp_path):
    phases = [dict(kind='expand', iters=2, weights=dict(learn=1.0, retain=1.0)), learn(iters=2)]
    train(config(picture_tree, host, tmp_path, phases))
    expand, then = profile_of(tmp_path)['phases']
    assert expand['gradient'] == [[0.0, 0.0]] * 2 and expand['change'] == [[0.0, 0.0]] * 2
    assert min(then['gradient'][0]) > 0


def test_a_model_without_adapters_has_no_profile(tmp_path):
    class Runner:
        class swapper:
            adapters = {}

    hook = BlockProfileHook()
    hook.before_train(Runner)
    hook.before_train_iter(Runner, 0)
    hook.after_train_iter(Runner, 0)
    checkpoint = {}
    hook.before_save_checkpoint(Runner, checkpoint)
    hook.after_train(Runner)
    assert checkpoint == {}


def test_no_step_waits_for_the_device(picture_tree, host, tmp_path):
    runner, _ = train(config(picture_tree, host, tmp_path))
    profile = BlockProfile(BlockNorms(runner.swapper.host, runner.swapper.adapter_name), parts=2)
    for parameter in runner.swapper.adapters.values():
        parameter.grad = torch.ones_like(parameter)
    phase = runner.swap_schedule.phases[0]
    with waits() as found:
        profile.begin(phase)
        for iteration in range(phase.length - 1):
            profile.step(iteration)
            assert profile.end_iteration(iteration + 1) is False
    assert found == []


@pytest.mark.parametrize('parts', [0, 1.5, True, '4'])
def test_parts_are_checked(parts, raises_config_error):
    with raises_config_error('custom_hooks.BlockProfileHook.parts', parts, 'integer'):
        BlockProfileHook(parts)


@pytest.fixture
def tool(analysis_tool):
    return analysis_tool('block_profile')


@pytest.mark.parametrize('ending', ['svg', 'png'])
def test_the_tool_draws_and_prints(ending, run, tool, tmp_path, capsys):
    picture = tmp_path / 'new' / f'where.{ending}'
    tool(run, run, '--out', picture, '--names', 'ViT')
    assert picture.stat().st_size > 5000
    printed = capsys.readouterr().out
    assert '| ViT | learn | 2 |' in printed and '| ViT | forget | 2 |' in printed
    assert f'The figure is {picture}.' in printed


@pytest.mark.parametrize(
    ('text', 'problem'),
    [(None, 'there is no'), ('{', 'is broken'), ('{"blocks": ["a"], "phases": []}', 'no phase')],
)
def test_the_tool_says_what_is_missing(text, problem, tool, tmp_path):
    if text is not None:
        (tmp_path / 'block_profile.json').write_text(text)
    with pytest.raises(SystemExit, match=f'ConfigError: RUN = .*{problem}.*Fix: train with'):
        tool(tmp_path, '--out', tmp_path / 'x.png')
    assert not (tmp_path / 'x.png').exists()


def test_the_tool_wants_a_name_for_each_host(run, tool, tmp_path):
    with pytest.raises(SystemExit, match=r'--names = .*1 host\(s\)'):
        tool(run, '--out', tmp_path / 'x.png', '--names', 'a', 'b')
