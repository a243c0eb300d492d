"""What the parity configs must have in common with the official runs, over all of their cells."""

import copy
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from knowswap_mm.engine.recipe import Facts, Recipe
from knowswap_mm.schedule import SwapSchedule

CONFIGS = Path(__file__).parents[1] / 'configs'
SIZES = dict(learn=300, forget=200, retain=4000)
TWO = ('learn-forget', 'forget-learn')
FOUR = (*TWO, 'learn-forget-learn', 'forget-learn-forget')
SETS = ('cub', 'pet', 'resisc45', 'plantvillage')
#: Cell of classification: folder of the learn data, and of the old classes' data.
CELLS = {
    f'{name}-{cell}': (f'{name}-{learned}/', old)
    for name in SETS
    for cell, learned, old in (('5', 5, ''), ('10', 10, 'ten/'), ('10-forget-5', 10, ''))
}
CLASSIFIERS = [
    f'classification/vit-b16_imagenet100-{cell}_{order}_parity' for cell in CELLS for order in TWO
]
DETECTORS = [
    f'detection/dino-4scale_swin-l_coco-{cell}_{order}{variant}_parity'
    for cell in ('cub', 'dogs')
    for order in FOUR
    for variant in ('', '_encoder-decoder')
]
SEGMENTORS = [
    f'segmentation/mask2former_swin-b_ade20k-{cell}_{order}_parity'
    for cell in ('voc', 'coco', 'pet', 'deepglobe')
    for order in FOUR
]


@cache
def _read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def load(name):
    return copy.deepcopy(_read(name))


def phases(cfg, processes=1):
    schedule = SwapSchedule.from_config(cfg.swap, SIZES, cfg.train_dataloader.batch_size, processes)
    return schedule.phases


@pytest.mark.parametrize('name', [*CLASSIFIERS, *DETECTORS, *SEGMENTORS])
def test_nothing_is_left_to_the_recipe(name):
    cfg, given = load(name), load(name).to_dict()
    sizes = {role: 1 for role in SIZES}
    assert (
        not Recipe(cfg).resolve(cfg, Facts(SIZES, sizes, cfg.train_dataloader.batch_size)).entries
    )
    assert cfg.to_dict() == given and "'auto'" not in str(given)


@pytest.mark.parametrize('name', [*CLASSIFIERS, *DETECTORS, *SEGMENTORS])
def test_the_optimizer_is_new_where_the_official_one_is(name):
    """Its segmentor builds a trainer for each phase; the others keep one optimizer."""
    cfg = load(name)
    found = phases(cfg)
    order = name.split('_')[3 if name not in CLASSIFIERS else 2]
    assert '-'.join(phase.kind for phase in found) == order
    new = name in SEGMENTORS
    assert [phase.restart_optimizer for phase in found] == [new] * len(found)
    # A cosine per phase for the classifier; for the others the rate is constant.
    assert all(phase.restart_lr and phase.lr_factor == 1 for phase in found)
    # The learned data joins the retain data of a forget phase that comes after a learn phase.
    for position, phase in enumerate(found):
        learned = any(earlier.kind == 'learn' for earlier in found[:position])
        assert phase.merge_learned == (phase.kind == 'forget' and learned)


@pytest.mark.parametrize('name', [*CLASSIFIERS, *DETECTORS, *SEGMENTORS])
def test_there_is_no_guard(name):
    """All samples train, and every phase has the length that its config says."""
    assert load(name).swap.guard is False


@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('order', TWO)
def test_cells_of_classification(cell, order):
    """README: five classes are forgotten in all of them; the paper: ten where ten are learned."""
    cfg = load(f'classification/vit-b16_imagenet100-{cell}_{order}_parity')
    learn, old = CELLS[cell]
    for split in ('train', 'val', 'test'):
        roles = cfg[f'{split}_dataloader'].dataset.roles
        found = {role: options.dataset.data_root for role, options in roles.items()}
        root = 'data/imagenet100_swap/'
        assert found == dict(learn=root + learn, forget=root + old, retain=root + old)
    assert cfg.train_dataloader.dataset.roles.forget.fraction == 0.1
    assert 'fraction' not in cfg.train_dataloader.dataset.roles.learn


@pytest.mark.parametrize('name', DETECTORS)
def test_cells_of_detection(name):
    cfg = load(name)
    for processes in (1, 2, 4):
        # 0.01, divided by the two processes of the official run, whatever their number here.
        assert {phase.weights['sparsity'] for phase in phases(cfg, processes)} == {0.005}
    targets = cfg.model.lora.get('targets')
    plain = load(name.replace('_encoder-decoder', ''))
    assert (targets is None) == (name == name.replace('_encoder-decoder', ''))
    for part in ('swap', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'load_from'):
        assert cfg[part] == plain[part]
    assert cfg.model.host == plain.model.host and cfg.model.loss == plain.model.loss
    learn = cfg.train_dataloader.dataset.roles.learn.dataset.data_root
    assert learn == f'data/coco_swap/{name.split("_")[2].removeprefix("coco-")}/'
    assert learn == cfg.test_dataloader.dataset.roles.learn.dataset.data_root
