"""benchmarks/forgetting.py: all stages on tiny swaps, what it repeats, and what it leaves."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from knowswap_mm.runs.reader import read_schedule
from tests.helpers.benchmark_runs import benchmark, host_training
from tests.helpers.swap_configs import FORGOTTEN, OLD, swap_config, write_config

AUDIT = ('audit.parts=[Answers,PrototypeProbe,AnswerDistance]', 'audit.samples=12')


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The command and those that it calls, all in this process: imports take long."""
    run = benchmark(monkeypatch, 'forgetting.py', tmp_path)
    return lambda *words: [c[3] if c[1] == '-m' else Path(c[1]).stem for c in run(*words)]


@pytest.fixture
def tiny(main, picture_tree, tmp_path, monkeypatch):
    """Two benchmarks: references like the swap from a host that saw less, and from scratch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photos').symlink_to(picture_tree)
    for name in OLD:
        (tmp_path / 'old' / 'train').mkdir(parents=True, exist_ok=True)
        (tmp_path / 'old' / 'train' / name).symlink_to(picture_tree / 'train' / name)
    host_training(tmp_path / 'photos', tmp_path / 'host.py')
    base = swap_config(picture_tree, tmp_path, policy='all')
    phases = {phase.pop('kind'): phase for phase in base.swap.pop('phases')}
    base.swap.update(order='learn-forget', phase_settings=phases)
    base.test_dataloader = base.val_dataloader
    base.default_hooks.logger.log_metric_by_epoch = False
    write_config(base, tmp_path / 'swap.py')
    base.model.update(type='knowswap_mm.FullTrainingSwapper', lora=None)
    base.model.loss = dict(type='knowswap_mm.WeightedSumLoss')
    learn = dict(phases['learn'], iters=8, weights=dict(learn=1.0, retain=1.0, sparsity=0.0))
    base.swap.update(order='learn', allow_random_host=True, phase_settings=dict(learn=learn))
    base.load_from = None
    scratch = write_config(base, tmp_path / 'scratch.py')

    names = ('lasting.plan', 'lasting.runs', 'real.plan', 'real.hosts', 'real.runs', 'real.data')
    modules = [importlib.import_module(name) for name in names]
    plan, real = modules[0], modules[2]
    for kind in (real.Host, real.Swap):
        monkeypatch.setattr(kind, 'path', property(lambda self: tmp_path / f'{self.config}.py'))
    host = real.Host('host', 'accuracy/top1')
    swap = real.Swap(real.CLASSIFICATION, 'swap', 'colours')
    changes = dict(
        HOSTS=dict(colours=host),
        SWAPS={name: swap for name in plan.BENCHMARKS},
        BENCHMARKS={'grocery': plan.Benchmark(unseen=host),
                    'fashion-mnist': plan.Benchmark(str(scratch))},
    )  # fmt: skip
    for module in modules:
        for name, value in changes.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    return SimpleNamespace(work=tmp_path / 'work', rows=tmp_path / 'rows.json')


@pytest.mark.timeout(600)
@pytest.mark.slow  # a dozen trainings and audits, each through its command
def test_stages_do_what_they_need_and_go_on(main, tiny, capsys):
    both = ('--seeds', 5, '--benchmarks', 'grocery', 'fashion-mnist', '--objectives', 'recipe')
    done = main(*both, '--stages', 'references', '--benchmarks', 'grocery')
    # Two hosts, the swap whose length the reference has, and the reference.
    assert sorted(done) == sorted(
        ['train', 'test', 'publish_weights'] * 2 + ['train'] * 2 + ['test']
    )
    folder = tiny.work / 'runs' / 'grocery_reference_seed5'
    card = json.loads((folder / 'reference.json').read_text())
    assert card['checkpoint'] == 'phase1_learn.pth' and len(card['curve']) >= 4
    assert (folder / card['checkpoint']).is_file() and 0 <= card['retain'] <= 100
    schedule = read_schedule(folder)
    assert [phase['kind'] for phase in schedule['phases']] == ['learn']
    assert FORGOTTEN in schedule['classes']['forget']
    hosts = {path.stem for path in (tiny.work / 'hosts').glob('*.safetensors')}
    assert hosts == {'colours', 'grocery_unseen_seed5'}

    done = main(*both, '--audit-options', *AUDIT)
    assert sorted(done) == ['audit', 'audit', 'test', 'train', 'train']
    found = json.loads(tiny.rows.read_text())
    assert [(row['benchmark'], row['objective'], row['seed']) for row in found['rows']] == [
        ('grocery', 'recipe', 5), ('fashion-mnist', 'recipe', 5),
    ]  # fmt: skip
    row = found['rows'][0]
    page = next(tiny.work.rglob('grocery_recipe_seed5/audit/*/audit.json'))
    about = json.loads(page.read_text())['about']
    assert about['references'] == [str(folder / 'phase1_learn.pth')] and about['samples'] == 12
    assert set(row['start']) == set(row['learn_end']) == set(row['end'])
    assert 'head' in row['gaps']['prototype probe, 5 shots']
    assert [card['benchmark'] for card in found['references']] == ['grocery', 'fashion-mnist']
    text = capsys.readouterr().out
    assert 'grocery, recipe, audit: done' in text
    assert tiny.rows.with_suffix('.md').read_text() in text
    states = {path.name for path in page.parents[2].glob('phase*.pth')}
    assert states == {'phase1_learn.pth', 'phase2_forget.pth'}
    assert main(*both) == []
    # Another objective alone: what was not asked for stays.
    changed = dict(found, rows=[dict(row, seed=6) for row in found['rows']])
    tiny.rows.write_text(json.dumps(changed))
    main('--stages', 'report', *both, '--benchmarks', 'fashion-mnist')
    again = json.loads(tiny.rows.read_text())
    assert [row['seed'] for row in again['rows']] == [6, 5]
    assert again['references'] == found['references']
    # More seeds: only these run, on the same images, and one process audits both.
    one = ('--benchmarks', 'grocery', '--objectives', 'recipe', '--reference-seeds', 5)
    more = main(*one, '--seeds', 5, 6, 7, '--audit-options', *AUDIT)
    assert sorted(more) == ['audit', 'train', 'train']
    runs = [tiny.work / 'runs' / f'grocery_recipe_seed{seed}' for seed in (5, 6, 7)]
    drawn, states = ([(run / name).read_bytes() for run in runs]
                     for name in ('role_indices.json', 'phase2_forget.pth'))  # fmt: skip
    assert drawn[0] == drawn[1] == drawn[2] and len(set(states)) == 3
    assert all(list(run.glob('audit/*/audit.json')) for run in runs)


def test_data_that_is_not_there(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='There is no data/fashion_mnist/.*docs/real.md'):
        main('--benchmarks', 'fashion-mnist', '--stages', 'swap')
    assert main('--benchmarks', 'fashion-mnist', '--stages', 'report') == []
    assert json.loads((tmp_path / 'rows.json').read_text()) == dict(rows=[], references=[])
