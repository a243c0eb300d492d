"""Which benchmarks, references and objectives there are, and what becomes of a swap's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from real.plan import ROOT, SWAPS, Host

from knowswap_mm.engine.config import open_config, override
from knowswap_mm.roles import RETAIN

#: Iterations between two lines of the log of a swap: of the windows over which the time of a step
#: is averaged, some then lie within a phase.
LOG = 10
#: Seed of the choice of the training images of a role, and of those that are held out. It is that
#: of all runs of a benchmark: their audits then have the same target and examples, and read the
#: model before the swap and the references once for all of them.
IMAGES = 0
#: Twice as many scenes: `shape_scenes.py --old 12000 --out data/shape_scenes_wide`.
WIDE = 'data/shape_scenes_wide/old/'


@dataclass(frozen=True)
class Benchmark:
    """A swap of :data:`real.plan.SWAPS`, and how its references are trained.

    Attributes:
        reference (str): A config that trains a model from scratch which never sees the forget set.
        unseen (Host | None): Instead: a host that never sees it; from there the reference is
            trained like the swap, without the forget set and as long. So it is where a pretrained
            backbone gets better by the swap's own training.
        begins (tuple[str, str] | None): Instead of random weights it begins like the host: with
            those of this config, but with the backbone of the reference of this benchmark.
        training (Mapping): Overrides of the config of the reference, by dotted key.
        evaluation (Mapping): Overrides of the configs of swap and reference, by dotted key.
    """

    reference: str = ''
    unseen: Host | None = None
    begins: tuple[str, str] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The config of its reference."""
        return ROOT / 'configs' / self.reference


#: A model that never saw a class takes its objects for others, which are then found where they are
#: not: a reference of the small DINO has 7 to 9 points less of retain AP on images that also hold
#: forgotten objects. What is kept is read where there are none.
_APART = {
    f'{split}_dataloader.dataset.roles.{RETAIN}.mixed': 'drop_image' for split in ('val', 'test')
}


def _as_its_host(iters: int, goes: int = 3, learn: int = 4, retain: int = 16) -> dict[str, Any]:
    """Training on what is kept as its host was trained on all: as many scenes, and as often.

    Half of the scenes that the host saw show a forgotten object. A reference that saw the other
    half alone would know less of what is kept, and so does one of whose gradient the few images to
    learn are half: they are one batch, and count by their number. Each of the goes of ``iters``
    iterations begins with the full rate: after two the detectors retained 2 points less than after
    three, the segmentors 10 to 16, and after three another 1 to 4 less than after a shorter fourth
    with half the rate.
    """
    learning = 'swap.phase_settings.learn'
    return {
        'swap.order': '-'.join(['learn'] * goes),
        'model.one_batch': True,
        f'train_dataloader.dataset.roles.{RETAIN}.dataset.data_root': WIDE,
        'train_dataloader.batch_size': learn + retain,
        f'{learning}.split': dict(learn=learn, retain=retain),
        f'{learning}.weights': dict(learn=learn / retain, retain=1.0, sparsity=0.0),
        f'{learning}.iters': iters,
        'train_cfg.val_interval': iters // 4,
        'param_scheduler.1.end': iters * 3 // 4,  # the last quarter at the lowest rate
    }


#: Those that take longest first.
BENCHMARKS = {
    'shapes-dino-mini': Benchmark(
        'detection/baselines/dino-mini_shapes_retrain.py',
        training=_as_its_host(2000),
        evaluation=_APART,
    ),
    'shapes-mask2former-mini': Benchmark(
        'segmentation/baselines/mask2former-mini_shapes_retrain.py',
        begins=('segmentation/pretrain/mask2former-mini_shapes_pretrain.py', 'shapes-dino-mini'),
        training=_as_its_host(1800, goes=4),
        evaluation=_APART,
    ),
    'grocery': Benchmark(unseen=Host('vit_dinov2-s_grocery-unseen', 'accuracy/top1')),
    'fashion-mnist': Benchmark('classification/baselines/vit-fashion_10cls_retrain.py'),
}


@dataclass(frozen=True)
class Objective:
    """What a swap is made with.

    Attributes:
        options (Mapping): Overrides of the swap's config by dotted key.
        configs (Mapping): Other configs, in ``configs``, by benchmark.
        benchmarks (tuple[str, ...]): The benchmarks that it fits.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = tuple(BENCHMARKS)


_WHOLE = {'swap.phase_settings.forget.weights.forget': 1.0}
_CLASSIFIERS = ('grocery', 'fashion-mnist')


def _distilled(kind: str) -> Objective:
    """As in ``configs/classification/baselines``, but by the recipe; for classifiers."""
    hooks = [dict(type='knowswap_mm.PhaseHook'), dict(type='knowswap_mm.TeacherHook')]
    options = {'model.loss': dict(type=kind), 'custom_hooks': hooks, **_WHOLE}
    return Objective({**options, 'swap.phase_settings.forget.bound': 'none'}, {}, _CLASSIFIERS)


RECIPE = 'recipe'
#: `deep` is ``configs/_base_/forget_deep.py``.
OBJECTIVES = {
    RECIPE: Objective(),
    'deep': Objective(
        {
            'model.loss': dict(type='knowswap_mm.FeatureMatchingLoss'),
            'model.head.policy': 'all',
            **_WHOLE,
        }
    ),
    'delete': _distilled('knowswap_mm.DecoupledDistillationLoss'),
    'trw': _distilled('knowswap_mm.TiltedReweightingLoss'),
    'undo': Objective(
        configs={'fashion-mnist': 'classification/baselines/vit-fashion_7cls_undo.py'},
        benchmarks=('fashion-mnist',),
    ),
}


def swap_config(benchmark: str, objective: str, changes: Mapping[str, Any]) -> Config:
    """The config of a swap with an objective; where its host lies must still be said."""
    swap, chosen = SWAPS[benchmark], OBJECTIVES[objective]
    other = chosen.configs.get(benchmark)
    cfg = open_config(ROOT / 'configs' / other if other else swap.path)
    override(cfg, swap.options)
    override(cfg, chosen.options)
    override(cfg, BENCHMARKS[benchmark].evaluation)
    for role in cfg.train_dataloader.dataset.roles.values():
        role.seed = IMAGES
    override(cfg, changes)
    cfg.default_hooks.logger.interval = LOG
    return cfg


def reference_config(benchmark: str, changes: Mapping[str, Any]) -> Config:
    """The config of a reference that is trained from scratch."""
    plan = BENCHMARKS[benchmark]
    cfg = open_config(plan.path)
    override(cfg, plan.training)
    override(cfg, plan.evaluation)
    override(cfg, changes)
    return cfg


def unseen_name(benchmark: str, seed: int) -> str:
    """Name of the host of a reference."""
    return f'{benchmark}_unseen_seed{seed}'


def watch(cfg: Config, iters: int, times: int = 10) -> None:
    """Have the config of a swap evaluated so often while it trains, in place, unless it says."""
    cfg.train_cfg.setdefault('val_interval', max(iters // times, 1))
