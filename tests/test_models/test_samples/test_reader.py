"""Samples in training: read off the host's one loss call, if an objective asks for them."""

import copy

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config

from knowswap_mm.compat import has_hooks
from knowswap_mm.errors import ConfigError
from knowswap_mm.models import SwappingLoss, WeightedSumLoss
from knowswap_mm.models.samples import SampleReader
from tests.helpers.processes import join, start
from tests.helpers.sample_hosts import batch_for, build, build_anew
from tests.helpers.sync_counter import SyncCounter
from tests.helpers.tiny_hosts import vit_host

SAMPLE = dict(hinge='sample')
#: Hosts, and an acceleration of their losses.
CASES = [
    ('vit', None),
    ('upernet', None),
    ('dino', None),
    ('dino', 'BatchedDINOLosses'),
    ('mask2former', None),
    ('mask2former', 'BatchedMask2FormerLosses'),
]


class AllSamples(WeightedSumLoss):
    """Asks for the samples of all roles and makes nothing of them."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def wants(self, phase):
        return phase.roles

    def measure(self, swapper, role, inputs, samples, phase, found=None):
        self.kept[role] = found
        return {}


def step(swapper, name, objective=None):
    """Terms, gradients, and the random number that comes next."""
    if objective is not None:
        swapper.swapping_loss = objective
    data = batch_for(name, swapper)
    torch.manual_seed(0)
    terms = swapper(*data, mode='loss')
    total, _ = swapper.parse_losses(terms)
    swapper.zero_grad()
    total.backward()
    gradients = {n: p.grad.clone() for n, p in swapper.named_parameters() if p.requires_grad}
    return {**terms, **gradients, 'next': torch.rand(1)}


@pytest.mark.parametrize(('name', 'acceleration'), CASES)
def test_reading_changes_no_bit_and_leaves_nothing(name, acceleration, monkeypatch):
    swapper = build(name, accelerations=[acceleration] if acceleration else [])
    asking = AllSamples()
    found = step(swapper, name, asking)
    assert set(asking.kept) == {'forget', 'retain'} and all(map(len, asking.kept.values()))
    assert all(each.nats.requires_grad for each in asking.kept.values())
    assert all(each.features.requires_grad for each in asking.kept.values())
    assert not any(map(has_hooks, swapper.modules()))
    # Nobody asks: nothing listens.
    monkeypatch.setattr(SampleReader, 'run', None)
    wanted = step(swapper, name, WeightedSumLoss())
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []


def samples_of(name, **settings):
    swapper, asking = build(name, **settings), AllSamples()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled='fp32_losses' in settings):
        step(swapper, name, asking)
    return asking.kept


def assert_alike(found, wanted, tolerance=1e-4):
    for role, each in wanted.items():
        for key in ('images', 'labels', 'layers'):
            assert torch.equal(getattr(found[role], key), getattr(each, key))
        for key in ('nats', 'features'):
            pair = getattr(found[role], key), getattr(each, key)
            assert pair[0].dtype == torch.float32
            torch.testing.assert_close(*pair, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('name', ['vit', 'upernet', 'dino'])
def test_fused_features_give_the_same_samples(name):
    assert_alike(samples_of(name, fuse='always'), samples_of(name, fuse='never'))


@pytest.mark.parametrize('name', ['vit', 'upernet'])
def test_nats_of_features_in_bfloat16(name):
    assert_alike(samples_of(name, fp32_losses=True), samples_of(name), tolerance=0.3)


@pytest.mark.parametrize(('name', 'fp32_losses'), [('vit', False), ('dino', True)])
def test_nats_are_fp32_under_autocast(name, fp32_losses):
    """Detectors need fp32 for their losses; rounding may choose other queries."""
    swapper, asking = build(name, fp32_losses=fp32_losses), AllSamples()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        step(swapper, name, asking)
    assert asking.kept['forget'].nats.dtype == torch.float32
    assert asking.kept['forget'].nats.isfinite().all()


def test_compiled_blocks_give_the_same_samples():
    acceleration = dict(type='knowswap_mm.CompiledBlocks', backend='eager')
    compiled, asking = build_anew('vit', accelerations=[acceleration]), AllSamples()
    step(compiled, 'vit', asking)
    assert_alike(asking.kept, samples_of('vit'))


@pytest.mark.parametrize('name', ['dino', 'mask2former'])
def test_measuring_is_repeatable_and_leaves_no_trace(name):
    swapper = build(name).eval()  # detectors compute losses for a model in training alone
    inputs, samples = batch_for(name, swapper)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = swapper.sample_losses(inputs['retain'], samples['retain'])
    assert torch.equal(torch.rand(1), expected)
    second = swapper.sample_losses(inputs['retain'], samples['retain'])
    assert torch.equal(first.nats, second.nats)
    assert not any(module.training for module in swapper.modules())
    assert not any(map(has_hooks, swapper.modules()))


def test_a_copy_reads_itself():
    swapper = build('vit')
    twin = copy.deepcopy(swapper)
    torch.nn.init.zeros_(swapper.host.head.layers.head.weight)
    inputs, samples = batch_for('vit', twin)
    found = [m.sample_losses(inputs['forget'], samples['forget']).nats for m in (swapper, twin)]
    assert not torch.allclose(*found)


def test_the_hinge_of_a_step_is_that_of_its_samples():
    swapper = build('vit', loss=SAMPLE)
    inputs, samples = batch_for('vit', swapper)
    nats = swapper.sample_losses(inputs['forget'], samples['forget']).nats.double()
    bound = float(nats.mean())
    phase = swapper.schedule.phases[0]
    object.__setattr__(phase, 'bound', bound)
    terms = swapper(inputs, samples, mode='loss')
    by_hand = 0.5 * sum(max(0.0, bound - value) for value in nats.tolist()) / 4
    assert float(terms['loss_forget']) == pytest.approx(by_hand, rel=1e-5)
    assert float(terms['forget/bound_hit']) == float((nats >= bound).double().mean())
    assert float(terms['forget/raw']) == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize('name', ['vit', 'upernet', 'dino', 'mask2former'])
def test_samples_beyond_the_bound_push_nothing(name):
    swapper = build(name, loss=SAMPLE)
    object.__setattr__(swapper.schedule.phases[0], 'bound', 1e-9)
    inputs, samples = batch_for(name, swapper)
    terms = swapper(inputs, samples, mode='loss')
    assert float(terms['loss_forget']) == 0 and float(terms['forget/bound_hit']) == 1
    terms['loss_forget'].backward()
    gradients = [p.grad for p in swapper.parameters() if p.grad is not None]
    assert gradients and not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(('name', 'acceleration'), [CASES[0], CASES[3], CASES[5]])
def test_a_step_waits_for_its_device_no_more_often(name, acceleration):
    reads = []
    for loss in (dict(hinge='mean'), SAMPLE):
        swapper = build(name, loss=loss, accelerations=[acceleration] if acceleration else [])
        data = batch_for(name, swapper)
        torch.manual_seed(0)
        with SyncCounter() as counter:
            swapper(*data, mode='loss')
        reads.append((counter.reads.total(), counter.writes.total()))
    assert reads[0] == reads[1]


def test_a_host_that_no_reader_reads_is_refused(raises_config_error):
    host = vit_host()
    host['head'] = dict(host['head'], loss=dict(type='mmpretrain.AsymmetricLoss'), cal_acc=False)
    swapper = build('vit', host, loss=SAMPLE)
    assert swapper.samples is None
    with raises_config_error('model.loss.hinge', 'sample', 'ImageClassifier', "hinge='mean'"):
        swapper.check(swapper.schedule)
    inputs, samples = batch_for('vit', swapper)
    with pytest.raises(ConfigError, match=r'model\.host'):
        swapper.sample_losses(inputs['forget'], samples['forget'])
    with pytest.raises(ConfigError, match=r'model\.host'):
        swapper(inputs, samples, mode='loss')
    swapper.swapping_loss = SwappingLoss()
    swapper.check(swapper.schedule)
    swapper.swapping_loss = AllSamples()
    swapper.swapping_loss.check = lambda schedule: None
    with raises_config_error('model.loss.type', 'AllSamples', 'ImageClassifier', 'linear head'):
        swapper.check(swapper.schedule)


def two_steps(config):
    """One process has no object at all; every parameter must get a gradient all the same."""
    dist.init_process_group('gloo', init_method='env://')
    swapper = build('dino', loss=SAMPLE, accelerations=config.accelerations)
    model = torch.nn.parallel.DistributedDataParallel(swapper, find_unused_parameters=False)
    counts = (0, 0, 2, 1) if dist.get_rank() else (1, 2, 2, 1)
    for _ in range(2):  # the second step fails if a parameter had no gradient in the first
        inputs, samples = (
            dict(forget=part['forget']) for part in batch_for('dino', swapper, counts)
        )
        terms = model(inputs, samples, mode='loss')
        assert float(terms['loss_forget']) == 0 or not dist.get_rank()
        swapper.parse_losses(terms)[0].backward()
    mine = torch.cat([p.grad.flatten() for p in swapper.parameters() if p.grad is not None])
    theirs = [torch.zeros_like(mine) for _ in range(2)]
    dist.all_gather(theirs, mine)
    assert torch.equal(*theirs) and mine.isfinite().all()


@pytest.mark.distributed
def test_a_process_without_an_object_keeps_the_others_going(tmp_path):
    config = Config(dict(work_dir=str(tmp_path), accelerations=['BatchedDINOLosses']))
    codes = join(start(config, 2, two_steps))
    assert codes == [0, 0], '\n'.join(path.read_text() for path in tmp_path.glob('rank*.txt'))
