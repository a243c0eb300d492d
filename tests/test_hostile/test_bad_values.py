"""Wrong values of every config key: what is said, and that nothing is written.

``MATRIX`` has a row for each argument of each registered class. The last test finds what is
missing in it, so that a new key comes with its row.
"""

import inspect
import math
from collections.abc import Mapping
from functools import partial

import mmpretrain.evaluation  # noqa: F401
import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS, Registry, init_default_scope

from knowswap_mm import registry
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.cache import SampleCache
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAInjector
from tests.helpers.tiny_hosts import build_swapper, vit_backbone, vit_host

#: Instead of a value: the key is left out.
DROPPED = object()
#: Values that are neither.
NO_FLAG = [None, 0, 1, 'True', []]
NO_COUNT = [None, 0, -1, 1.5, '5', True, [], math.nan]
NO_SEED = [None, -1, 1.5, '5', True, []]
NO_TEXT = [None, '', 5, ['a'], {}]
NO_TEXTS = ['a', 5, [5], [''], {}, None]
NO_DICT = [5, 'a', ['a'], True]
NO_NUMBER = [None, 'a', math.nan, math.inf, -1.0, True, []]
POSITIVE = [*NO_NUMBER, 0]
SHARE = [*POSITIVE, 1.5]

MATCHING = 'custom_hooks.FeatureMatchingHook'
PHASE, SALIENCY = 'custom_hooks.PhaseHook', 'custom_hooks.SaliencyMaskHook'
AUDIT, PARTS = 'custom_hooks.AuditHook', 'audit.parts'
COMPILED = 'model.accelerations.CompiledBlocks'
GRAPHED = 'model.accelerations.GraphedBackbone'
ROLE = 'dataset.roles.forget'

#: By class and argument: bad values, and the key that the message begins with.
MATRIX = {
    ('RoleModel', 'host'): ([5, 'vit', [vit_host()]], 'model.host'),
    ('RoleModel', 'lora'): ([*NO_DICT, None, {'rnk': 8}], 'model.lora'),
    ('RoleModel', 'head'): ([*NO_DICT, {'polic': 'all'}], 'model.head'),
    ('RoleModel', 'loss'): (NO_DICT, 'model.loss'),
    ('RoleModel', 'fuse'): ([None, 'sometimes', 5, []], 'model.fuse'),
    ('FullTrainingSwapper', 'one_batch'): (NO_FLAG, 'model.one_batch'),
    ('RoleModel', 'fp32_losses'): (NO_FLAG, 'model.fp32_losses'),
    ('RoleModel', 'data_preprocessor'): (NO_DICT, 'model.data_preprocessor'),
    ('RoleModel', 'adapters'): (['a', 5, [5], None, {}], 'model.adapters'),
    ('RoleModel', 'accelerations'): (
        ['LeanLoRA', 5, [5], ['NoSuch'], [dict(type='knowswap_mm.LeanLoRA', a=1)], {}],
        'model.accelerations',
    ),
    ('RoleModel', 'predict_dtype'): (['float64', 5, [], True], 'model.predict_dtype'),
    ('LoRABackbone', 'backbone'): ([5, 'vit', None, []], 'model.host.backbone.backbone'),
    ('LoRABackbone', 'lora'): ([*NO_DICT, {'rnk': 8}], 'model.lora'),
    ('SwappingLoss', 'hinge'): ([None, 'samples', 5, []], 'model.loss.hinge'),
    ('WeightedSumLoss', 'group_by'): ([None, 'layer', 5, []], 'model.loss.group_by'),
    ('WeightedSumLoss', 'group_exclude'): (['a', 5, [5], ['(']], 'model.loss.group_exclude'),
    ('DistillationForgettingLoss', 'temperature'): (POSITIVE, 'model.loss.temperature'),
    ('DistillationForgettingLoss', 'retain_distance'): (NO_NUMBER, 'model.loss.retain_distance'),
    ('DecoupledDistillationLoss', 'temperature'): (POSITIVE, 'model.loss.temperature'),
    ('DecoupledDistillationLoss', 'retain_distance'): (NO_NUMBER, 'model.loss.retain_distance'),
    ('TiltedReweightingLoss', 'tilt'): (NO_NUMBER, 'model.loss.tilt'),
    ('UndoLoss', 'temperature'): (POSITIVE, 'model.loss.temperature'),
    ('FeatureMatchingLoss', 'strength'): (POSITIVE, 'model.loss.strength'),
    ('FeatureMatchingLoss', 'target'): (
        ['a', 'auto', math.nan, -0.1, True, [], 1.5], 'model.loss.target',
    ),
    ('FeatureMatchingLoss', 'keep'): (NO_NUMBER, 'model.loss.keep'),
    ('FeatureMatchingLoss', 'temperature'): (POSITIVE, 'model.loss.temperature'),
    ('FeatureMatchingLoss', 'blocks'): (NO_SEED, 'model.loss.blocks'),
    ('FeatureMatchingLoss', 'queue'): (NO_COUNT, 'model.loss.queue'),
    ('FeatureMatchingLoss', 'every'): (NO_COUNT, 'model.loss.every'),
    ('ElasticWeightLoss', 'strength'): (NO_NUMBER, 'model.loss.strength'),
    ('RoleDataset', 'roles'): ([*NO_DICT, {'x': {}}, {'forget': 5}, {'forget': {}}], 'dataset.r'),
    ('RoleDataset', 'classes'): ([*NO_DICT, None], 'swap.classes'),
    ('RoleDataset', 'view'): ([5, None, 'NoSuch', []], 'dataset.'),
    ('RoleDataset', 'seed'): (NO_SEED, 'dataset.seed'),
    ('RoleDataset', 'cache'): ([*NO_DICT, {'sze': 1}], 'dataset.cache'),
    ('RoleDataset', 'holdout'): ([*NO_NUMBER, 1, 1.5], 'dataset.holdout'),
    ('RoleDataset', 'held_most'): (NO_COUNT, 'dataset.held_most'),
    ('RoleDataset', 'held_each'): ([*NO_COUNT, {'x': 5}, {'forget': 0}], 'dataset.held_each'),
    ('SampleCache', 'size'): ([*NO_COUNT, '4', '4 gb', '-4GB', '0GB'], 'dataset.cache.size'),
    ('SampleCache', 'where'): ([None, 'gpu', 5, []], 'dataset.cache.where'),
    ('SampleCache', 'folder'): (['kept'], 'dataset.cache.folder'),
    ('SampleCache', 'deterministic'): ([5, 'Resize', ['NoSuch'], [5], None], 'dataset.cache.deter'),
    ('RoleView', 'fraction'): (SHARE, f'{ROLE}.fraction'),
    ('RoleView', 'fraction_by'): ([None, 'picture', 5, []], f'{ROLE}.fraction_by'),
    ('RoleView', 'seed'): (NO_SEED, f'{ROLE}.seed'),
    ('RoleView', 'label_map'): (NO_DICT, f'{ROLE}.label_map'),
    ('RoleView', 'on_bad_sample'): ([None, 'ignore', 5, []], f'{ROLE}.on_bad_sample'),
    ('RoleView', 'dataset'): ([*NO_DICT, None, {}, {'type': 'NoSuch'}], f'{ROLE}.dataset'),
    ('CocoRoleView', 'mixed'): ([None, 'drop', 5, []], f'{ROLE}.mixed'),
    ('CocoRoleView', 'without_object'): ([None, 'drop_image', 5, []], f'{ROLE}.without_object'),
    ('CocoRoleView', 'orientation'): (['up', 6, [], True], f'{ROLE}.orientation'),
    ('CocoRoleView', 'cache_dir'): ([5, '', []], 'dataset.roles.*.cache_dir'),
    ('SemanticRoleView', 'mixed'): ([None, 'drop', 5, []], f'{ROLE}.mixed'),
    ('SemanticRoleView', 'orientation'): (['up', 6, [], True], f'{ROLE}.orientation'),
    ('SemanticRoleView', 'min_pixels'): (NO_COUNT, f'{ROLE}.min_pixels'),
    ('SemanticRoleView', 'first_id'): (NO_SEED, f'{ROLE}.first_id'),
    ('SemanticRoleView', 'cache_dir'): ([5, '', []], 'dataset.roles.*.cache_dir'),
    ('SwapSampler', 'schedule'): ([None], 'train_dataloader.sampler.schedule'),
    ('AuditHook', 'references'): (NO_TEXTS, f'{AUDIT}.references'),
    ('AuditHook', 'auditor'): (NO_DICT, f'{AUDIT}.auditor'),
    ('FeatureMatchingHook', 'shots'): ([*NO_COUNT, [], [1, 0], ['a']], f'{MATCHING}.shots'),
    ('FeatureMatchingHook', 'samples'): (NO_COUNT, f'{MATCHING}.samples'),
    ('FeatureMatchingHook', 'reset_rows'): (NO_FLAG, f'{MATCHING}.reset_rows'),
    ('FisherHook', 'samples'): (NO_COUNT, 'custom_hooks.FisherHook.samples'),
    ('PhaseHook', 'evaluate_start'): (NO_FLAG, f'{PHASE}.evaluate_start'),
    ('PhaseHook', 'save_phases'): (NO_FLAG, f'{PHASE}.save_phases'),
    ('PhaseHook', 'save_adapter'): (NO_FLAG, f'{PHASE}.save_adapter'),
    ('PhaseHook', 'save_phase_adapters'): (NO_FLAG, f'{PHASE}.save_phase_adapters'),
    ('NonfiniteHook', 'action'): ([None, 'go on', 5, []], 'swap.nonfinite.action'),
    ('NonfiniteHook', 'limit'): (NO_COUNT, 'swap.nonfinite.limit'),
    ('NonfiniteHook', 'interval'): (NO_COUNT, 'swap.nonfinite.interval'),
    ('GuardHook', 'looks'): (NO_COUNT, 'swap.guard.looks'),
    ('GuardHook', 'tolerance'): (POSITIVE, 'swap.guard.tolerance'),
    ('GuardHook', 'steps_back'): (NO_SEED, 'swap.guard.steps_back'),
    ('GuardHook', 'extend'): (NO_NUMBER, 'swap.guard.extend'),
    ('UntrainedHook', 'action'): ([None, 'go on', 5, []], 'swap.untrained'),
    ('BlockProfileHook', 'parts'): (NO_COUNT, 'custom_hooks.BlockProfileHook.parts'),
    ('RoleImagesHook', 'samples'): (NO_COUNT, 'custom_hooks.RoleImagesHook.samples'),
    ('RoleImagesHook', 'every_evaluation'): (NO_FLAG, 'custom_hooks.RoleImagesHook.every'),
    ('GraphedBackbone', 'limit'): (NO_COUNT, f'{GRAPHED}.limit'),
    ('GraphedBackbone', 'after'): (NO_COUNT, f'{GRAPHED}.after'),
    ('PreemptionHook', 'signals'): ([*NO_TEXTS, ['SIGNONE']], 'custom_hooks.PreemptionHook.sig'),
    ('PreemptionHook', 'interval'): (NO_COUNT, 'custom_hooks.PreemptionHook.interval'),
    ('SaliencyMaskHook', 'share'): (SHARE, f'{SALIENCY}.share'),
    ('SaliencyMaskHook', 'samples'): (NO_COUNT, f'{SALIENCY}.samples'),
    ('SaliencyMaskHook', 'batch_size'): (NO_COUNT, f'{SALIENCY}.batch_size'),
    ('UndoHook', 'share'): (SHARE, 'custom_hooks.UndoHook.share'),
    ('UndoHook', 'noise'): (NO_NUMBER, 'custom_hooks.UndoHook.noise'),
    ('SwapOptimWrapper', 'dtype'): (['float64', 5, [], 'float16'], 'optim_wrapper.dtype'),
    ('WarmupCosineLR', 'warmup'): ([*NO_NUMBER, 1], 'param_scheduler.warmup'),
    ('WarmupCosineLR', 'min_warmup'): (NO_SEED, 'param_scheduler.min_warmup'),
    ('WarmupCosineLR', 'end_factor'): (SHARE, 'param_scheduler.end_factor'),
    ('CocoRoleMetric', 'backend'): ([None, 'lvis', 5, []], 'val_evaluator.metric.backend'),
    ('RoleMetric', 'metric'): ([5, None, 'Accuracy', [5], {'lern': []}], 'val_evaluator.metric'),
    ('RoleMetric', 'primary'): (NO_TEXT, 'val_evaluator.primary'),
    ('RoleMetric', 'scale'): (POSITIVE, 'val_evaluator.scale'),
    ('SemanticRoleMetric', 'classwise'): (NO_FLAG, 'val_evaluator.metric.classwise'),
    ('Auditor', 'parts'): (['Drift', 5, ['NoSuch'], [5], {}], 'audit.parts'),
    ('Auditor', 'settings'): ([*NO_DICT, {'NoSuch': {}}], 'audit.settings'),
    ('Auditor', 'skip'): ([*NO_TEXTS, ['NoSuch']], 'audit.skip'),
    ('Auditor', 'reader'): (NO_DICT, 'audit.reader'),
    ('Auditor', 'samples'): (NO_COUNT, 'audit.samples'),
    ('Auditor', 'margin'): ([None, 'a', -0.1, 1, math.nan, True, []], 'audit.margin'),
    ('Auditor', 'seed'): (NO_SEED, 'audit.seed'),
    ('Auditor', 'workers'): (NO_SEED, 'audit.workers'),
    ('Auditor', 'device'): ([5, '', [], True], 'audit.device'),
    ('DetectionReader', 'overlap'): (SHARE, 'audit.reader.overlap'),
    ('DetectionReader', 'score'): (SHARE, 'audit.reader.score'),
    ('DetectionReader', 'features'): ([None, 'neck', 5, []], 'audit.reader.features'),
    ('SegmentationReader', 'min_pixels'): (NO_COUNT, 'audit.reader.min_pixels'),
    ('SegmentationReader', 'features'): ([None, 'neck', 5, []], 'audit.reader.features'),
    ('AnswerDistance', 'resamples'): ([*NO_COUNT, 1], f'{PARTS}.AnswerDistance.resamples'),
    ('KNNProbe', 'neighbours'): (NO_COUNT, f'{PARTS}.KNNProbe.neighbours'),
    ('KNNProbe', 'shots'): (NO_COUNT, f'{PARTS}.KNNProbe.shots'),
    ('KNNProbe', 'draws'): (NO_COUNT, f'{PARTS}.KNNProbe.draws'),
    ('PrototypeRelearning', 'shots'): (NO_COUNT, f'{PARTS}.PrototypeRelearning.shots'),
    ('VisualPrompt', 'width'): (SHARE, f'{PARTS}.VisualPrompt.width'),
    ('VisualPrompt', 'shots'): (NO_COUNT, f'{PARTS}.VisualPrompt.shots'),
    ('VisualPrompt', 'steps'): (NO_COUNT, f'{PARTS}.VisualPrompt.steps'),
    ('VisualPrompt', 'lr'): (POSITIVE, f'{PARTS}.VisualPrompt.lr'),
    ('VisualPrompt', 'batch_size'): ([*NO_COUNT, 1], f'{PARTS}.VisualPrompt.batch_size'),
    ('VisualPrompt', 'repeats'): (NO_COUNT, f'{PARTS}.VisualPrompt.repeats'),
    ('VisualPrompt', 'samples'): (NO_COUNT, f'{PARTS}.VisualPrompt.samples'),
    ('LinearProbe', 'folds'): ([*NO_COUNT, 1], f'{PARTS}.LinearProbe.folds'),
    ('LinearProbe', 'strength'): (POSITIVE, f'{PARTS}.LinearProbe.strength'),
    ('LinearProbe', 'max_iter'): (NO_COUNT, f'{PARTS}.LinearProbe.max_iter'),
    ('MembershipInference', 'resamples'): (NO_COUNT, f'{PARTS}.MembershipInference.resamples'),
    ('PrototypeProbe', 'shots'): ([*NO_COUNT, [], [1, 0], ['a']], f'{PARTS}.PrototypeProbe.shots'),
    ('PrototypeProbe', 'draws'): (NO_COUNT, f'{PARTS}.PrototypeProbe.draws'),
    ('Relearning', 'lr'): (POSITIVE, f'{PARTS}.Relearning.lr'),
    ('Relearning', 'steps'): (NO_COUNT, f'{PARTS}.Relearning.steps'),
    ('Relearning', 'batch_size'): ([*NO_COUNT, 1], f'{PARTS}.Relearning.batch_size'),
    ('Relearning', 'repeats'): (NO_COUNT, f'{PARTS}.Relearning.repeats'),
    ('Relearning', 'regained'): (SHARE, f'{PARTS}.Relearning.regained'),
    ('Relearning', 'samples'): (NO_COUNT, f'{PARTS}.Relearning.samples'),
    ('Similarity', 'samples'): (NO_COUNT, f'{PARTS}.Similarity.samples'),
    ('CompiledBlocks', 'blocks'): (NO_TEXTS, f'{COMPILED}.blocks'),
    ('CompiledBlocks', 'backend'): ([None, 'fast', 5, []], f'{COMPILED}.backend'),
    ('CompiledBlocks', 'mode'): (['fast', 5, []], f'{COMPILED}.mode'),
    ('CompiledBlocks', 'fullgraph'): (NO_FLAG, f'{COMPILED}.fullgraph'),
    ('CompiledBlocks', 'evaluation'): (NO_FLAG, f'{COMPILED}.evaluation'),
    ('CompiledBlocks', 'dynamic'): ([0, 'True', []], f'{COMPILED}.dynamic'),
    ('CompiledBlocks', 'limit'): (NO_COUNT, f'{COMPILED}.limit'),
    ('LoRAInjector', 'targets'): ([5, '(', [5], None, 'nothing', ['nothing']], 'model.lora.target'),
    ('LoRAInjector', 'exclude'): ([*NO_TEXTS, ['('], ['ffn']], 'model.lora.exclude'),
    ('LoRAInjector', 'rank'): (NO_COUNT, 'model.lora.rank'),
    ('LoRAInjector', 'alpha'): (POSITIVE, 'model.lora.alpha'),
    ('LoRAInjector', 'dropout'): ([*NO_NUMBER, 1], 'model.lora.dropout'),
    ('LoRAInjector', 'a_init'): (NO_NUMBER, 'model.lora.a_init'),
    ('LoRAInjector', 'adapter_name'): ([*NO_TEXT, 'a.b'], 'model.lora.adapter_name'),
}  # fmt: skip

#: Arguments that no config gives: the package or the host library fills them in.
FILLED_IN = {
    ('RoleDataPreprocessor', 'host'), ('RoleDataPreprocessor', 'together'),
    ('SwapSampler', 'dataset'), ('SwapSampler', 'seed'), ('SwapSampler', 'rank'),
    ('SwapSampler', 'world_size'), ('RoleView', 'role'),
    ('SwapOptimWrapper', 'optimizer'), ('SwapOptimWrapper', 'accumulative_counts'),
    ('SwapOptimWrapper', 'clip_grad'), ('OpenScheduler', 'optimizer'),
    ('WarmupCosineLR', 'begin'), ('WarmupCosineLR', 'end'), ('WarmupCosineLR', 'by_epoch'),
    ('CocoRoleMetric', 'prefix'),
    ('DetectionDrawer', 'score'), ('DetectionDrawer', 'size'), ('SegmentationDrawer', 'opacity'),
    ('SegmentationDrawer', 'share'), ('SegmentationDrawer', 'size'), ('Check', 'work_dir'),
}  # fmt: skip
#: Not registered, but written by name in configs.
BESIDE = (SampleCache, LoRAInjector)


def classes():
    """All registered classes that a config can name, and those beside."""
    found = list(BESIDE)
    for each in vars(registry).values():
        if each is registry.SAMPLE_READERS:  # built by the model, from its host
            continue
        if isinstance(each, Registry) and each.scope == 'knowswap_mm':
            each.import_from_location()
            found += [kind for kind in each.module_dict.values() if inspect.isclass(kind)]
    return {kind.__name__: kind for kind in found}


def public_arguments(kind):
    """Pairs of the class that defines an argument, and its name."""
    owner = next(c for c in kind.__mro__ if '__init__' in vars(c))
    if not owner.__module__.startswith('knowswap_mm'):
        return set()
    names = [
        name
        for name, parameter in inspect.signature(owner).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    found = set()
    for name in names:
        # A subclass that repeats an argument of its base hands it on.
        bases = [c for c in owner.__mro__ if c.__module__.startswith('knowswap_mm')]
        bases = [c for c in bases if '__init__' in vars(c)]
        takes = [c for c in bases if name in inspect.signature(c).parameters]
        found.add((takes[-1].__name__, name))
    return found


def build(owner, argument, value):
    """Build the class, or what holds it, as a config would."""
    init_default_scope('mmpretrain')
    kinds, own = classes(), {argument: value}
    if owner in ('RoleModel', 'LoRAInjector'):
        build_swapper(**(own if owner == 'RoleModel' else dict(lora=own)))
    elif owner == 'FullTrainingSwapper':
        kinds[owner](host=vit_host(), **own)
    elif owner == 'LoRABackbone':
        kinds[owner](**dict(dict(backbone=vit_backbone()), **own))
    elif owner.endswith('Loss'):
        build_swapper(loss=dict(type=f'knowswap_mm.{owner}', **own))
    elif owner == 'RoleDataset':
        pictures = dict(dataset=dict(type='CustomDataset', data_prefix='nowhere'))
        RoleDataset(**dict(dict(roles=dict(forget=pictures), classes=dict(old=['a'])), **own))
    elif owner.endswith('RoleView') or owner == 'RoleView':
        kind = kinds['ClassificationRoleView' if owner == 'RoleView' else owner]
        kind(**dict(dict(dataset={}, role='forget'), **own))
    elif owner == 'RoleMetric':
        kinds[owner](**dict(dict(metric=dict(type='Accuracy')), **own))
    elif owner in ('SwapOptimWrapper', 'WarmupCosineLR'):
        kinds[owner](optimizer=None, **own)
    else:
        kinds[owner](**own)


def refusal(action, value):
    """What the refusal of this value says."""
    shown = 'no value' if value is DROPPED else repr(value)
    with pytest.raises(ConfigError) as caught:
        action()
        pytest.fail(f'{shown} is accepted')
    message = str(caught.value)
    assert '. Fix: ' in message, f'{shown}: {message}'
    return f'{shown}: ', message


@pytest.mark.parametrize(('owner', 'argument'), MATRIX, ids=['.'.join(row) for row in MATRIX])
def test_wrong_values(owner, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, key = MATRIX[owner, argument]
    for value in values:
        shown, message = refusal(partial(build, owner, argument, value), value)
        assert message.startswith(key) and ' = ' in message, shown + message
        assert not list(tmp_path.iterdir()), shown


def test_every_argument_has_a_row():
    known = set(MATRIX) | FILLED_IN
    wanted = {pair for kind in classes().values() for pair in public_arguments(kind)}
    wanted -= {pair for pair in wanted if pair[0] == 'SwapRunner'}
    assert not wanted - known, 'without a row in MATRIX'
    assert not known - wanted - {('RoleView', 'dataset')}, 'of arguments that are gone'


def overridden(config, path, value):
    config = Config(config.to_dict())
    *folders, name = path.split('.')
    place = config
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    if value is DROPPED:
        place.pop(name)
    else:
        place[name] = value
    return config


def run(config):
    RUNNERS.build(config).train()


#: Keys of a whole config: where, bad values, and the key that the message begins with.
RUNS = [
    ('swap', [5, None, [], {}, DROPPED], 'swap'),
    ('swap.classes', [5, None, [], 'a.txt', DROPPED], 'swap'),
    ('swap.classes.old', [None, 5, 'nowhere.txt', [], ['a', 'a'], [5], DROPPED], 'swap.classes.o'),
    ('swap.classes.learn', [5, ['a'], ['nowhere'], [None], ['x', 'x']], ''),
    ('swap.classes.forgt', [['a']], 'swap.classes.forgt'),
    ('model.host.type', ['NoSuch', None, 5], 'config'),
    ('swap.classes.forget', [5, ['x'], ['nowhere'], ['b', 'b']], 'swap.classes.forget'),
    ('swap.classes.retain', [5, ['b'], ['nowhere'], ['a', 'a']], 'swap.classes.retain'),
    ('swap.phases', [5, [], {}, [5], 'learn', {'a': {}}, None], 'swap'),
    ('swap.order', ['learn', 5], 'swap'),
    ('swap.recipe', [5, 'best', [], True], 'swap.recipe'),
    ('swap.allow_random_host', [1, 'yes', None], 'swap.allow_random_host'),
    ('swap.guard', [5, 'on', None, [], {'looks': 0}, {'look': 3}], 'swap.guard'),
    ('swap.holdout', [1, -0.1, 'a', None], 'swap.holdout'),
    ('swap.phase', [[]], 'swap.phase = []: unknown key'),
    ('swap.phases.0.kind', [5, None, 'retain', [], DROPPED], 'swap.phases.0.kind'),
    ('swap.phases.0.iters', [0, -1, 1.5, '3', True, None, DROPPED], 'swap.phases.0'),
    ('swap.phases.0.epochs', [1, 0], 'swap.phases.0'),
    ('swap.phases.0.split', [5, {'learn': 3}, {'forget': 8}, {'learn': -1}], 'swap.phases.0.split'),
    ('swap.phases.0.weights', [5, {'lern': 1}, {'learn': -1}, {'learn': 'a'},
                               {'learn': math.nan}], 'swap.phases.0.weights'),
    ('swap.phases.1.bound', [0, -1, 'a', None, math.inf, math.nan, [], DROPPED], 'swap.phases.1.b'),
    ('swap.phases.0.merge_learned', [1, 'yes', None], 'swap.phases.0.merge_learned'),
    ('swap.phases.0.merged_share', [-0.1, 1, 'a', math.nan, []], 'swap.phases.0.merged_share'),
    ('swap.phases.0.restart_lr', [1, 'yes', None], 'swap.phases.0.restart_lr'),
    ('swap.phases.0.restart_optimizer', [1, 'yes', None], 'swap.phases.0.restart_optimizer'),
    ('swap.phases.0.lr_factor', [0, -1, 'a', math.nan, math.inf, None], 'swap.phases.0.lr_factor'),
    ('swap.phases.0.param_scheduler', [5, [5], 'cosine'], 'swap.phases.0.param_scheduler'),
    ('swap.phases.0.epoch_role', ['forget', 5, None, []], 'swap.phases.0'),
    ('swap.phases.0.iterations', [5], 'swap.phases.0.iterations'),
    ('model.head.old_classes', [0, -1, 99, 'a', 1.5, True], 'model.head.old_classes'),
    ('model.head.policy', [5, 'none', None, []], 'model.head.policy'),
    ('model.head.new_rows_init', [5, 'ones', None, []], 'model.head.new_rows_init'),
    ('model.head.count_keys', [5, 'num_classes', [5], None], 'model.head.count_keys'),
    ('model.head.layouts', [5, 'a', {'x': 'class_major'}, {'(': 'a'}], 'model.head.layouts'),
    ('model.host.head.num_classes', [3, 6], 'model.h'),
    ('train_dataloader', [None, {}, DROPPED], ''),
    ('train_dataloader.batch_size', [0, -1, '8', 1.5, None, DROPPED], 'train_dataloader.batch'),
    ('train_dataloader.dataset.roles.learn.fractoin', [0.1], 'dataset.roles.learn.fractoin'),
    ('train_dataloader.dataset.roles', [5, None], 'dataset.roles'),
    ('train_cfg', [dict(by_epoch=True, max_epochs=1)], 'train_cfg'),
]  # fmt: skip


@pytest.mark.parametrize(('path', 'values', 'key'), RUNS, ids=[path for path, _, _ in RUNS])
def test_wrong_values_in_a_run(path, values, key, config, tmp_path):
    for number, value in enumerate(values):
        changed = overridden(config, path, value)
        changed.work_dir = str(folder := tmp_path / f'run{number}')
        shown, message = refusal(partial(run, changed), value)
        assert message.startswith(key), shown + message
        written = [p for p in folder.rglob('*') if p.suffix in ('.pth', '.safetensors')]
        assert not written and not (folder / 'schedule.json').exists(), shown


def test_the_config_that_the_cases_change_is_whole(config, tmp_path):
    changed = overridden(config, 'work_dir', str(tmp_path / 'run'))
    assert isinstance(changed.swap.phases[0], Mapping)
    RUNNERS.build(changed).train()
