"""The recipes of docs/extend.md, saved as they stand and trained for a step a phase."""

import json
import runpy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from knowswap_mm.data_tools.generators.shapes import SHAPE_CLASSES, make_shape_images
from knowswap_mm.data_tools.generators.trees import write_image_folder
from tests.helpers.doc_blocks import DOCS, blocks_of, stand_in_for_a_clone

FILES = {block.file: block for block in blocks_of(DOCS / 'extend.md') if block.file}
RECIPES = [name for name in FILES if name.endswith('_swap.py')]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The files of the page and the images of the demo, fewer of them."""
    folder = stand_in_for_a_clone(tmp_path_factory.mktemp('extend'))
    for name, block in FILES.items():
        (folder / name).write_text(block.text)
    classes = SHAPE_CLASSES[:10]
    splits = {
        split: lambda seed=seed: make_shape_images(20, 28, seed, classes)
        for seed, split in enumerate(('train', 'val', 'test'))
    }
    subsets = {'old7': classes[:7]}
    write_image_folder(folder / 'data' / 'shapes', classes, splits, dict(), subsets=subsets)
    return folder


@pytest.fixture
def train(folder, monkeypatch):
    """Trains a config of the page for a step a phase; returns the runner."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))

    def run(name):
        config = Config.fromfile(folder / name)
        config.work_dir = str(folder / 'work_dirs' / name)
        config.merge_from_dict({f'swap.phase_settings.{k}.iters': 1 for k in ('learn', 'forget')})
        config.train_dataloader.batch_size = 16
        config.default_hooks.report = config.default_hooks.pictures = None  # they have tests
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            config.merge_from_dict(
                {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False}
            )
        runner = RUNNERS.build(config)
        runner.train()
        return runner

    return run


def results_of(folder, name):
    path = folder / 'work_dirs' / name / 'swap_results.json'
    return json.loads(path.read_text())['states']


def logged(folder, name):
    """Scalars of all steps, by name."""
    (path,) = (folder / 'work_dirs' / name).glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: value for step in steps for key, value in step.items()}


def test_every_recipe_is_tried():
    tried = {name for name in globals() if name.startswith('test_recipe_')}
    assert {f'test_recipe_{name.removesuffix("_swap.py")}' for name in RECIPES} == tried


def test_recipe_smooth_bound(train, folder):
    runner = train('smooth_bound_swap.py')
    loss = runner.swapper.swapping_loss
    assert set(results_of(folder, 'smooth_bound_swap.py')) >= {'phase1_learn', 'phase2_forget'}
    # By the formula of the page, above and far below the bound.
    phase = runner.swap_schedule.phases[1]
    raw = torch.tensor(phase.bound + 2.0, requires_grad=True)
    term = loss.role_terms('forget', raw, phase, {})['loss_forget']
    term.backward()
    weight = phase.weights['forget']
    assert term.item() == pytest.approx(weight * np.log1p(np.exp(-2)), rel=1e-4)
    assert raw.grad.item() == pytest.approx(-weight / (1 + np.exp(2)), rel=1e-4)


def test_recipe_uniform_answers(train, folder):
    train('uniform_answers_swap.py')
    scalars = logged(folder, 'uniform_answers_swap.py')
    # The cross entropy with equal probabilities of ten classes is no less than their entropy.
    weight = 0.2
    assert scalars['loss_forget'] >= weight * np.log(10)


def test_recipe_no_dropout(train, folder):
    runner = train('no_dropout_swap.py')
    kinds = [m for m in runner.swapper.modules() if type(m).__name__ == 'PassThroughDropout']
    assert kinds
    inputs = torch.randn(3, 5)
    assert all(torch.equal(module.train()(inputs), inputs) for module in kinds)


def test_recipe_several_labels(train, folder):
    runpy.run_path(str(folder / 'draw_labels.py'))
    runner = train('several_labels_swap.py')
    views = runner.train_dataloader.dataset.views
    records = json.loads((folder / 'data' / 'labels' / 'labels.json').read_text())['data_list']
    for role, labels in (('learn', {3}), ('forget', {1}), ('retain', {0, 2})):
        held = [set(record['gt_label']) & labels for record in records]
        assert len(views[role]) == sum(map(bool, held))
        found = [set(views[role].data_info(i)['gt_label']) for i in range(len(views[role]))]
        # The labels of the swap are those of the head: old ones first, then yellow.
        assert found == [each for each in held if each]
    metrics = results_of(folder, 'several_labels_swap.py')['phase2_forget']['metrics']
    assert {f'{role}/multi-label/f1-score_micro' for role in ('learn', 'forget', 'retain')} <= set(
        metrics
    )
