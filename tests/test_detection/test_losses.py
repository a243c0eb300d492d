"""The swapper on a detector: whole host losses, shared features, gradients, new class rows."""

import copy

import mmdet.models  # noqa: F401  registers the hosts
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.detection_configs import NEW, OLD, SIZE, host_config, swapper_config

PHASES = [
    dict(kind='learn', iters=5, weights=dict(learn=0.9, retain=1.0, sparsity=0.01)),
    dict(kind='forget', iters=5, weights=dict(retain=1.0, forget=0.2, sparsity=0.01), bound=90.0),
]
ROLES = [('learn', 'retain'), ('forget', 'retain')]


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build(checkpoint=None, moved=True, **settings):
    """A swapper with its schedule; `moved` gives lora_B random values, so that adapters act."""
    torch.manual_seed(1)
    swapper = MODELS.build(swapper_config(**settings))
    sizes = dict(learn=8, forget=8, retain=8)
    swapper.schedule = SwapSchedule.from_config(dict(phases=PHASES), sizes, 4)
    if checkpoint is not None:
        swapper.load_state_dict(state_dict_of(safe_load(checkpoint)))
    if moved:
        for name, parameter in swapper.adapters.items():
            if 'lora_B' in name:
                torch.nn.init.normal_(parameter, std=0.05)
    return swapper.train()


def batch(phase, sizes=((SIZE, SIZE),) * 4):
    """Two images of each role as the data loader gives them: a list of uint8 images."""
    generator = torch.Generator().manual_seed(phase)
    pictures, samples = [], []
    for number, (height, width) in enumerate(sizes):
        role = ROLES[phase][number // 2]
        shape = (3, height, width)
        pictures.append(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))
        sample = DetDataSample(metainfo=dict(role=role, phase=phase, sample_index=number))
        sample.set_metainfo(dict(img_shape=(height, width), ori_shape=(height, width)))
        label = len(OLD) if role == 'learn' else number
        boxes = torch.tensor([[5.0, 8, 30, 40], [20, 22, 50, 60]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([label, label]))
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.zeros(0).long())
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)


def step(swapper, data, seed=0):
    """Terms and gradients of one step; the same noise for denoising each time."""
    data = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    torch.manual_seed(seed)
    terms = swapper(**data, mode='loss')
    total, _ = swapper.parse_losses(terms)
    swapper.zero_grad()
    total.backward()
    gradients = {n: p.grad for n, p in swapper.named_parameters() if p.requires_grad}
    return terms, total, gradients


@pytest.mark.parametrize('phase', [0, 1])
def test_terms_are_the_whole_host_losses(phase):
    swapper = build()
    data = batch(phase)
    terms, total, _ = step(swapper, data)
    ready = swapper.data_preprocessor(copy.deepcopy(data), training=True)
    torch.manual_seed(0)
    by_hand = {}
    for role in ROLES[phase]:
        losses = swapper.host.loss(ready['inputs'][role], ready['data_samples'][role])
        # 2 decoder layers and their denoising, and the encoder: 5 sets of 3 terms.
        assert len(losses) == 15 and all('loss' in name for name in losses)
        by_hand[role] = sum(value.sum() for value in losses.values())
        torch.testing.assert_close(terms[f'{role}/raw'], by_hand[role].detach(), rtol=1e-5, atol=0)
    first = by_hand[ROLES[phase][0]]
    weighted = 0.9 * first if phase == 0 else 0.2 * (90.0 - first).clamp(min=0)
    norms = {}
    for name, matrix in swapper.adapters.items():
        block = name.split('.ffn.')[0]
        norms[block] = norms.get(block, 0) + matrix.square().sum()
    sparsity = sum(value.sqrt() for value in norms.values())
    wanted = weighted + by_hand['retain'] + 0.01 * sparsity
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('phase', [0, 1])
def test_fused_equals_separate(phase):
    found = [step(build(fuse=fuse), batch(phase)) for fuse in ('always', 'never')]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)
    for name, gradient in found[0][2].items():
        torch.testing.assert_close(gradient, found[1][2][name], rtol=1e-3, atol=1e-4, msg=name)


def test_different_sizes_are_padded_to_one_and_extracted_once():
    swapper = build()
    passes = []
    swapper.host.backbone.register_forward_pre_hook(lambda _, given: passes.append(given[0].shape))
    sizes = ((64, 64), (48, 64), (64, 80), (56, 40))
    _, total, _ = step(swapper, batch(0, sizes))
    assert passes == [(4, 3, 64, 80)] and torch.isfinite(total)


@pytest.mark.parametrize('checkpointing', [False, True])
def test_every_adapter_learns_from_the_second_step_on(checkpointing):
    """The official code checkpoints such that the backbone's adapters get no gradient."""
    swapper = build(moved=False, backbone__with_cp=checkpointing)
    for phase in swapper.schedule.phases:
        phase.weights['sparsity'] = 0.0  # the task's gradient alone
    optimizer = torch.optim.AdamW(swapper.adapters.values(), lr=1e-2)
    for number in range(2):
        step(swapper, batch(0))
        for name, parameter in swapper.adapters.items():
            zero = torch.count_nonzero(parameter.grad) == 0
            assert zero == (number == 0 and 'lora_A' in name), name
        optimizer.step()


def test_checkpointing_changes_nothing():
    found = [step(build(backbone__with_cp=value), batch(1)) for value in (False, True)]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=1e-6)
    for name, gradient in found[0][2].items():
        torch.testing.assert_close(gradient, found[1][2][name], rtol=1e-4, atol=1e-5, msg=name)


def test_losses_leave_bfloat16():
    swapper = build()
    seen = {}
    swapper.host.backbone.register_forward_hook(
        lambda _, __, outputs: seen.update(backbone=outputs[0].dtype)
    )
    swapper.host.encoder.register_forward_hook(
        lambda _, __, outputs: seen.update(encoder=outputs.dtype)
    )
    with torch.autocast('cpu', dtype=torch.bfloat16):
        _, total, gradients = step(swapper, batch(1))
    assert seen == dict(backbone=torch.bfloat16, encoder=torch.float32)
    _, exact, _ = step(swapper, batch(1))
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.05, atol=0)
    assert all(torch.isfinite(g).all() for g in gradients.values())


def test_a_plain_checkpoint_fills_the_old_rows_of_every_class_tensor(host):
    swapper = build(host, moved=False)
    stored, now = state_dict_of(safe_load(host)), swapper.host.state_dict()
    names = {tensor.name for tensor in swapper.class_rows.tensors}
    branches = {f'bbox_head.cls_branches.{i}.{n}' for i in range(3) for n in ('weight', 'bias')}
    assert names == branches | {'dn_query_generator.label_embedding.weight'}
    for name in names:
        assert torch.equal(now[name][: len(OLD)], stored[name])
        assert len(now[name]) == len(OLD) + len(NEW)
        if name.endswith('bias'):  # the prior probability 0.01 of a class
            assert torch.allclose(now[name][len(OLD) :].sigmoid(), torch.tensor(0.01), atol=1e-4)
    trained = {n for n, p in swapper.named_parameters() if p.requires_grad and 'lora_' not in n}
    assert len(trained) == len(names), 'the new rows of each train'


def test_the_swapper_predicts_what_the_host_predicts(host):
    swapper = build(host, moved=False).eval()
    plain = MODELS.build(host_config(len(OLD))).eval()
    plain.load_state_dict(state_dict_of(safe_load(host)))
    data = batch(1)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    with torch.no_grad():
        ready = plain.data_preprocessor(copy.deepcopy(data), training=False)
        memory = [
            model.forward_transformer(model.extract_feat(ready['inputs']), ready['data_samples'])
            for model in (plain, swapper.host)
        ]
        found = swapper.test_step(copy.deepcopy(data))
    # New rows may change which proposals become queries; the encoder's scores of old ones do not.
    assert memory[0]['hidden_states'].shape == memory[1]['hidden_states'].shape
    assert all(len(sample.pred_instances) for sample in found)


def test_another_detector_works_by_config():
    """Deformable DETR, with Swin."""
    host = host_config(len(OLD) + len(NEW))
    host.update(type='DeformableDETR', as_two_stage=False)
    host.pop('dn_cfg')
    host['bbox_head'] = dict(
        type='DeformableDETRHead',
        num_classes=len(OLD) + len(NEW),
        embed_dims=32,
        loss_cls=host['bbox_head']['loss_cls'],
        loss_bbox=host['bbox_head']['loss_bbox'],
        loss_iou=host['bbox_head']['loss_iou'],
    )
    swapper = build(host=host)
    for phase in (0, 1):
        terms, total, gradients = step(swapper, batch(phase))
        assert torch.isfinite(total) and f'{ROLES[phase][0]}/raw' in terms
        for name in swapper.adapters:
            assert torch.count_nonzero(gradients[f'host.{name}']), name
