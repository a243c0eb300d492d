"""A config that gives the host, the data and the classes, from its file to the report."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from knowswap_mm.engine.config import build_model, open_config
from knowswap_mm.engine.optim import WarmupCosineLR
from knowswap_mm.engine.recipe import formulas
from knowswap_mm.errors import CheckpointError
from knowswap_mm.models import role_model
from knowswap_mm.visualization.report import Report
from tests.helpers.doc_blocks import DOCS, REPOSITORY, blocks_of, tables_of
from tests.helpers.swap_configs import assert_same_weights, train, weights_of

PAGE = DOCS / 'recipe.md'
TINY = dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


@pytest.fixture(scope='module', autouse=True)
def quick():
    """Formulas for a moment: six iterations a phase."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formulas, 'TIMES', dict(learn=1, forget=1))
        patch.setattr(formulas, 'SHORTEST', 6)
        yield


@pytest.fixture(scope='module')
def example(picture_tree, host, tmp_path_factory):
    """The config of the page, as a file, for a small host and small images; and its folder."""
    folder = tmp_path_factory.mktemp('example')
    (block,) = (each for each in blocks_of(PAGE) if each.file)
    shutil.copytree(REPOSITORY / 'configs' / '_base_', folder / 'configs' / '_base_')
    (folder / block.file).write_text(block.text)
    shutil.copytree(picture_tree, folder / 'data')
    (folder / 'classes.txt').write_text('\n'.join('abcde'))
    cfg = open_config(folder / block.file)
    changes = {
        'work_dir': str(folder / 'run'),
        'experiment_name': 'recipe',
        'load_from': str(host),
        'swap.classes': dict(old=str(folder / 'classes.txt'), learn=['x', 'y'], forget=['b']),
        'model.host.backbone': dict(arch=TINY, img_size=16, patch_size=8, layer_scale_init_value=0),
        'model.host.head': dict(num_classes=7, in_channels=32),
        'model.head.old_classes': 5,
        'train_dataloader.batch_size': 8,
        'default_hooks': dict(pictures=None, report=None, block_profile=None),
    }
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        changes[f'{loader}.num_workers'] = 0
        for role in ('learn', 'forget', 'retain'):
            data = f'{loader}.dataset.roles.{role}.dataset'
            changes |= {f'{data}.data_root': str(folder / 'data'), f'{data}.serialize_data': False}
            changes[f'{data}.pipeline.1.scale'] = (16, 16)
            if loader != 'train_dataloader':
                changes[f'{data}.data_prefix'] = 'val'
    cfg.merge_from_dict(changes)
    return cfg, folder


@pytest.fixture(scope='module')
def run(example):
    """The runner of the example, what it did, and the folder of the run."""
    runner, recorder = train(example[0])
    return runner, recorder, Path(runner.work_dir)


def another(cfg, folder, **changes):
    """The config for another folder, without evaluations."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.merge_from_dict(dict(work_dir=str(folder), experiment_name=folder.name, **changes))
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    return cfg


def test_the_example_gives_no_number(example):
    names = set(example[0].to_dict())
    assert not names & {'optim_wrapper', 'param_scheduler'} and 'phases' not in example[0].swap
    assert 'auto' not in str(example[0].model) and dict(example[0].model.lora) == {}


def test_the_numbers_reach_what_uses_them(run):
    runner, recorder, _ = run
    phases = runner.swap_schedule.phases
    assert [phase.length for phase in phases] == [6, 6]
    assert phases[1].merged_share == pytest.approx(1 / 3, abs=1e-3)
    reader = runner.swapper.samples
    assert phases[1].bound == pytest.approx(2 * reader.chance, rel=1e-3)
    assert runner.swapper.swapping_loss.hinge == 'sample'
    rate = runner.optim_wrapper.optimizer.param_groups[0]['base_lr']
    assert rate == pytest.approx(5e-3 * 12**0.5, rel=1e-3)
    assert runner.optim_wrapper.clip_grad_kwargs == dict(max_norm=1.0)
    curve = [WarmupCosineLR(torch.optim.SGD([torch.zeros(1)], lr=rate), end=6).factor(i)
             for i in range(6)]  # fmt: skip
    rates = [rate * factor * each for factor in (1, 0.5) for each in curve]
    assert [phase.lr_factor for phase in phases] == [1.0, 0.5]
    assert recorder.column('lr') == pytest.approx(rates)


def test_the_plan_is_printed_kept_and_shown(run):
    runner, _, folder = run
    plan = json.loads((folder / 'run.json').read_text())['plan']
    assert plan == runner.plan.to_list() and {each['source'] for each in plan} == {'auto'}
    keys = {each['key'] for each in plan}
    assert keys > {*formulas.OF_RUN, 'model.lora.alpha', 'swap.phases.1.bound'}
    log = next(folder.glob('*/*.log')).read_text()
    assert log.index('| optim_wrapper.optimizer.lr ') < log.index('Load checkpoint')
    page = Report.of_run(folder).markdown()
    row = next(line for line in page.splitlines() if 'swap.phases.1.bound' in line)
    assert 'auto: 2 times the loss of chance' in row
    assert torch.load(folder / 'phase1_learn.pth', weights_only=False)['swap']['plan'] == plan


def test_the_config_of_the_folder_has_all_numbers(run):
    runner, _, folder = run
    files = [folder / 'my_swap.py', *folder.glob('*/vis_data/config.py')]
    for path in files:
        cfg = Config.fromfile(path)
        assert cfg.swap == runner.cfg.swap and cfg.optim_wrapper == runner.cfg.optim_wrapper
        assert "'auto'" not in path.read_text()
    assert len(files) == 2 and cfg.model.loss.hinge == 'sample'


def test_a_run_from_that_config_and_one_that_goes_on_have_the_same_numbers(example, run, tmp_path):
    """The second phase, with the config that was given and with the one that was written."""
    _, _, folder = run
    for name in ('given', 'written'):
        cfg = example[0] if name == 'given' else open_config(folder / 'my_swap.py')
        start = str(folder / 'phase1_learn.pth')
        again, _ = train(another(cfg, tmp_path / name, resume=start))
        assert bool(again.plan.entries) == (name == 'given')
        ends = [weights_of(each / 'phase2_forget.pth') for each in (folder, tmp_path / name)]
        assert_same_weights(*ends)


def test_a_run_does_not_go_on_with_other_data(example, run, tmp_path):
    cfg, base = example
    shutil.copytree(base / 'data', tmp_path / 'data')
    for number in range(9):
        image = tmp_path / 'data' / 'train' / 'x' / '00.png'
        shutil.copy(image, image.with_name(f'more{number}.png'))
    cfg = another(cfg, tmp_path / 'run', resume=str(run[2] / 'phase1_learn.pth'))
    cfg.train_dataloader.dataset.roles.learn.dataset.data_root = str(tmp_path / 'data')
    text = 'length was 6, now it is 9.*learn data had 24 samples, now 33'
    with pytest.raises(CheckpointError, match=text):
        train(cfg)


def test_a_host_that_cannot_be_read_has_its_mean_pushed(example, tmp_path, monkeypatch):
    monkeypatch.setattr(role_model, 'reader_of', lambda host, rows: None)
    lengths = {f'swap.phases.{phase}.iters': 1 for phase in (0, 1)}
    runner, _ = train(another(example[0], tmp_path, **lengths))
    assert runner.swapper.swapping_loss.hinge == runner.cfg.model.loss.hinge == 'mean'
    why = {entry.key: entry.why for entry in runner.plan.entries}
    assert 'whole loss' in why['model.loss.hinge'] and 'forget/raw' in why['swap.phases.1.bound']


def test_commands_build_the_model_of_such_a_config(example, tmp_path):
    path = tmp_path / 'config.py'
    example[0].dump(str(path))
    model, cfg = build_model(str(path))
    assert model.adapters and cfg.model.lora.alpha == 1


def test_the_page_has_the_numbers_of_the_formulas():
    rows = {row[0].strip('`'): ' '.join(row[1:]) for row in tables_of(PAGE)[0][1:]}
    phases = [f'swap.phases.N.{name}' for name in formulas.OF_PHASE]
    keys = [*formulas.OF_CONFIG, *formulas.OF_RUN, *phases]
    assert set(rows) == {key.replace('*', '') for key in keys}  # as emphasis is read
    assert (
        f'{formulas.RATE:g} times the root of {formulas.AT_WIDTH} / width'
        in (rows['optim_wrapper.optimizer.lr'])
    )
    assert f'{formulas.SILENCES:g} times chance' in rows['swap.phases.N.bound']
    share = f'within {formulas.LEAST_SHARE} and {formulas.MOST_SHARE}'
    assert share in rows['swap.phases.N.merged_share']
