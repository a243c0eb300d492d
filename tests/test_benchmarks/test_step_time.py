"""The benchmarks of a training step: all loops train the same thing, and the tables say so."""

import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_hosts import randomise

FOLDER = Path(__file__).parents[2] / 'benchmarks'
TASKS = ['classification', 'detection', 'segmentation']


def task_of(name, batch=2):
    module = importlib.import_module(f'training_steps.{name}')
    return getattr(module, name.capitalize())('cpu', batch, 'cpu')


def still(model):
    """Nothing drops."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize('name', TASKS)
def test_the_loops_compute_the_same(name):
    from training_steps.plain_loop import PlainLoop
    from training_steps.swapper_loop import SwapperLoop

    task = task_of(name)
    ours, plain = SwapperLoop(task, 'fp32', ()), PlainLoop(task, 'fp32')
    assert set(plain.host.state_dict()) == set(ours.model.host.state_dict())
    plain.host.load_state_dict(ours.model.host.state_dict())
    still(ours.model)
    still(plain.host)
    torch.manual_seed(1)  # noised queries and sampled points are drawn role by role on both sides
    data = ours.model.data_preprocessor(task.data(), True)
    terms = ours.model(data['inputs'], data['data_samples'], mode='loss')
    torch.manual_seed(1)
    forget, retain, sparsity = plain.losses()
    found = torch.stack([terms['forget/raw'], terms['retain/raw'], terms['sparsity']])
    torch.testing.assert_close(found, torch.stack([forget, retain, sparsity]).detach())
    before = [parameter.clone() for parameter in plain.parameters]
    plain.step()
    ours.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, plain.parameters, strict=True))
    trained = [p for p in ours.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in plain.parameters)


@pytest.fixture
def interpreted(monkeypatch):
    """Compiled code as torch traces it, without the minutes of a compiler."""
    settings = dict(backend='eager', fullgraph=True, dynamic=False)
    for owner in (torch, torch.nn.Module):
        compiled = owner.compile
        monkeypatch.setattr(
            owner, 'compile', lambda it, compiled=compiled, **kw: compiled(it, **settings)
        )
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('name', TASKS)
def test_peers_have_our_losses_and_gradients(name, interpreted):
    from training_steps.compiled_peers import MissingPeer, peer_loops, timm_key
    from training_steps.swapper_loop import SwapperLoop

    task = task_of(name)
    ours = SwapperLoop(task, 'fp32', ())
    randomise(ours.model.host)  # a head of zeros would pass no gradients on
    state = ours.model.host.state_dict()
    still(ours.model)
    torch.manual_seed(1)
    data = ours.model.data_preprocessor(task.data(), True)
    terms = ours.model(data['inputs'], data['data_samples'], mode='loss')
    ours.model.parse_losses(terms)[0].backward()
    wanted = {k: p.grad for k, p in ours.model.host.named_parameters() if p.requires_grad}
    for row, (kind, mode) in peer_loops(name, ['default']).items():
        try:
            peer = kind(task, 'fp32', mode)
        except MissingPeer as missing:
            assert row.startswith('timm') and 'pip install' in str(missing)
            continue
        key = timm_key if row.startswith('timm') else str
        peer.host.load_state_dict({key(k): value for k, value in state.items()})
        still(peer.host)
        torch.manual_seed(1)
        loss, forget, retain, sparsity = peer.total()
        for found, term in ((forget, 'forget/raw'), (retain, 'retain/raw'), (sparsity, 'sparsity')):
            torch.testing.assert_close(found.detach(), terms[term], msg=f'{row}: {term}')
        loss.backward()
        trained = {k: p.grad for k, p in peer.host.named_parameters() if p.requires_grad}
        assert set(trained) == {key(k) for k in wanted}
        for k, gradient in wanted.items():
            assert gradient.abs().max() > 0
            torch.testing.assert_close(trained[key(k)], gradient, rtol=1e-3, atol=1e-5, msg=k)
        before = [parameter.clone() for parameter in peer.parameters]
        peer.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, peer.parameters, strict=True))


def test_without_timm_its_row_is_left_out(monkeypatch):
    from training_steps.compiled_peers import MissingPeer, TimmLoop

    monkeypatch.setitem(sys.modules, 'timm', None)
    monkeypatch.setitem(sys.modules, 'timm.models.vision_transformer', None)
    with pytest.raises(MissingPeer, match='timm cannot be imported.*Fix: pip install'):
        TimmLoop(task_of('classification'), 'fp32')


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_prints_a_row_a_loop(precision, monkeypatch, capsys, tmp_path, interpreted):
    monkeypatch.setitem(sys.modules, 'timm', None)
    out = tmp_path / 'steps.json'
    arguments = ['classification', '--precision', precision, '--batch', '2', '--steps', '2']
    arguments += ['--warm-up', '0', '--alone', '--without', '--stretch', '2', '--out', str(out)]
    arguments += ['--accelerations', 'LeanLoRA', 'PackedAttention']
    monkeypatch.setattr(sys, 'argv', ['step_time.py', *arguments])
    runpy.run_path(str(FOLDER / 'step_time.py'), run_name='__main__')
    rows = json.loads(out.read_text())['rows']
    assert [row['loop'] for row in rows] == [
        'knowswap_mm',
        'no acceleration',
        'LeanLoRA alone',
        'PackedAttention alone',
        'all but LeanLoRA',
        'all but PackedAttention',
        'mmpretrain + peft, compiled',
        'plain, one forward',
        'plain, two forwards',
        'official structure',
    ]
    printed = capsys.readouterr().out
    assert 'The row "timm + peft, compiled" is left out: timm cannot be imported' in printed
    best = min((row for row in rows if row['by_hand']), key=lambda row: row['milliseconds'])
    said = f'{best["ratio"]:.2f} times as fast as the best loop by hand, "{best["loop"]}"'
    assert printed.index(f'{precision}: {said}') < printed.index('| loop |')
    for row in rows:
        assert f'| {row["loop"]} | {precision} | {row["compile"]} | 0.1 |' in printed
        assert row['milliseconds'] > 0 and row['share'] > 0
        assert row['ratio'] == pytest.approx(row['milliseconds'] / rows[0]['milliseconds'])
    with pytest.raises(SystemExit):
        monkeypatch.setattr(sys, 'argv', ['step_time.py', 'nothing'])
        runpy.run_path(str(FOLDER / 'step_time.py'), run_name='__main__')


def test_scale(monkeypatch, capsys, tmp_path):
    out = tmp_path / 'scale.json'
    arguments = ['classification', '--steps', '2', '--ranks', '4', '8', '--batches', '0.02']
    arguments += ['--vary', 'rank', 'batch', 'roles', '--bandwidth', '10', '--latency', '5']
    monkeypatch.setattr(sys, 'argv', ['scale.py', *arguments, '--out', str(out)])
    runpy.run_path(str(FOLDER / 'scale.py'), run_name='__main__')
    rows = {row['name']: row for row in json.loads(out.read_text())['rows']}
    assert 2 * rows['rank 4']['trained'] == rows['rank 8']['trained']
    assert rows['learn + forget + retain']['pictures'] == 240 and rows['1 images a role']
    row = rows['rank 8']
    megabytes = 4e-6 * row['trained']
    assert row['megabytes'] == megabytes
    eight = row['milliseconds'] + 2 * 7 / 8 * megabytes / 10 + 2 * 7 * 5e-3
    assert row['estimate']['8'] == pytest.approx(row['milliseconds'] / eight)
    assert row['estimate']['1'] == 1.0
    assert '| rank 8 |' in capsys.readouterr().out


def test_large_hosts_need_the_large_preset(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['scale.py', 'detection', '--vary', 'arch'])
    with pytest.raises(SystemExit, match='--preset gpu'):
        runpy.run_path(str(FOLDER / 'scale.py'), run_name='__main__')


OWN = dict(classification='ViT-B', detection='Swin-large', segmentation='Swin-base')


@pytest.mark.parametrize('name', TASKS)
def test_architectures(name):
    """What the preset has is one of them, and all others fit the parts behind the backbone."""
    from mmengine.config import Config
    from training_steps.step_task import ROOT

    kind = getattr(__import__(f'training_steps.{name}', fromlist=['x']), name.capitalize())
    found = runpy.run_path(str(FOLDER / 'scale.py'))['architectures'](name)
    plain = Config.fromfile(ROOT / 'configs' / kind.sizes['gpu'].config)
    own = plain.copy()
    own.merge_from_dict(found[OWN[name]])
    if name == 'classification':  # two names of one thing
        assert plain.model.host.backbone.arch == 'b'
        own.model.host.backbone.arch = 'b'
    assert own.model.to_dict() == plain.model.to_dict()
    keys = {frozenset(options) for options in found.values()}
    assert len(found) == 3 and len(keys) == 1


def test_training_curves(monkeypatch, capsys, tmp_path):
    out = tmp_path / 'curves.json'
    arguments = ['detection', '--steps', '2', '--alone', '--accelerations', 'BatchedDINOLosses']
    monkeypatch.setattr(sys, 'argv', ['training_curves.py', *arguments, '--out', str(out)])
    runpy.run_path(str(FOLDER / 'training_curves.py'), run_name='__main__')
    curves = json.loads(out.read_text())['curves']
    plain = curves['no acceleration']
    assert curves['no acceleration, again'] == plain and len(set(plain)) == 2
    assert curves['all of them'] == pytest.approx(plain, rel=1e-5)
    assert '| BatchedDINOLosses alone |' in capsys.readouterr().out
