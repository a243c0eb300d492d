"""Which hosts, swaps and recipes there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
FOLDER = 'configs/real'
CLASSIFICATION, DETECTION, SEGMENTATION = 'classification', 'detection', 'segmentation'


@dataclass(frozen=True)
class Host:
    """A host that is trained here.

    Attributes:
        config (str): Its config in ``configs/real/pretrain``, without ``_pretrain.py``.
        metric (str): The metric of its validation.
        scale (float): Best possible value of it.
        least (float | None): What it should reach on the test images, in percent.
        seed (int | None): Seed of its training; None: that of its config.
    """

    config: str
    metric: str
    scale: float = 100.0
    least: float | None = None
    seed: int | None = None

    @property
    def path(self) -> Path:
        """Its config."""
        return ROOT / FOLDER / 'pretrain' / f'{self.config}_pretrain.py'


HOSTS = dict(
    grocery=Host('vit_dinov2-s_grocery', 'accuracy/top1'),
    grocery_full=Host('vit_dinov2-s_grocery-full', 'accuracy/top1'),
    camvid_upernet=Host('upernet_dinov2-s_camvid', 'mIoU', least=60.0),
    camvid_mask2former=Host('mask2former_dinov2-s_camvid', 'mIoU', least=60.0),
    cards=Host('dino_dinov2-s_cards', 'coco/bbox_mAP', 1.0, least=50.0),
)


@dataclass(frozen=True)
class Swap:
    """A swap.

    Attributes:
        task (str): Its task.
        config (str): Its config in ``configs/real``, without ``_learn-forget.py``.
        host (str | None): Which of :data:`HOSTS` it starts from; None: published weights.
        options (Mapping): Overrides of its config by dotted key.
        iters (tuple[int, int]): Iterations of both phases with the recipes of fixed length.
        bound (float): Documented bound of the host's loss.
        readme (str | None): A config that has the documented numbers already.
    """

    task: str
    config: str
    host: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    iters: tuple[int, int] = (100, 100)
    bound: float = 105.0
    readme: str | None = None

    @property
    def path(self) -> Path:
        """Its config."""
        return ROOT / FOLDER / f'{self.config}_learn-forget.py'


_TENTH = {
    f'train_dataloader.dataset.roles.{role}.{key}': value
    for role in ('learn', 'forget', 'retain')
    for key, value in dict(fraction=0.1, fraction_by='class').items()
}
_GROCERY, _TWINS = 'vit_dinov2-s_grocery', 'vit_dinov2-s_grocery-twins'
#: Names begin with the data set; ``-10``: a tenth of the training images of each class, ``-full``:
#: not the head alone was trained for the host.
SWAPS = {
    'grocery': Swap(CLASSIFICATION, _GROCERY, 'grocery'),
    'grocery-10': Swap(CLASSIFICATION, _GROCERY, 'grocery', _TENTH),
    'grocery-full': Swap(CLASSIFICATION, _GROCERY, 'grocery_full'),
    'grocery-twins': Swap(CLASSIFICATION, _TWINS, 'grocery'),
    'grocery-twins-10': Swap(CLASSIFICATION, _TWINS, 'grocery', _TENTH),
    'grocery-twins-full': Swap(CLASSIFICATION, _TWINS, 'grocery_full'),
    'camvid-upernet': Swap(
        SEGMENTATION, 'upernet_dinov2-s_camvid', 'camvid_upernet', iters=(300, 300), bound=8.0
    ),
    'camvid-mask2former': Swap(
        SEGMENTATION,
        'mask2former_dinov2-s_camvid',
        'camvid_mask2former',
        iters=(300, 300),
        bound=115.0,
    ),
    'cards-bccd-dino': Swap(
        DETECTION, 'dino_dinov2-s_cards-bccd', 'cards', iters=(300, 300), bound=15.0
    ),
    'fashion-mnist': Swap(
        CLASSIFICATION,
        'vit-fashion_fashion-mnist',
        iters=(175, 175),
        readme='classification/vit-fashion_7cls_learn-forget.py',
    ),
    'shapes-dino-mini': Swap(
        DETECTION,
        'dino-mini_scenes',
        iters=(400, 250),
        bound=15.0,
        readme='detection/dino-mini_shapes_learn-forget.py',
    ),
    'shapes-mask2former-mini': Swap(
        SEGMENTATION,
        'mask2former-mini_scenes',
        iters=(450, 300),
        bound=115.0,
        readme='segmentation/mask2former-mini_shapes_learn-forget.py',
    ),
}

AUTO, README, OFFICIAL = 'auto', 'readme', 'official'
RECIPES = (AUTO, README, OFFICIAL)
#: What keeps a run to its recipe and length, whatever is seen while it runs.
FIXED: dict[str, Any] = dict(guard=False)


def _cosine(lr: float, **clip: float) -> dict[str, Any]:
    return dict(lr=lr, decay=0.05, clip=clip or None, schedule='CosineAnnealingLR', eta_min=1e-5)


def _constant(decay: float, **clip: float) -> dict[str, Any]:
    return dict(lr=1e-4, decay=decay, clip=clip, schedule='ConstantLR', factor=1.0)


#: The numbers of README's config and its relatives: optimizer, weights of the learn phase, of the
#: sparse term, the share of learned data in the retain slots.
_NUMBERS = {
    CLASSIFICATION: (_cosine(1e-2), dict(learn=1.0, retain=0.2), 0.005, 0.3),
    DETECTION: (_constant(1e-4, max_norm=0.1), dict(learn=0.9, retain=1.0), 0.005, 0.4),
    SEGMENTATION: (_constant(0.05, max_norm=0.01), dict(learn=0.9, retain=1.0), 0.01, 0.34),
}


def config_of(swap: Swap, recipe: str) -> Path:
    """The config that a recipe of a swap changes."""
    if recipe == README and swap.readme:
        return ROOT / 'configs' / swap.readme
    return swap.path


def give_recipe(cfg: Config, swap: Swap, recipe: str) -> None:
    """Put a recipe into the config of a swap, in place; that of `auto` is there already.

    ``readme`` has the numbers of README's config, and of our configs for the other tasks.
    ``official`` has frozen head rows, and learned data in the retain slots by its size.
    """
    if recipe == AUTO:
        return
    if recipe == OFFICIAL or not swap.readme:
        _give_numbers(cfg, swap)
    cfg.swap.update(FIXED)
    if recipe == OFFICIAL:
        cfg.model.head.policy = 'frozen'
        cfg.swap.phase_settings.forget.merged_share = None


def _give_numbers(cfg: Config, swap: Swap) -> None:
    numbers, learn, sparsity, share = _NUMBERS[swap.task]
    numbers = dict(numbers)
    optimizer = dict(type='AdamW', lr=numbers.pop('lr'), weight_decay=numbers.pop('decay'))
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer)
    if clip := numbers.pop('clip'):
        cfg.optim_wrapper.clip_grad = clip
    cfg.param_scheduler = [dict(type=numbers.pop('schedule'), **numbers)]
    forget = dict(forget=0.2, retain=1.0, sparsity=sparsity)
    cfg.swap = dict(
        order=cfg.swap.order,
        classes=cfg.swap.classes,
        phase_settings=dict(
            learn=dict(iters=swap.iters[0], weights=dict(learn, sparsity=sparsity)),
            forget=dict(iters=swap.iters[1], weights=forget, bound=swap.bound, merged_share=share),
        ),
    )
    cfg.model.lora = dict(rank=8, alpha=1)
    cfg.model.head.policy = 'all'


JOINT, WITHOUT = 'joint', 'without'
REFERENCES = (JOINT, WITHOUT)


def make_reference(cfg: Config, reference: str, iters: int) -> None:
    """Turn the config of a swap, in place, into one learn phase as long as the whole swap.

    ``joint`` retains the forget classes, too; ``without`` never sees them. Host, adapters, data,
    images seen and recipe are those of the swap.
    """
    cfg.swap.order = 'learn'
    settings = dict((cfg.swap.get('phase_settings') or {}).get('learn') or {}, iters=iters)
    settings.pop('epochs', None)
    cfg.swap.update(FIXED, phase_settings=dict(learn=settings))
    if reference == JOINT:
        cfg.swap.classes.forget = []
        for name in ('train', 'val', 'test'):
            cfg[f'{name}_dataloader'].dataset.roles.pop('forget')
