"""Keys of mmengine and torch: a wrong value is named before training, not by a traceback."""

import pytest
import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS

from knowswap_mm.engine.foreign_hooks import _REFUSED
from knowswap_mm.errors import ConfigError, SwapError
from tests.helpers.swap_configs import assert_same_weights, learn, swap_config, train, weights_of

GONE = object()
SAVE_BEST, STOPPING = 'default_hooks.checkpoint.save_best', 'custom_hooks.EarlyStoppingHook.monitor'
LAYER_DECAY = dict(
    optimizer=dict(type='AdamW', lr=1e-3),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.5),
)
WRONG = [
    ('train_dataloader.persistent_workers', True, 'train_dataloader.persistent_workers'),
    ('val_dataloader.persistent_workers', True, 'val_dataloader.persistent_workers'),
    ('test_dataloader.persistent_workers', True, 'test_dataloader.persistent_workers'),
    ('train_dataloader.prefetch_factor', 4, 'train_dataloader.prefetch_factor'),
    ('val_dataloader.timeout', 5, 'val_dataloader.timeout'),
    ('val_dataloader.multiprocessing_context', 'spawn', 'val_dataloader.multiprocessing_context'),
    ('train_dataloader.num_workers', -1, 'train_dataloader.num_workers'),
    ('val_dataloader.num_workers', '2', 'val_dataloader.num_workers'),
    ('val_dataloader.batch_size', 0, 'val_dataloader.batch_size'),
    ('val_dataloader.shufle', True, 'val_dataloader'),
    ('train_dataloader.sampler', dict(type='NoSuch'), 'train_dataloader'),
    ('train_dataloader.collate_fn', dict(type='no_such'), 'train_dataloader'),
    ('val_dataloader.dataset.lazy', 5, ''),
    ('train_dataloader.batch_size', 1, 'swap.phases.0.split'),
    ('train_cfg.max_epochs', 3, 'train_cfg.max_epochs'),
    ('train_cfg.val_interval', 0, 'train_cfg.val_interval'),
    ('train_cfg.val_interval', 1.5, 'train_cfg.val_interval'),
    ('train_cfg.val_begin', 'a', 'train_cfg.val_begin'),
    ('train_cfg.val_intervall', 5, 'train_cfg'),
    ('train_cfg.dynamic_intervals', 5, 'train_cfg'),
    ('train_cfg.fast_forward_on_resume', True, 'train_cfg.fast_forward_on_resume'),
    ('val_cfg.fp17', True, 'val_cfg'),
    ('val_cfg.type', 'NoLoop', 'val_cfg'),
    ('optim_wrapper.type', 'AmpOptimWrapper', 'optim_wrapper.type'),
    ('optim_wrapper.type', 'ApexOptimWrapper', 'optim_wrapper'),
    ('optim_wrapper.type', 'NoWrapper', 'optim_wrapper'),
    ('optim_wrapper.optimizer.type', 'AdamX', 'optim_wrapper'),
    ('optim_wrapper.optimizer.lr', 'fast', 'optim_wrapper'),
    ('optim_wrapper.optimizer.lr', -1.0, 'optim_wrapper'),
    ('optim_wrapper.optimizer.lrr', 1.0, 'optim_wrapper'),
    ('optim_wrapper.clip_grad', {}, 'optim_wrapper.clip_grad'),
    ('optim_wrapper.clip_grad', 0.1, 'optim_wrapper.clip_grad'),
    ('optim_wrapper.clip_grad', dict(type='norms', max_norm=1.0), 'optim_wrapper'),
    ('optim_wrapper.clip_grad', dict(max_nrm=1.0), 'optim_wrapper.clip_grad'),
    ('optim_wrapper.clip_grad', dict(norm_type=2), 'optim_wrapper.clip_grad'),
    ('optim_wrapper.clip_grad', dict(max_norm=0), 'optim_wrapper.clip_grad.max_norm'),
    ('optim_wrapper.clip_grad', dict(max_norm='1'), 'optim_wrapper.clip_grad.max_norm'),
    ('optim_wrapper.paramwise_cfg', 5, 'optim_wrapper'),
    ('optim_wrapper', LAYER_DECAY, 'optim_wrapper'),
    ('param_scheduler', dict(type='NoLR'), 'param_scheduler'),
    ('param_scheduler', dict(type='LinearLR', factor=1), 'param_scheduler'),
    ('param_scheduler', 5, 'param_scheduler'),
    ('param_scheduler', [5], 'param_scheduler'),
    ('param_scheduler', dict(optimizer=[dict(type='LinearLR')]), 'param_scheduler'),
    ('auto_scale_lr', dict(enable=True), 'auto_scale_lr'),
    (SAVE_BEST, 'retain/accuracy/top5', SAVE_BEST),
    (SAVE_BEST, ['accuracy/top1'], SAVE_BEST),
    ('default_hooks.checkpoint.by_epoch', True, 'default_hooks.checkpoint.by_epoch'),
    ('default_hooks.checkpoint.by_epoch', GONE, 'default_hooks.checkpoint.by_epoch'),
    ('default_hooks', 5, 'default_hooks'),
    ('custom_hooks', [dict(type='EarlyStoppingHook', monitor='accuracy/top1')], STOPPING),
    ('custom_hooks', [dict(type='EMAHook', begin_iter=99)], 'custom_hooks.EMAHook.begin_iter'),
    ('custom_hooks', [dict(type='EMAHook', begin_epoch=2)], 'custom_hooks.EMAHook.begin_epoch'),
    ('custom_hooks', [dict(type='EMAHook', momentum=5)], 'custom_hooks'),
    ('custom_hooks', [dict(type='ProfilerHook', schedule=None)], 'custom_hooks.ProfilerHook.by_ep'),
    ('custom_hooks', [dict(type='FailingHook')], 'custom_hooks'),
    ('custom_hooks', 5, 'custom_hooks'),
    ('custom_hooks', [5], 'custom_hooks'),
    ('custom_hooks', [dict(type='NoSuchHook')], 'custom_hooks'),
    ('custom_hooks', [dict(typ='EMAHook')], 'custom_hooks'),
    ('custom_hooks', [dict(type='VisualizationHook', enable=True, interval=1)], 'custom_hooks'),
    ('activation_checkpointing', ['backbone'], 'activation_checkpointing'),
    ('activation_checkpointing', 'host.backbone.blocks.*', 'activation_checkpointing'),
    ('efficient_conv_bn_eval', 'backbone', 'efficient_conv_bn_eval'),
    ('model_wrapper_cfg', dict(type='MMFullyShardedDataParallel'), 'model_wrapper_cfg.type'),
    ('optim_wrapper.optimizer', dict(type='LBFGS'), 'optim_wrapper.optimizer.type'),
    ('default_hooks.param_scheduler', None, 'default_hooks.param_scheduler'),
    ('load_from', '.', ''),
    ('load_from', 5, 'load_from'),
    ('resume', 'no.pth', ''),
    ('work_dir', 5, 'work_dir'),
    ('work_dir', __file__, 'work_dir'),
    ('work_dir', f'{__file__}/run', 'work_dir'),
    ('work_dir', '/proc/run', 'work_dir'),
]


@HOOKS.register_module()
class FailingHook(Hook):
    """A hook of a plain host."""

    def before_train(self, runner):
        runner.model.head.weight.mul_(2)


@pytest.mark.parametrize(
    ('path', 'value', 'key'),
    WRONG,
    ids=[f'{p}={"absent" if v is GONE else str(v)[:40]}' for p, v, _ in WRONG],
)
@pytest.mark.filterwarnings('ignore')
def test_wrong_values_are_named(path, value, key, picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path / 'run', host=host, custom_hooks=[])
    config.param_scheduler = dict(type='ConstantLR')
    *above, name = path.split('.')
    place = config
    for each in above:
        place = place[each]
    if value is GONE:
        del place[name]
    else:
        place[name] = value
    with pytest.raises(SwapError) as caught:
        train(config)
    message = str(caught.value)
    assert message.startswith(key) and 'Fix: ' in message, message
    assert isinstance(caught.value, ConfigError) or not key
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize('name', sorted(_REFUSED))
def test_hooks_that_break_a_swap_are_refused(name, picture_tree, host, tmp_path):
    """By the name of their class: subclasses and other packages' of the same name, too."""
    parent = type(name, (Hook,), {'__module__': 'mmdet.engine.hooks'})
    HOOKS.register_module(name=f'tests_{name}', module=type('Own', (parent,), {}), force=True)
    config = swap_config(
        picture_tree, tmp_path, host=host, custom_hooks=[dict(type=f'tests_{name}')]
    )
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == 'custom_hooks' and 'Own' in str(caught.value)


def test_every_refused_hook_exists():
    import mmcv.cnn.rfsearch  # noqa: F401
    import mmdet.engine.hooks  # noqa: F401
    import mmpretrain.engine.hooks  # noqa: F401
    from mmdet.registry import HOOKS as DETECTION
    from mmpretrain.registry import HOOKS as CLASSIFICATION

    known = {*HOOKS.module_dict, *DETECTION.module_dict, *CLASSIFICATION.module_dict}
    assert set(_REFUSED) - known <= {'RFSearchHook'}  # registered as RFSearch


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (dict(default_hooks__checkpoint__save_best='swap/score'), SAVE_BEST),
        (dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='acc')]), STOPPING),
    ],
)
def test_no_evaluation_to_wait_for(change, key, picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host, **change)
    config.default_hooks.checkpoint.rule = 'greater'
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == key


@pytest.mark.parametrize('average', [False, True])
def test_a_wrong_metric_found_late_costs_nothing(average, picture_tree, host, tmp_path):
    """The start is not evaluated, so that the name is first looked for in the second iteration."""
    hooks = [dict(type='knowswap_mm.PhaseHook', evaluate_start=False)]
    hooks += [dict(type='EMAHook', momentum=0.3)] if average else []

    def config(folder, **more):
        settings = dict(train_cfg__val_interval=2, custom_hooks=hooks) | more
        return swap_config(picture_tree, tmp_path / folder, host=host, **settings)

    wrong = config('a', default_hooks__checkpoint__save_best='retain/accuracy/top5')
    with pytest.raises(ConfigError, match="Fix: use one of .*'retain/accuracy/top1'"):
        train(wrong)
    assert (tmp_path / 'a/iter_2.pth').is_file()
    train(config('a', resume='auto'))
    train(config('b'))
    assert_same_weights(*(weights_of(tmp_path / f / 'phase2_forget.pth') for f in 'ab'))


def test_a_run_that_a_hook_ends_is_saved_and_says_so(picture_tree, host, tmp_path):
    stopping = dict(
        type='EarlyStoppingHook', monitor='retain/accuracy/top1', patience=1, min_delta=100
    )

    def config(folder, hooks, **more):
        return swap_config(
            picture_tree,
            tmp_path / folder,
            host=host,
            train_cfg__val_interval=1,
            custom_hooks=hooks,
            **more,
        )

    train(config('a', [stopping]))
    log = next((tmp_path / 'a').glob('*/*.log')).read_text()
    assert 'ended the run after 1 of 6 iterations, in phase1_learn (1 of 3)' in log
    assert 'The run ended after 1 of 6 iterations in phase1_learn: a hook ended it: take' in log
    assert not (tmp_path / 'a/adapter').exists()
    train(config('a', [], resume='auto'))
    train(config('b', []))
    assert_same_weights(*(weights_of(tmp_path / f / 'phase2_forget.pth') for f in 'ab'))


def test_a_length_that_is_not_used_is_said(picture_tree, host, tmp_path):
    config = swap_config(
        picture_tree, tmp_path, [learn(iters=1)], host=host, train_cfg__max_iters=80000
    )
    train(config)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'train_cfg.max_iters = 80000 is not used: the phases have 1 iterations' in log


def test_the_metric_that_auto_means_is_said(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, [learn(iters=1)], host=host)
    config.default_hooks.checkpoint.save_best = 'auto'
    train(config)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert "save_best = 'auto' follows 'learn/accuracy/top1', the first of the metrics" in log


def test_activations_that_are_computed_again_change_nothing(picture_tree, host, tmp_path):
    """mmengine's way gave the adapters of a frozen host no gradients at all."""
    asked = (None, ['host.backbone'], 'host.backbone.layers.1', ['host.backbone.layers.*'])
    for folder, modules in zip('abcd', asked, strict=True):
        config = swap_config(picture_tree, tmp_path / folder, host=host, dropout=0.1)
        config.activation_checkpointing = modules
        runner, _ = train(config)
    first, *others = (weights_of(tmp_path / f / 'phase2_forget.pth') for f in 'abcd')
    layers = [f'host.backbone.layers.{i}' for i in range(len(runner.swapper.host.backbone.layers))]
    assert runner.cfg.activation_checkpointing == layers
    for other in others:
        assert_same_weights(first, other)


@pytest.mark.skipif(get_device() != 'cpu', reason='memory can be pinned')
def test_what_needs_no_refusal_works(picture_tree, host, tmp_path):
    """Pinned memory without a device, hooks that only look, workers that persist."""
    hooks = [dict(type='EmptyCacheHook', after_iter=True)]
    config = swap_config(
        picture_tree,
        tmp_path,
        [learn(iters=1)],
        host=host,
        custom_hooks=hooks,
        train_dataloader__pin_memory=True,
        val_dataloader__pin_memory=True,
    )
    config.val_dataloader.update(num_workers=1, persistent_workers=True, prefetch_factor=2)
    runner = RUNNERS.build(config)
    runner.train()
    assert torch.isfinite(next(iter(runner.swapper.adapters.values()))).all()
