"""Between two log steps the training loop of a classifier's swap never waits for the device."""

import pytest
import torch
from mmengine.registry import RUNNERS
from mmengine.runner import IterBasedTrainLoop

from tests.helpers.swap_configs import forget, learn, swap_config
from tests.helpers.waits import waits

PHASES = [
    learn(iters=9),
    forget(iters=9, merge_learned=True),
    dict(kind='joint', iters=5, bound=105.0, weights=dict(sparsity=0.005)),
]
INTERVAL, TOTAL = 4, 23
#: Iterations in which a phase begins: they end the one before, evaluate and save.
BEGINS = (0, 9, 18)
#: After it, once a run, the gradients that reached the adapters are looked at.
LOOK = 1
#: Neither those, nor the steps that log, nor the last one, which saves.
QUIET = [i for i in range(TOTAL - 1) if (i + 1) % INTERVAL and i not in (*BEGINS, LOOK)]
THEIRS = dict(runtime_info='RuntimeInfoHook', wrapper=dict(type='OptimWrapper'))
OURS = dict(
    runtime_info='knowswap_mm.DeviceScalarsHook', wrapper=dict(type='knowswap_mm.SwapOptimWrapper')
)
TAUGHT = ['DecoupledDistillationLoss', 'TiltedReweightingLoss']
UNBOUNDED = ['DistillationForgettingLoss', 'GradientAscentLoss', *TAUGHT]
LOSSES = ['SwappingLoss', 'ElasticWeightLoss', *UNBOUNDED]


def make_config(picture_tree, host, folder, pieces, loss='SwappingLoss', **changes):
    config = swap_config(
        picture_tree,
        folder,
        PHASES,
        host=host,
        dropout=0.1,
        policy='new_rows',
        param_scheduler=dict(type='CosineAnnealingLR', eta_min=1e-5),
        default_hooks__runtime_info=dict(type=pieces['runtime_info']),
        default_hooks__logger__interval=INTERVAL,
        swap__nonfinite=dict(interval=INTERVAL),
        model__loss=dict(type=f'knowswap_mm.{loss}'),
        **changes,
    )
    config.optim_wrapper.update(pieces['wrapper'], clip_grad=dict(max_norm=1.0))
    if loss in TAUGHT:
        config.custom_hooks = [dict(type='knowswap_mm.TeacherHook')]
    if loss in UNBOUNDED:
        for phase in config.swap.phases[1:]:
            phase.bound = 'none'
    if loss == 'ElasticWeightLoss':
        config.custom_hooks = [dict(type='knowswap_mm.FisherHook', samples=4)]
    return config


def found_in(config, monkeypatch):
    """What each iteration of a run would wait for."""
    found = {}
    run_iter = IterBasedTrainLoop.run_iter

    def watched(loop, data_batch):
        optimizer = loop.runner.optim_wrapper.optimizer

        def lies_on_host(tensor):
            # An optimizer that is not fused keeps its step counts there.
            steps = [] if optimizer.defaults['fused'] else optimizer.state.values()
            return any(tensor.data_ptr() == state['step'].data_ptr() for state in steps)

        with waits(lies_on_host) as found[loop.iter]:
            run_iter(loop, data_batch)

    monkeypatch.setattr(IterBasedTrainLoop, 'run_iter', watched)
    RUNNERS.build(config).train()
    assert list(found) == list(range(TOTAL))
    return found


@pytest.mark.parametrize('loss', LOSSES)
def test_no_wait_between_log_steps(loss, picture_tree, host, tmp_path, monkeypatch):
    config = make_config(picture_tree, host, tmp_path, OURS, loss)
    found = found_in(config, monkeypatch)
    assert {i: found[i] for i in QUIET if found[i]} == {}
    # One look at the losses, and one copy of everything that is logged.
    assert [entry.split('/')[-1].split(':')[0] for entry in found[LOOK]] == ['untrained.py']
    for i in set(range(TOTAL)) - set(QUIET) - set(BEGINS) - {LOOK, TOTAL - 1}:
        names = [entry.split()[0] for entry in found[i]]
        assert names == ['tolist', 'tolist'], found[i]


@pytest.mark.parametrize('fused', [None, True])
@pytest.mark.parametrize('dtype', [None, 'bfloat16'])
def test_no_wait_whatever_the_optimizer(fused, dtype, picture_tree, host, tmp_path, monkeypatch):
    config = make_config(picture_tree, host, tmp_path, OURS)
    config.optim_wrapper.dtype = dtype
    config.optim_wrapper.optimizer.fused = fused
    found = found_in(config, monkeypatch)
    assert {i: found[i] for i in QUIET if found[i]} == {}


@pytest.mark.parametrize('fused', [False, True])
def test_a_run_that_skips_waits_once_a_step_or_never(
    fused, picture_tree, host, tmp_path, monkeypatch
):
    config = make_config(picture_tree, host, tmp_path, OURS)
    config.swap.nonfinite.action = 'skip'
    config.optim_wrapper.optimizer.fused = fused
    found = found_in(config, monkeypatch)
    assert {len(found[i]) for i in QUIET} == {0 if fused else 1}


def test_the_pieces_of_mmengine_wait_many_times(picture_tree, host, tmp_path, monkeypatch):
    found = found_in(make_config(picture_tree, host, tmp_path, THEIRS), monkeypatch)
    for i in QUIET:
        from_hub = [entry for entry in found[i] if 'logging/message_hub.py' in entry]
        from_clipping = [entry for entry in found[i] if 'optimizer_wrapper.py' in entry]
        assert len(from_hub) >= 9 and len(from_clipping) == 1
        assert len(from_hub) + len(from_clipping) == len(found[i]), found[i]


def test_what_the_search_finds():
    tensor = torch.tensor([1.0, 2.0])
    for read in (
        lambda: tensor[0].item(),
        lambda: float(tensor[0]),
        lambda: bool(tensor[0]),
        lambda: tensor.tolist(),
        lambda: tensor.numpy(),
        lambda: tensor.cpu(),
        lambda: tensor[tensor > 1],
        lambda: tensor.nonzero(),
        lambda: torch.equal(tensor, tensor),
        lambda: tensor.to('meta'),
        lambda: torch.tensor([1.0], device=tensor.device),
        lambda: tensor.new_tensor([1.0]),
    ):
        with waits() as found:
            read()
        assert found and 'test_waits.py' in found[0]
    with waits() as found:
        (tensor * 2).sum() + tensor[0]
    assert not found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('dtype', [None, 'bfloat16'])
def test_torch_sees_no_wait_either(loss, dtype, picture_tree, host, tmp_path, monkeypatch):
    """torch raises an error where the host waits for CUDA."""
    run_iter = IterBasedTrainLoop.run_iter

    def watched(loop, data_batch):
        torch.cuda.set_sync_debug_mode('error' if loop.iter in QUIET else 'default')
        try:
            run_iter(loop, data_batch)
        finally:
            torch.cuda.set_sync_debug_mode('default')

    monkeypatch.setattr(IterBasedTrainLoop, 'run_iter', watched)
    config = make_config(picture_tree, host, tmp_path, OURS, loss)
    config.optim_wrapper.dtype = dtype
    RUNNERS.build(config).train()
