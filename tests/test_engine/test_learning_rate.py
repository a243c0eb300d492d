"""The learning rate over the phases, and what becomes of the optimizer's state."""

import math

import pytest

from knowswap_mm.errors import ConfigError
from tests.helpers.swap_configs import forget, learn, swap_config, train

COSINE = dict(type='CosineAnnealingLR', eta_min=1e-5)
PARITY = [1.000e-2, 9.05e-3, 6.55e-3, 3.46e-3, 9.64e-4]


def cosine(step, length, lr=1e-2, eta_min=1e-5):
    return eta_min + (lr - eta_min) * (1 + math.cos(math.pi * step / length)) / 2


@pytest.fixture
def run(picture_tree, host, tmp_path):
    """Trains phases without evaluation and gives the recorder."""

    def start(phases, param_scheduler=COSINE, **changes):
        config = swap_config(
            picture_tree, tmp_path, phases, host=host, param_scheduler=param_scheduler, **changes
        )
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
        return train(config)[1]

    return start


def test_parity_curve_per_epoch_twice(run):
    """Five epochs of the retain data a phase, as the official recipe has it."""
    phases = [learn(epochs=5), forget(epochs=5, merge_learned=True)]
    rates = run(phases, dict(COSINE, by_epoch=True), batch_size=32).column('lr')
    # 16 retain samples a batch: 48 of retain make 3 iterations, 48 + 24 with the learned data 5.
    epochs = [rates[i : i + 3] for i in range(0, 15, 3)]
    epochs += [rates[i : i + 5] for i in range(15, 40, 5)]
    assert len(rates) == 40
    for epoch, wanted in zip(epochs, PARITY * 2, strict=True):
        assert epoch == pytest.approx([wanted] * len(epoch), abs=1e-5)


def test_cosine_by_iteration_restarts(run):
    rates = run([learn(iters=6), forget(iters=4)]).column('lr')
    wanted = [cosine(i, 6) for i in range(6)] + [cosine(i, 4) for i in range(4)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_one_curve_over_two_phases(run):
    phases = [learn(iters=4), forget(iters=4, restart_lr=False), learn(iters=3)]
    rates = run(phases).column('lr')
    wanted = [cosine(i, 8) for i in range(8)] + [cosine(i, 3) for i in range(3)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_one_curve_by_epoch_over_two_phases(run):
    phases = [learn(epochs=2), forget(epochs=2, restart_lr=False)]
    rates = run(phases, dict(COSINE, by_epoch=True), batch_size=32).column('lr')
    wanted = [cosine(epoch, 4) for epoch in range(4) for _ in range(3)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_one_curve_counts_the_epochs_of_its_first_phase(run):
    phases = [learn(epochs=5), forget(epochs=3, merge_learned=True, restart_lr=False)]
    rates = run(phases, dict(COSINE, by_epoch=True), batch_size=32).column('lr')
    wanted = [cosine(epoch, 10) for epoch in range(10) for _ in range(3)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_factor_reaches_schedulers_that_go_back_to_the_initial_rate(run):
    restarts = dict(type='CosineRestartLR', periods=[2, 2], restart_weights=[1, 0.5], eta_min=0.0)
    rates = run([learn(iters=4), forget(iters=4, lr_factor=0.1)], restarts).column('lr')
    curve = [1e-2, 5e-3, 5e-3, 2.5e-3]
    assert rates == pytest.approx(curve + [rate / 10 for rate in curve], abs=1e-9)


def test_factor_scales_its_phase_only(run):
    phases = [learn(iters=3), forget(iters=3, lr_factor=0.1), learn(iters=3)]
    rates = run(phases, None).column('lr')
    assert rates == pytest.approx([1e-2] * 3 + [1e-3] * 3 + [1e-2] * 3)
    rates = run(phases).column('lr')
    wanted = [cosine(i, 3, lr) for lr in (1e-2, 1e-3, 1e-2) for i in range(3)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_a_phase_with_schedulers_of_its_own(run):
    warm_up = dict(type='LinearLR', start_factor=0.5, end=2)
    step = dict(type='MultiStepLR', milestones=[3], gamma=0.1)
    phases = [learn(iters=4, param_scheduler=[warm_up, step]), forget(iters=3), learn(iters=3)]
    rates = run(phases).column('lr')
    wanted = [5e-3, 1e-2, 1e-2, 1e-3] + [cosine(i, 3) for i in range(3)] * 2
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_schedulers_that_end_early_keep_their_end(run):
    rates = run([learn(iters=5)], dict(COSINE, end=3)).column('lr')
    assert rates == pytest.approx([cosine(min(i, 2), 3) for i in range(5)], abs=1e-9)


def test_parameter_groups_keep_their_ratio(picture_tree, host, tmp_path):
    config = swap_config(
        picture_tree, tmp_path, [learn(iters=2), forget(iters=2, lr_factor=0.5)], host=host
    )
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.optim_wrapper.paramwise_cfg = dict(custom_keys={'lora_B': dict(lr_mult=16.0)})
    runner, recorder = train(config)
    rates = {round(group['lr'], 9) for group in runner.optim_wrapper.optimizer.param_groups}
    assert rates == {5e-3, 8e-2}


@pytest.mark.parametrize('restart', [False, True])
def test_optimizer_state(restart, run):
    phases = [learn(iters=3), forget(iters=3, restart_optimizer=restart)]
    recorder = run(phases)
    steps = recorder.column('adam_step')
    assert steps == ([0, 1, 2] * 2 if restart else list(range(6)))
    at_switch = recorder.column('moments')[3]
    assert at_switch == 0 if restart else at_switch > 0


def test_epochs_cannot_be_counted_in_iterations(run):
    with pytest.raises(ConfigError, match='phase2_forget has no epochs') as caught:
        run([learn(epochs=1), forget(iters=3)], dict(COSINE, by_epoch=True))
    assert caught.value.key == 'param_scheduler' and 'Fix: set by_epoch=False' in str(caught.value)


def test_a_later_phase_whose_schedulers_cannot_be_built(picture_tree, host, tmp_path):
    """It is named before the evaluation at the start, and not when that phase begins."""
    phases = [learn(iters=1), forget(iters=1, param_scheduler=[dict(type='LinearLR', begin=9)])]
    with pytest.raises(ConfigError, match='end should be larger than begin') as caught:
        train(swap_config(picture_tree, tmp_path, phases, host=host))
    assert caught.value.key == 'swap.phases.1.param_scheduler'
    assert not list(tmp_path.glob('**/scalars.json'))
