"""benchmarks/forgetting.py: gaps, intervals and bars by hand, and the configs of its plan."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS

from knowswap_mm.engine.checks import check_config
from knowswap_mm.engine.config import open_config
from knowswap_mm.errors import SwapError
from knowswap_mm.registry import name_types
from knowswap_mm.runs.reader import ScalarLog
from tests.helpers.swap_configs import schedule_of

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(learn=200, forget=200, retain=1000)
SCORES = ('loss', 'entropy')


@pytest.fixture(scope='module')
def parts():
    """The benchmark's modules."""
    names = ('gaps', 'bars', 'plan', 'runs', 'starts')
    return SimpleNamespace(**{name: importlib.import_module(f'lasting.{name}') for name in names})


def models(after, *references):
    named = {f'reference{" " * bool(i)}{i + 1 if i else ""}': v for i, v in enumerate(references)}
    return {name: dict(value=value) for name, value in dict(named, after=after).items()}


def audit(after=0.6, floors=(0.5, 0.6), steps=(16, 16), others=(16, 16), distance=0.1, prompt=0.1,
          member=0.5):  # fmt: skip
    """What five shots, kNN, a prompt, relearning, answers and membership found; one block."""

    def finding(attack, statistic='share', **details):
        found = details['by_model']['after'] if 'by_model' in details else dict(value=-4.0)
        return dict(attack=attack, statistic=statistic, after=found, details=details)

    counts = dict(after=list(steps), reference=list(others))
    curve = {name: [dict(value=each['value'] - 0.2), each]
             for name, each in models(after, *floors).items()}  # fmt: skip
    asked = [
        dict(attack=f'membership inference, {score}', statistic='AUC', details={},
             after=dict(value=member, low=member - 0.05, high=member + 0.05),
             floor=dict(value=0.5, low=0.47, high=0.53))
        for score in SCORES
    ]  # fmt: skip
    return dict(
        headline='?',
        curves=[dict(attack='prototype probe, 5 shots', places=['block', 'head'], by_model=curve)],
        findings=[
            finding('prototype probe, 5 shots', by_model=models(after, *floors)),
            finding('kNN probe', by_model=models(0.5, 0.5, 0.5)),
            finding('visual prompt', by_model=models(prompt, 0.1, 0.1)),
            finding('relearning', 'minus the logarithm', steps=counts),
            finding('relearning from prototype rows', 'minus the logarithm', steps=counts),
            finding('answer distance', 'total variation', by_model=models(distance, 0.1, 0.1)),
            *asked,
        ],
    )  # fmt: skip


def test_gaps_by_hand(parts):
    gaps = parts.gaps.gaps_of(audit(prompt=0.3))
    assert gaps['prototype probe, 5 shots'] == dict(block=5.0, head=5.0)  # 60 against 55
    assert gaps['visual prompt'] == dict(head=20.0)
    assert set(gaps) == {'prototype probe, 5 shots', 'kNN probe', 'visual prompt'}  # shares alone
    assert parts.gaps.gaps_of(dict(findings=[], curves=[])) == {}
    # 50 and 60 lie 10 / sqrt(2) from one another
    assert parts.gaps.spread_of_references(audit()) == pytest.approx(10 / 2**0.5)
    assert parts.gaps.spread_of_references(audit(floors=(0.5,))) == 0


def test_ratio_of_steps(parts):
    ratio = parts.gaps.steps_ratio
    assert ratio(audit(steps=(8, 32), others=(8, 8)), 'relearning') == 2.0  # 16 against 8
    assert ratio(audit(steps=(8, None)), 'relearning') is None
    assert ratio(audit(), 'no such attack') is None


def test_membership_is_inside_where_intervals_meet(parts):
    inside = parts.gaps.membership_of
    assert inside(audit()) == dict(loss=True, entropy=True)
    assert inside(audit(member=0.575)) == dict(loss=True, entropy=True)  # from 0.525
    assert inside(audit(member=0.585)) == dict(loss=False, entropy=False)  # from 0.535
    assert inside(audit(member=0.415)) == dict(loss=False, entropy=False)  # to 0.465


def test_costs_are_those_after_the_learn_phase(parts):
    times = {10: 7.0, 20: 9.0, 50: 1.0, 60: 8.0, 70: 4.0, 80: 16.0, 90: 9.0}
    lines = [dict(step=step, iter=step, time=time, memory=step) for step, time in times.items()]
    # The learn phase ends at 50; the windows of the lines at 10 and 60 begin before their phase.
    assert parts.gaps.costs_of(ScalarLog(lines), 50, 80) == dict(step=2.0, memory=80)
    plain = [dict(step=70, iter=70, loss=1.0)]
    assert parts.gaps.costs_of(ScalarLog(plain), 50, 80) == dict(step=None, memory=None)


def row(parts, seed, start=80.0, learn_end=82.0, end=(90.0, 0.0, 79.5), cost=1.0, **changes):
    page, kept = audit(**changes), ('learn', 'forget', 'retain')
    gaps = parts.gaps
    return dict(
        benchmark='b', objective='o', seed=seed, start=dict(learn=0.0, forget=90.0, retain=start),
        learn_end=dict(learn=91.0, forget=40.0, retain=learn_end),
        end=dict(zip(kept, end, strict=True)), gaps=gaps.gaps_of(page),
        relearning=gaps.steps_ratio(page, 'relearning'),
        prototype_relearning=gaps.steps_ratio(page, 'relearning from prototype rows'),
        total_variation=gaps.value_of(page, 'answer distance'),
        membership=gaps.membership_of(page), references_deviate=1.0,
        step=cost, memory=cost,
    )  # fmt: skip


def test_interval_by_hand(parts):
    # 4.303 is Student's quantile of two degrees of freedom, the deviation is 1.
    low, high = parts.bars.interval([4.0, 5.0, 6.0])
    assert (low, high) == pytest.approx((5 - 4.303 / 3**0.5, 5 + 4.303 / 3**0.5), abs=1e-3)
    assert parts.bars.interval([5.0]) == (-float('inf'), float('inf'))


def test_bars(parts):
    misses = parts.bars.misses
    good = [row(parts, seed, after=after) for seed, after in enumerate((0.55, 0.56, 0.54))]
    assert misses(good, good) == []
    far = [row(parts, n, after=v, distance=0.3) for n, v in enumerate((0.69, 0.7, 0.71))]
    found = misses(far, good)
    assert [text.split(':')[0] for text in found[:2]] == ['head', 'layers']
    assert 'off by 16.0 > 10' in found[2] and 'total variation 0.30 > 0.15' in found[3]
    # So few seeds, so far apart, say nothing.
    assert misses([row(parts, 0, after=0.4), row(parts, 1, after=0.7)], good)[0].startswith('head')
    assert misses(good[:1], good)[0].startswith('head')

    def of(**changes):
        values = (0.55, 0.56, 0.54)
        return misses([row(parts, n, after=v, **changes) for n, v in enumerate(values)], good)

    assert of(steps=(4, 4)) == [
        'relearning: 0.25 times the steps', 'prototype_relearning: 0.25 times the steps',
    ]  # fmt: skip
    assert of(prompt=0.16) == ['visual prompt: +6.0, not within 5.0']
    assert of(member=0.6) == [
        f'membership, {score}: outside the interval in 3 of 3' for score in SCORES
    ]
    assert of(cost=1.5) == ['memory: 1.50 times that of the recipe > 1.2']
    assert of(cost=None) == []
    good[0]['end']['forget'] = 3.0
    assert misses(good, good) == ['forget 1.0 > 0.5']


def test_bars_of_retain_and_learn(parts):
    def of(**changes):
        rows = [row(parts, n, after=v, **changes) for n, v in enumerate((0.55, 0.56, 0.54))]
        return parts.bars.misses(rows, recipe)

    recipe = [row(parts, seed, after=0.55) for seed in range(3)]
    # Within a point of the start, or of the end of the learn phase if that is lower.
    assert of(end=(90.0, 0.0, 78.9)) == ['retain 78.90 < 79.00 (start - 1)']
    assert of(end=(90.0, 0.0, 78.9), learn_end=79.0) == []
    lower = of(end=(90.0, 0.0, 77.9), learn_end=79.0)
    assert lower == ['retain 77.90 < 78.00 (end of the learn phase - 1)']
    assert of(end=(88.0, 0.0, 79.5)) == []  # 90 is the recipe's
    assert of(end=(87.9, 0.0, 79.5)) == ['learn 87.90 < 88.00 (recipe - 2)']
    recipe = []
    assert of() == ['learn: no run of the present recipe']


def test_tables(parts):
    rows = [dict(row(parts, seed, after=0.6, cost=cost), objective=objective)
            for objective, cost in (('recipe', 2.0), ('deep', 3.0)) for seed in (0, 1)]  # fmt: skip
    lines = parts.bars.table(rows).splitlines()
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert cells[3][:5] == ['b', 'deep', '80.0', '82.0', '90.0 / 0.0 / 79.5']
    named = dict(zip(cells[0], cells[3], strict=True))
    assert named['gap at the head'] == '+5.0' and named['time'] == '1.50'
    cards = [dict(benchmark='b', seed=seed, learn=90.0, retain=retain, gained_at_the_end=gained,
                  converged=gained is not None) for seed, retain, gained in
             ((0, 80.0, 0.5), (1, 83.1, None))]  # fmt: skip
    text = parts.bars.reference_table(cards)
    assert 'seed 1: no plateau; retain differs by 3.1 > 3' in text
    cards[1].update(retain=83.0, converged=True)
    assert parts.bars.reference_table(cards).splitlines()[2].endswith('| 0.5, - | |')


def test_every_objective_makes_a_config(parts, monkeypatch):
    plan = parts.plan
    read, known = plan.open_config, {}
    monkeypatch.setattr(
        plan, 'open_config', lambda path: (known.setdefault(path, read(path))).copy()
    )
    kinds = {}
    for name, objective in plan.OBJECTIVES.items():
        assert set(objective.benchmarks) <= set(plan.BENCHMARKS)
        for benchmark in objective.benchmarks:
            cfg = plan.swap_config(benchmark, name, {'randomness.deterministic': True})
            check_config(name_types(cfg))
            phases = [phase.kind for phase in schedule_of(cfg, SIZES).phases]
            assert phases == ['learn', 'forget'] + ['forget'] * (name == 'undo')
            assert cfg.randomness.deterministic and cfg.default_hooks.logger.interval == plan.LOG
            kinds.setdefault(name, set()).add((cfg.model.get('loss') or {}).get('type'))
    assert all(len(each) == 1 for each in kinds.values())
    assert kinds['deep'] == {'knowswap_mm.FeatureMatchingLoss'}


def test_deep_is_what_the_preset_says(parts):
    read = parts.plan.open_config
    preset = read(FOLDER.parent / 'configs' / '_base_' / 'forget_deep.py')
    deep = parts.plan.swap_config('grocery', 'deep', {})
    assert deep.model.loss == preset.model.loss
    assert deep.model.head.policy == preset.model.head.policy
    assert deep.swap.phase_settings == preset.swap.phase_settings
    assert deep.swap.recipe == preset.swap.recipe and deep.swap.order == preset.swap.order


@pytest.mark.parametrize('name', ['shapes-dino-mini', 'shapes-mask2former-mini'])
def test_references_have_the_data_and_labels_of_their_swaps(name, parts):
    swap = parts.plan.swap_config(name, 'recipe', {})
    reference = parts.plan.reference_config(name, {})
    assert reference.swap.classes == swap.swap.classes
    assert reference.model.host == swap.model.host
    for split in ('val', 'test'):
        key = f'{split}_dataloader'
        assert reference[key].dataset == swap[key].dataset
    for role, options in swap.train_dataloader.dataset.roles.items():
        wide = dict(data_root=parts.plan.WIDE) if role == 'retain' else {}
        dataset = {**options.dataset, **wide}
        assert reference.train_dataloader.dataset.roles[role].dataset == dataset
    learn = reference.swap.phase_settings.learn
    watched = reference.train_cfg.val_interval
    assert 4 * watched == learn.iters  # four looks at each go
    parts.plan.watch(reference, 20)
    assert reference.train_cfg.val_interval == watched  # what is given stays


@pytest.mark.parametrize(
    ('name', 'host'),
    [
        ('shapes-dino-mini', 'detection/pretrain/dino-mini_shapes_pretrain.py'),
        ('shapes-mask2former-mini', 'segmentation/pretrain/mask2former-mini_shapes_pretrain.py'),
    ],
)
def test_references_see_no_fewer_retained_scenes_than_their_host_saw_scenes(name, host, parts):
    trained = parts.plan.open_config(FOLDER.parent / 'configs' / host)
    swap = parts.plan.reference_config(name, {}).swap
    learn, goes = swap.phase_settings.learn, swap.order.split('-')
    seen = trained.train_cfg.max_iters * trained.train_dataloader.batch_size
    assert set(goes) == {'learn'}
    assert len(goes) * learn.iters * learn.split.retain >= seen


def test_the_reference_of_fashion_has_the_labels_of_its_swap(parts):
    swap = parts.plan.swap_config('fashion-mnist', 'recipe', {})
    reference = parts.plan.open_config(parts.plan.BENCHMARKS['fashion-mnist'].path)
    order = [*swap.swap.classes.old, *swap.swap.classes.learn]
    for split in ('train', 'val', 'test'):
        dataset = reference[f'{split}_dataloader'].dataset
        assert dataset.metainfo.classes == order
        assert dataset.ann_file == f'meta/retrain8_{split}.txt'  # labels of all ten


def test_the_host_of_groceries_that_sees_less(parts):
    plan = parts.plan.BENCHMARKS['grocery'].unseen
    seen, unseen = (parts.plan.open_config(path) for path in (
        plan.path.with_name('vit_dinov2-s_grocery_pretrain.py'), plan.path))  # fmt: skip
    swap = parts.plan.swap_config('grocery', 'recipe', {})
    for split in ('train', 'val', 'test'):
        mine, other = (cfg[f'{split}_dataloader'].dataset for cfg in (unseen, seen))
        assert mine.classes.forget == swap.swap.classes.forget
        assert dict(mine.roles) == dict(retain=dict(dataset=other))
    assert unseen.model == seen.model
    assert unseen.train_cfg == seen.train_cfg and unseen.optim_wrapper == seen.optim_wrapper


def swin_of(config):
    cfg = open_config(config).model.backbone
    return MODELS.build(dict(cfg, type=f'mmseg.{cfg.type}', init_cfg=None))


def test_the_reference_of_the_segmentor_begins_like_its_host(parts, tmp_path):
    config, donor = parts.plan.BENCHMARKS['shapes-mask2former-mini'].begins
    assert donor in parts.plan.BENCHMARKS
    config, out = parts.plan.ROOT / 'configs' / config, tmp_path / 'new' / 'start.pth'
    backbone = {k: torch.full_like(v, 0.5) if v.is_floating_point() else v
                for k, v in swin_of(config).state_dict().items()
                if not k.startswith('norm')}  # fmt: skip
    detector = {f'host.backbone.{key}': value for key, value in backbone.items()}
    torch.save(dict(state_dict={**detector, 'host.level_embed': torch.ones(1)}), tmp_path / 'd.pth')
    parts.starts.write_start(config, tmp_path / 'd.pth', 0, out)
    written = torch.load(out, weights_only=True)['state_dict']
    assert all(torch.equal(written[f'backbone.{key}'], value) for key, value in backbone.items())
    rows = written['decode_head.cls_embed.weight']
    assert rows.shape[0] == 17 and rows.std() > 0  # sixteen old classes and none of them
    parts.starts.write_start(config, tmp_path / 'd.pth', 1, tmp_path / 'other.pth')
    other = torch.load(tmp_path / 'other.pth', weights_only=True)['state_dict']
    assert not torch.equal(other['decode_head.cls_embed.weight'], rows)

    del detector['host.backbone.patch_embed.projection.bias']
    torch.save(dict(state_dict=detector), tmp_path / 'd.pth')
    with pytest.raises(SwapError, match='another backbone.*patch_embed.projection.bias'):
        parts.starts.write_start(config, tmp_path / 'd.pth', 0, out)
