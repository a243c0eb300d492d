"""Going on from a checkpoint gives, bit by bit, what the uninterrupted run gave."""

import json
import shutil

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.errors import CheckpointError
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

# A batch of 32 has 16 retain samples: 48 make epochs of 3 iterations, 72 with the learned data 5.
PHASES = [learn(epochs=2), forget(epochs=2, merge_learned=True, restart_optimizer=True)]
BOUNDARY, TOTAL = 6, 16
SCHEDULERS = dict(
    by_epoch=dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True),
    by_iteration=[
        dict(type='LinearLR', start_factor=0.1, end=2),
        dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2),
    ],
)
# In the middle of an epoch of phase 1, on the boundary (two files), in the middle of phase 2.
POINTS = ['iter_4.pth', 'iter_6.pth', 'phase1_learn.pth', 'iter_9.pth']


@pytest.fixture(scope='module', params=sorted(SCHEDULERS))
def whole(request, picture_tree, host, tmp_path_factory):
    """The uninterrupted run: how to configure it, where it is, what it did."""
    folder = tmp_path_factory.mktemp(request.param)

    def config(work_dir, phases=PHASES, **changes):
        return swap_config(
            picture_tree,
            work_dir,
            phases,
            host=host,
            batch_size=32,
            dropout=0.1,
            policy='new_rows',
            param_scheduler=SCHEDULERS[request.param],
            default_hooks__checkpoint__interval=1,
            **changes,
        )

    _, recorder = train(config(folder))
    assert recorder.column('iteration') == list(range(TOTAL))
    return config, folder, recorder


def resumed(config, checkpoint):
    config.resume, config.load_from = True, str(checkpoint)
    return train(config)


@pytest.mark.parametrize('point', POINTS)
def test_resumed_run_equals_the_whole_one(point, whole, tmp_path):
    make_config, folder, recorder = whole
    runner, again = resumed(make_config(tmp_path), folder / point)
    begin = BOUNDARY if point.startswith('phase') else int(point[5:-4])
    rest = recorder.steps[begin:]
    assert again.column('iteration') == list(range(begin, TOTAL))
    for name in ('lr', 'samples', 'phases', 'training', 'trainable', 'loss'):
        assert again.column(name) == [step[name] for step in rest], name
    # At the boundary itself the state is still that of phase 1; afterwards it must be the same.
    assert again.column('adam_step')[1:] == [step['adam_step'] for step in rest][1:]
    last = weights_of(folder / 'phase2_forget.pth')
    assert_same_weights(weights_of(tmp_path / 'phase2_forget.pth'), last)
    whole_results, results = (
        json.loads((path / 'swap_results.json').read_text()) for path in (folder, tmp_path)
    )
    assert results == whole_results
    assert list(results['states']) == ['start', 'phase1_learn', 'phase2_forget']


def test_optimizer_state_is_the_same(whole, tmp_path):
    make_config, folder, _ = whole
    resumed(make_config(tmp_path), folder / 'iter_9.pth')
    states = [
        torch.load(path / 'phase2_forget.pth', weights_only=False)['optimizer']['state']
        for path in (folder, tmp_path)
    ]
    assert states[0].keys() == states[1].keys() and states[0]
    for key, state in states[0].items():
        for name, value in state.items():
            assert torch.equal(value, states[1][key][name])


def test_kept_optimizer_state_survives_the_boundary(picture_tree, host, tmp_path):
    phases = [learn(iters=3), forget(iters=3, lr_factor=0.5)]
    _, recorder = train(swap_config(picture_tree, tmp_path / 'whole', phases, host=host))
    config = swap_config(picture_tree, tmp_path / 'again', phases, host=host)
    _, again = resumed(config, tmp_path / 'whole' / 'phase1_learn.pth')
    for name in ('adam_step', 'moments', 'lr'):
        assert again.column(name) == recorder.column(name)[3:]
    left, right = (weights_of(tmp_path / n / 'phase2_forget.pth') for n in ('whole', 'again'))
    assert_same_weights(left, right)


def test_finished_run_only_repeats_its_end(whole, tmp_path):
    make_config, folder, _ = whole
    _, again = resumed(make_config(tmp_path), folder / 'phase2_forget.pth')
    assert again.steps == []
    left, right = (weights_of(path / 'phase2_forget.pth') for path in (folder, tmp_path))
    assert_same_weights(left, right)


def test_changed_schedule_is_refused(whole, tmp_path):
    make_config, folder, _ = whole
    phases = [learn(epochs=2), forget(epochs=3, merge_learned=True, restart_optimizer=True)]
    shutil.copytree(folder, tmp_path / 'run')
    with pytest.raises(CheckpointError, match='another schedule.*Fix: resume with the config'):
        resumed(make_config(tmp_path / 'run', phases), folder / 'iter_4.pth')
    for path in folder.glob('*.*'):  # nothing of the earlier run is lost
        assert (tmp_path / 'run' / path.name).read_bytes() == path.read_bytes(), path.name


def test_weights_without_training_state_are_refused(whole, host, tmp_path):
    make_config, folder, _ = whole
    plain = tmp_path / 'plain.pth'
    torch.save(dict(state_dict=weights_of(folder / 'iter_4.pth')), plain)
    for path in (plain, host):
        with pytest.raises(CheckpointError, match='weights but no training state.*Fix: resume'):
            resumed(make_config(tmp_path / 'run'), path)
    with pytest.raises(CheckpointError, match='no such file'):
        resumed(make_config(tmp_path / 'run'), tmp_path / 'missing.pth')


def test_random_seed_is_taken_over(picture_tree, host, tmp_path):
    """Without a seed in the config a run draws one; the resumed run must go on with that one."""
    phases = [learn(iters=6)]
    changes = dict(host=host, dropout=0.1, default_hooks__checkpoint__interval=3)
    changes['train_dataloader__num_workers'] = 1
    config = swap_config(picture_tree, tmp_path / 'whole', phases, **changes)
    config.randomness = dict(seed=None)
    runner, recorder = train(config)
    config = swap_config(picture_tree, tmp_path / 'again', phases, **changes)
    config.randomness = dict(seed=None)
    again_runner, again = resumed(config, tmp_path / 'whole' / 'iter_3.pth')
    assert again_runner.seed == runner.seed
    assert again.column('samples') == recorder.column('samples')[3:]
    assert again.column('loss') == recorder.column('loss')[3:]
    left, right = (weights_of(tmp_path / n / 'phase1_learn.pth') for n in ('whole', 'again'))
    assert_same_weights(left, right)


def test_automatic_resume_finds_the_end_of_a_phase(whole, tmp_path):
    """A run that broke before its first periodic checkpoint goes on from the phase it finished."""
    make_config, folder, recorder = whole
    config = make_config(tmp_path)
    config.default_hooks.checkpoint.interval = 1000
    runner = RUNNERS.build(config)

    def stop(*_):
        raise KeyboardInterrupt

    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'LoggerHook')
    hook.after_train_iter = lambda run, *a, **k: stop() if run.iter == BOUNDARY + 2 else None
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert not list(tmp_path.glob('iter_*.pth'))
    config = make_config(tmp_path)
    config.resume, config.load_from = True, None
    _, again = train(config)
    assert again.column('iteration') == list(range(BOUNDARY, TOTAL))
    left, right = (weights_of(path / 'phase2_forget.pth') for path in (folder, tmp_path))
    assert_same_weights(left, right)


def test_resume_in_the_own_folder_keeps_the_results(whole, tmp_path):
    make_config, folder, _ = whole
    shutil.copytree(folder, tmp_path / 'run')
    before = json.loads((folder / 'swap_results.json').read_text())
    resumed(make_config(tmp_path / 'run'), tmp_path / 'run' / 'iter_9.pth')
    assert json.loads((tmp_path / 'run' / 'swap_results.json').read_text()) == before


#: As docs/performance.md names them, the fastest last.
ACCELERATIONS = dict(
    without=[],
    eager=['LeanLoRA', 'PackedAttention', 'LinearPatches', 'ClassTokenOnly', 'HalfResiduals'],
)
ACCELERATIONS['cpu'] = [*ACCELERATIONS['eager'], 'PackedDropout']
ACCELERATIONS['graphed'] = [
    *ACCELERATIONS['eager'],
    dict(type='knowswap_mm.GraphedBackbone', after=1),
]
ACCELERATIONS['all'] = [
    *ACCELERATIONS['eager'],
    'HashedDropout',
    'CompiledBlocks',
    dict(type='knowswap_mm.GraphedBackbone', after=1),
]


@pytest.mark.parametrize(
    ('chosen', 'deterministic'),
    [
        ('eager', False),
        ('cpu', False),
        *(
            pytest.param(
                name,
                deterministic,
                marks=[
                    pytest.mark.gpu,
                    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
                ],
            )
            for name in ACCELERATIONS
            if name != 'cpu'
            for deterministic in (False, True)
        ),
    ],
)
def test_accelerated_training_in_bfloat16_is_resumed(
    chosen, deterministic, picture_tree, host, tmp_path
):
    """On a GPU a graph is recorded anew after the resume, at another iteration."""

    def config(name):
        return swap_config(
            picture_tree,
            tmp_path / name,
            [learn(iters=6), forget(iters=6, merge_learned=True)],
            host=host,
            batch_size=16,
            dropout=0.1,
            model__accelerations=ACCELERATIONS[chosen],
            optim_wrapper__type='knowswap_mm.SwapOptimWrapper',
            optim_wrapper__dtype='bfloat16',
            default_hooks__checkpoint__interval=4,
            randomness__deterministic=deterministic,
        )

    _, recorder = train(config('whole'))
    _, again = resumed(config('resumed'), tmp_path / 'whole' / 'iter_4.pth')
    assert again.column('loss') == recorder.column('loss')[4:]
    ends = [weights_of(tmp_path / name / 'phase2_forget.pth') for name in ('whole', 'resumed')]
    assert_same_weights(*ends)
