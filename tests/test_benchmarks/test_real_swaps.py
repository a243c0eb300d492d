"""benchmarks/real_swaps.py: its plan, its stages on tiny data, what it resumes, and its table."""

import copy
import importlib
import itertools
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import save_file

from knowswap_mm.engine.checks import check_config
from knowswap_mm.registry import name_types
from tests.helpers import real_sources
from tests.helpers.benchmark_runs import benchmark, host_training
from tests.helpers.official_layouts import dinov2
from tests.helpers.swap_configs import (
    OLD,
    schedule_of,
    swap_config,
    write_config,
)

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(learn=200, forget=200, retain=1000)
NAMES = [
    'grocery', 'grocery-10', 'grocery-full', 'grocery-twins', 'grocery-twins-10',
    'grocery-twins-full', 'camvid-upernet', 'camvid-mask2former', 'cards-bccd-dino',
    'fashion-mnist', 'shapes-dino-mini', 'shapes-mask2former-mini',
]  # fmt: skip


@pytest.fixture(scope='module')
def parts():
    """The benchmark's modules."""
    names = ('data', 'hosts', 'plan', 'runs', 'table')
    return SimpleNamespace(**{name: importlib.import_module(f'real.{name}') for name in names})


@pytest.fixture(scope='module')
def make(parts, tmp_path_factory):
    """Makes the config of a run; files are read once."""
    args = SimpleNamespace(work_dir=tmp_path_factory.mktemp('work'), swap_options={})
    read = cache(parts.runs.open_config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts.runs, 'open_config', lambda path: copy.deepcopy(read(path)))
        yield lambda name, recipe, *more: parts.runs.make_config(name, recipe, args, *more)


@pytest.mark.parametrize('name', NAMES)
def test_every_recipe_and_reference_makes_a_config(name, parts, make):
    assert list(parts.plan.SWAPS) == NAMES
    swap = parts.plan.SWAPS[name]
    schedules = {}
    for recipe in parts.plan.RECIPES:
        cfg = make(name, recipe)
        check_config(name_types(cfg))
        schedules[recipe] = schedule_of(cfg, SIZES)
        assert [phase.kind for phase in schedules[recipe].phases] == ['learn', 'forget']
        wanted = 'frozen' if recipe == 'official' else 'all'
        assert cfg.model.head.get('policy', 'all') == wanted
        fractions = {r.get('fraction', 1) for r in cfg.train_dataloader.dataset.roles.values()}
        if name.startswith('grocery'):
            assert fractions == ({0.1} if name.endswith('-10') else {1})
        if swap.host:
            assert cfg.load_from.endswith(f'work0/hosts/{swap.host}.safetensors')
        else:
            assert (FOLDER.parent / cfg.load_from).is_file()
    assert [p.length for p in schedules['official'].phases] == list(swap.iters)

    swapped = make(name, 'auto')
    for reference in parts.plan.REFERENCES:
        cfg = make(name, 'auto', reference, 17)
        check_config(name_types(cfg))
        schedule = schedule_of(cfg, SIZES)
        assert [(p.kind, p.length) for p in schedule.phases] == [('learn', 17)]
        joint = reference == 'joint'
        assert cfg.swap.classes.forget == ([] if joint else swapped.swap.classes.forget)
        assert ('forget' in cfg.train_dataloader.dataset.roles) is not joint
        assert cfg.model == swapped.model and cfg.get('optim_wrapper') == swapped.get(
            'optim_wrapper'
        )


def test_what_the_configs_read(parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = ['data/real/dinov2_small.pth', 'data/real/grocery/new/', 'data/real/grocery/old/']
    assert parts.data.missing(['grocery', 'grocery-twins'], ['grocery']) == wanted
    for name in wanted[1:]:
        Path(name).mkdir(parents=True)
    assert parts.data.missing(['grocery'], ['grocery']) == wanted[:1]
    assert parts.data.missing(['grocery'], []) == []
    absent = parts.data.missing(NAMES, parts.plan.HOSTS)
    read = {str(Path(name)) for name in [*absent, *wanted] if name.startswith('data/real')}
    assert read == {str(parts.data.HERE / each) for each in parts.data.TREES} | {
        str(parts.data.WEIGHTS)
    }


def test_scenes_may_end_in_jpg(parts, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'data/real/camvid/train/images'
    folder.mkdir(parents=True)

    def endings():
        cfg = make('camvid-upernet', 'auto')
        roles = [cfg[f'{name}_dataloader'].dataset.roles for name in ('train', 'test')]
        return [each.retain.dataset.img_suffix for each in roles]

    assert endings() == ['.png', '.png']
    (folder / 'a.jpg').touch()
    assert endings() == ['.jpg', '.png']
    (folder / 'a.png').touch()
    assert endings() == ['.png', '.png']


def test_a_plateau_says_what_is_converged(parts):
    found = parts.hosts.convergence({100: 20.0, 200: 55.0, 300: 60.0, 400: 60.9})
    assert found['converged'] and found['gained_at_the_end'] == pytest.approx(0.9)
    assert not parts.hosts.convergence({100: 20.0, 200: 30.0, 300: 40.0, 400: 50.0})['converged']
    assert not parts.hosts.convergence({100: 20.0})['converged']
    assert not parts.hosts.convergence({})['converged']


def row(recipe='auto', seed=0, end=(90.0, 0.5, 60.0), **fields):
    roles = ('learn', 'forget', 'retain')
    found = dict(
        swap='grocery', task='classification', recipe=recipe, seed=seed, images=1000, seconds=30,
        start=dict(zip(roles, (0.0, 55.0, 60.0), strict=True)),
        end=dict(zip(roles, end, strict=True)), learn_reference=95.0, retain_reference=61.0,
    )  # fmt: skip
    return dict(found, **fields)


def test_bars_hold_for_the_mean_of_the_seeds(parts):
    misses = parts.table.misses
    assert misses([row()]) == []
    assert misses([row(end=(80.0, 1.5, 58.9))]) == [
        'forget 1.5 > 1', 'learn 80.0 < 85.5', 'retain 58.9 < 59.0',
    ]  # fmt: skip
    assert misses([row(end=(90, 1.5, 60)), row(end=(90, 0, 60), seed=1)]) == []
    assert misses([row(end=(90, 1.5, 60), task='detection')]) == []
    # A retain reference far above the start: three points below it are allowed.
    assert misses([row(retain_reference=70.0)]) == ['retain 60.0 < 67.0']
    assert misses([row(learn_reference=None, retain_reference=None)]) == ['no reference']


def test_the_table_shows_seeds_and_costs(parts):
    rows = [row(), row(seed=1, end=(92, 0, 62)), row('readme', images=500, seconds=20)]
    text = parts.table.table(rows)
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
    assert lines[2][:4] == ['grocery', 'auto', '0.0 / 55.0 / 60.0', '91.0 (90.0, 92.0)']
    assert lines[2][6:] == ['95.0', '61.0', '1000 (2.00x)', '30 (1.50x)', '']
    assert lines[3][:2] == ['grocery', 'readme'] and lines[3][8] == '500 (1.00x)'


def test_rows_keep_references_of_the_same_host(parts):
    earlier = [row(references={'0': 'a'}), row(seed=1, references={'1': 'b'}), row('readme')]
    nothing = dict(references={}, learn_reference=None, retain_reference=None, images=7)
    other = row(seed=1, **nothing)
    other['start'] = dict(other['start'], retain=59.0)
    first, second, old = parts.table.with_earlier([other, row(**nothing)], earlier)
    assert (first['images'], first['references'], first['learn_reference']) == (7, {'0': 'a'}, 95.0)
    assert (second['images'], second['references'], second['learn_reference']) == (7, {}, None)
    assert old == row('readme')


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The command and those that it calls, all in this process: imports take long."""
    return benchmark(monkeypatch, 'real_swaps.py', tmp_path)


@pytest.mark.slow  # six trainings, a test and a publication, each through its command
def test_stages_go_on_and_end_in_rows(main, parts, picture_tree, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tree = tmp_path / 'photos'
    tree.symlink_to(picture_tree)
    for name in OLD:
        (tmp_path / 'old' / 'train').mkdir(parents=True, exist_ok=True)
        (tmp_path / 'old' / 'train' / name).symlink_to(picture_tree / 'train' / name)
    host = host_training(tree, tmp_path / 'host.py')
    base = swap_config(picture_tree, tmp_path, policy='all')
    phases = base.swap.pop('phases')
    base.swap.update(
        order='learn-forget',
        phase_settings={phase.pop('kind'): phase for phase in phases},
    )
    base.test_dataloader = base.val_dataloader
    swap = write_config(base, tmp_path / 'swap.py')
    plan = parts.plan
    monkeypatch.setattr(plan.Host, 'path', host)
    monkeypatch.setattr(plan.Swap, 'path', swap)
    hosts = dict(colours=plan.Host('host', 'accuracy/top1', least=99.0))
    swaps = {'colours': plan.Swap(plan.CLASSIFICATION, 'swap', 'colours', iters=(2, 1))}
    monkeypatch.setattr(plan, 'HOSTS', hosts)
    for module in (parts.hosts, parts.data):
        monkeypatch.setattr(module, 'HOSTS', hosts)
    for module in (plan, parts.runs, parts.table, parts.data):
        monkeypatch.setattr(module, 'SWAPS', swaps)

    done = main('--seeds', 5, '--stages', 'host', 'swap')
    assert [c[3] if c[1] == '-m' else Path(c[1]).stem for c in done] == [
        'train', 'test', 'publish_weights', 'train', 'train', 'train',
    ]  # fmt: skip
    card = json.loads((tmp_path / 'work' / 'hosts' / 'colours.measured.json').read_text())
    assert list(card['curve']) == ['1', '2', '3', '4'] and 0 <= card['test'] <= 100
    assert not list((tmp_path / 'work').rglob('*.pth'))  # hosts and results are kept

    done = main('--seeds', 5)
    assert [c[3] for c in done] == ['train', 'train']  # the references alone
    text = capsys.readouterr().out
    rows = json.loads((tmp_path / 'rows.json').read_text())['rows']
    assert [(r['swap'], r['task'], r['recipe'], r['seed']) for r in rows] == [
        ('colours', 'classification', recipe, 5) for recipe in ('auto', 'readme', 'official')
    ]
    auto, readme, _ = rows
    assert (auto['iterations'], auto['images']) == (6, 48)
    assert (readme['iterations'], readme['images']) == (3, 24)
    assert list(auto['states']) == ['start', 'phase1_learn', 'phase2_forget']
    assert auto['end'] == auto['states']['phase2_forget']
    found = auto['references']['5']
    assert auto['learn_reference'] == max(found['joint']['learn'], found['without']['learn'])
    assert auto['retain_reference'] == found['without']['retain']
    assert found['joint']['forget'] is None
    assert 'colours' in text and (tmp_path / 'rows.md').read_text() in text
    assert main('--seeds', 5) == []


def sources(root):
    """Small copies of the folder that `--data` takes."""
    for part, names in (('old', real_sources.OLD), ('new', real_sources.NEW)):
        for split, number in itertools.product(('train', 'test'), (0, 1)):
            for name in names:
                path = root / 'grocery' / part / split / name / f'{number}.jpg'
                real_sources.draw(path, (28, 28), number)
    real_sources.camvid(root / 'camvid', listed=False)
    real_sources.cards(root)
    (root / 'images').rename(root / 'cards')
    real_sources.bccd(root)
    (root / 'BCCD').rename(root / 'bccd')
    save_file(dinov2.weights(), root / 'dinov2_small.safetensors')
    return root


def shrink(cfg):
    """Small images, a small backbone and narrow heads."""
    cfg.model.get('host', cfg.model).backbone.arch = dict(dinov2.ARCH, num_layers=4)
    width, sizes = dinov2.ARCH['embed_dims'], {(392, 294): (56, 42), (294, 392): (42, 56)}
    names = dict(channels=8, num_queries=9, max_per_img=9)

    def walk(value):
        for key, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if each == 384 or each == [384] * 4:
                value[key] = width if each == 384 else [width] * 4
            elif key == 'out_indices':
                value[key] = [0, 1, 2, 3]
            elif key in ('scale', 'crop_size', 'size') and each not in ((0.7, 0.7), '1GB'):
                value[key] = 28 if each == 196 else sizes.get(tuple(each), (56, 56))
            elif key == 'frozen_stages' and each > 0:
                value[key] = 4
            elif key in names:
                value[key] = names[key]
            elif key == 'num_workers':
                value[key] = 0
            elif key == 'persistent_workers':
                value[key] = False
            elif isinstance(each, (dict, list)):
                walk(each)

    walk(cfg.model)
    for name in ('train', 'val', 'test'):
        walk(cfg[f'{name}_dataloader'])
    return cfg


@pytest.mark.timeout(900)
@pytest.mark.slow  # a host and three runs of whole models
def test_a_true_config_on_small_copies_of_the_data(main, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(dinov2, 'LAYERS', 4)
    for module in (parts.hosts, parts.runs):
        read = module.open_config
        monkeypatch.setattr(module, 'open_config', lambda *a, read=read: shrink(read(*a)))
    weights = tmp_path / 'weights'
    weights.symlink_to(FOLDER.parent / 'weights')
    common = ['train_cfg.max_iters=2', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=2']
    lengths = [f'swap.phase_settings.{kind}.iters=1' for kind in ('learn', 'forget')]
    name = 'camvid-upernet'  # the others are built in tests/test_configs.py
    main(
        '--data', sources(tmp_path / name), '--swaps', name, '--recipes', 'auto', '--seeds', 0,
        '--host-options', *common,
        '--swap-options', *lengths, 'train_dataloader.batch_size=4',
    )  # fmt: skip
    rows = json.loads((tmp_path / 'rows.json').read_text())['rows']
    assert [row['swap'] for row in rows] == [name]
    for found in rows:
        assert found['images'] == 8 and set(found['references']) == {'0'}
        assert all(0 <= value <= 100 for value in found['end'].values())
