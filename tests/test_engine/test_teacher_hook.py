"""The teacher of a phase, and the damage that is repaired with it, in whole runs."""

import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS, RUNNERS, DefaultScope

from knowswap_mm.engine import UndoHook
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.models import merged_host
from knowswap_mm.models.losses.undo import shrink_and_perturb
from tests.helpers.swap_configs import forget, learn, swap_config, train, weights_of

FORGET = forget(iters=3, bound='none', merge_learned=True)
REPAIRED = [
    learn(iters=2, weights=dict(learn=1.0, retain=0.2)),
    forget(iters=2, weights=dict(retain=1.0, forget=0.2)),
    forget(iters=2, weights=dict(retain=1.0, forget=1.0), bound='none'),
]


class KeepTeachers(Hook):
    """Remembers the teacher of each iteration."""

    priority = 'HIGH'

    def __init__(self):
        self.found = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.found[runner.iter] = runner.swapper.swapping_loss.teacher


@pytest.fixture(scope='module')
def make(picture_tree, host):
    def config(work_dir, phases=None, loss='DecoupledDistillationLoss', hook='TeacherHook', **more):
        more.setdefault('default_hooks__checkpoint__interval', 1)
        chosen = phases or [learn(iters=3), FORGET]
        config = swap_config(picture_tree, work_dir, chosen, host=host, policy='all', **more)
        config.model.loss = dict(type=f'knowswap_mm.{loss}')
        config.custom_hooks = [dict(type=f'knowswap_mm.{hook}')] if hook else []
        return config

    return config


def full(config):
    """The same config with all weights trained."""
    config.model.update(type='knowswap_mm.FullTrainingSwapper', lora=None)
    return config


def taught(config):
    """Train; gives the runner and the teachers by iteration."""
    runner, keep = RUNNERS.build(config), KeepTeachers()
    runner.register_hook(keep)
    runner.train()
    return runner, keep.found


def logits(host, config):
    """What a host says of two images."""
    size = config.model.host.backbone.img_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return host.eval()(images, mode='tensor')


def at_the_end_of(phase, config, work_dir):
    """The merged host of a checkpoint."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        swapper = MODELS.build(config.model)
    swapper.load_state_dict(weights_of(work_dir / f'{phase}.pth'))
    return merged_host(swapper)


def test_the_teacher_is_the_model_at_the_start_of_the_phase(make, tmp_path):
    phases = [learn(iters=2), FORGET, learn(iters=2), FORGET]
    runner, found = taught(make(tmp_path, phases))
    # 2 iterations of learn, 3 of forget, and both again.
    assert [i for i, teacher in found.items() if teacher is None] == [0, 1, 5, 6]
    assert found[2] is found[4] and found[7] is found[9] and found[4] is not found[7]
    for iteration, phase in ((2, 'phase1_learn'), (7, 'phase3_learn')):
        teacher, config = found[iteration], make(tmp_path / 'other')
        wanted = logits(at_the_end_of(phase, config, tmp_path), config)
        torch.testing.assert_close(logits(teacher.host, config), wanted)
        # a to e are old and b is forgotten; x and y were learned.
        assert (teacher.known, teacher.old) == (7, 5)
        assert teacher.hidden.tolist() == [name == 'b' for name in 'abcdexy']
    assert not torch.equal(logits(found[2].host, config), logits(found[7].host, config))
    last = merged_host(runner.swapper)
    assert not torch.allclose(logits(found[7].host, config), logits(last, config))


def test_without_a_learn_phase_it_knows_the_old_classes(make, tmp_path):
    config = make(tmp_path, [forget(iters=2, bound='none'), learn(iters=1)])
    config.swap.classes = dict(old=list('abcde'), learn=list('xy'), forget=['b'], retain=['a', 'd'])
    _, found = taught(config)
    assert found[0].known == 5 and found[0].hidden.tolist() == [False, True, True, False, True]


def test_a_resumed_run_has_the_same_teacher(make, tmp_path):
    runner, found = taught(make(tmp_path / 'whole', dropout=0.1))
    again = make(tmp_path / 'again', dropout=0.1)
    again.resume, again.load_from = True, str(tmp_path / 'whole' / 'iter_4.pth')
    other, rest = taught(again)
    assert list(rest) == [4, 5]
    config = make(tmp_path / 'other')
    assert torch.equal(logits(rest[4].host, config), logits(found[4].host, config))
    pairs = zip(runner.swapper.parameters(), other.swapper.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_a_checkpoint_without_a_teacher_is_refused(make, tmp_path):
    plain = make(tmp_path / 'plain', loss='WeightedSumLoss', hook=None)
    train(plain)
    again = make(tmp_path / 'again')
    again.resume, again.load_from = True, str(tmp_path / 'plain' / 'iter_4.pth')
    with pytest.raises(CheckpointError, match=r'no teacher of phase2_forget.*Fix: resume'):
        RUNNERS.build(again).train()


def test_weights_are_damaged_and_the_teacher_is_not(make, tmp_path):
    frozen = dict(type='SGD', lr=1e-30)
    config = full(make(tmp_path, REPAIRED, 'UndoLoss', 'UndoHook'))
    config.custom_hooks[0].update(share=0.4, noise=0.3)
    config.optim_wrapper.optimizer = frozen
    _, found = taught(config)
    assert [i for i, teacher in found.items() if teacher is None] == [0, 1, 2, 3]
    before, after = (
        at_the_end_of(phase, config, tmp_path) for phase in ('phase2_forget', 'phase3_forget')
    )
    torch.testing.assert_close(logits(found[4].host, config), logits(before, config))
    wanted, damaged = (dict(host.named_parameters()) for host in (before, after))
    kernels = {name for name, value in wanted.items() if value.dim() > 1}
    assert 0 < len(kernels) < len(wanted)
    for name, value in wanted.items():
        if name not in kernels:
            assert torch.allclose(damaged[name], value, atol=1e-6), name
    name = 'backbone.layers.0.ffn.layers.1.weight'
    noise = (damaged[name] - 0.6 * wanted[name]) / (0.4 * 0.3)
    # Xavier's: the variance is 2 over the sum of both sides, 32 and 64.
    assert noise.std().item() == pytest.approx(math.sqrt(2 / 96), rel=0.1)
    # The same noise in a run with the same seed, another one in a run with another.
    for other, same in ((3, True), (4, False)):
        config = full(make(tmp_path / str(other), REPAIRED, 'UndoLoss', 'UndoHook'))
        config.custom_hooks[0].update(share=0.4, noise=0.3)
        config.optim_wrapper.optimizer, config.randomness.seed = frozen, other
        taught(config)
        again = at_the_end_of('phase3_forget', config, tmp_path / str(other))
        equal = [torch.equal(p, damaged[n]) for n, p in again.named_parameters() if n in kernels]
        assert all(equal) if same else not any(equal)


def test_the_damage_is_a_function_of_the_seed():
    one, two, other = ({'w': torch.nn.Parameter(torch.zeros(3, 4))} for _ in range(3))
    for weights, seed in ((one, 1), (two, 1), (other, 2)):
        shrink_and_perturb(weights, 0.5, 1.0, seed)
    assert torch.equal(one['w'], two['w']) and not torch.equal(one['w'], other['w'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(loss='SwappingLoss'), r'model\.loss\.type.*SwappingLoss.*no TeacherHook'),
        (dict(loss='SwappingLoss', hook='UndoHook'), r'model\.loss\.type.*UndoLoss repairs'),
        (dict(loss='UndoLoss', hook='UndoHook'), r'model\.type.*beneath the adapters'),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, make, tmp_path):
    phases = REPAIRED if changes['loss'] == 'UndoLoss' else [learn(iters=1), forget(iters=1)]
    with pytest.raises(ConfigError, match=message):
        RUNNERS.build(make(tmp_path, phases, **changes)).train()


def test_a_guard_and_damage_do_not_go_together(make, tmp_path):
    config = full(make(tmp_path, REPAIRED, 'UndoLoss', 'UndoHook'))
    config.swap.guard = True
    with pytest.raises(ConfigError, match=r'swap\.guard.*take back.*Fix: set swap\.guard = False'):
        RUNNERS.build(config).train()


@pytest.mark.parametrize('settings', [dict(share=0), dict(share=1.5), dict(noise=-0.1)])
def test_bad_numbers(settings, raises_config_error):
    ((key, value),) = settings.items()
    with raises_config_error(f'custom_hooks.UndoHook.{key}', value, 'finite number'):
        UndoHook(**settings)
