"""Weights that already contain the LoRA matrices beside them are told apart from those before."""

import re
import sys

import pytest
import torch

from knowswap_mm.cli.commands import convert
from knowswap_mm.converters import TABLES
from knowswap_mm.converters.lora import (
    compare_with_base,
    estimate_contained,
    merge_lora,
    split_lora,
)
from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.checkpoints import safe_load
from tests.helpers.official_layouts import modules

RANK = 4


def weights(size=0.05, seed=0):
    """Linear layers of a spectrum as trained ones have it, and matrices that change them a little.

    Half of the matrices follow the largest singular directions of their weight.
    """
    generator, state = torch.Generator().manual_seed(seed), {}
    for number in range(6):
        outputs, inputs = ((96, 32), (32, 96))[number % 2]
        noise = torch.randn(outputs, inputs, generator=generator)
        u, _, v = torch.linalg.svd(noise, full_matrices=False)
        weight = u @ torch.diag(torch.arange(1.0, 33.0) ** -0.7) @ v
        a = torch.randn(RANK, inputs, generator=generator)
        if number >= 3:
            a = 0.5 * a + 5 * v[:RANK]
        b = torch.randn(outputs, RANK, generator=generator)
        b = b * size * weight.norm() / (b @ a / RANK).norm()
        state |= {f'{number}.weight': weight, f'{number}.lora_A': a, f'{number}.lora_B': b}
    return split_lora(state)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('size', [0.05, 0.3])
def test_the_estimate(size, seed):
    base, matrices = weights(size, seed)
    for times, wanted in ((0, False), (1, True), (2, True)):
        state = dict(base)
        for _ in range(times):
            state = merge_lora(state, matrices, 1.0)
        found = estimate_contained(state, matrices, 1.0)
        assert found.merged is wanted and abs(found.share - times) < 0.3
        assert abs(found.share - times) < 6 * found.error + 0.05 * times


def test_what_cannot_be_told_is_not_guessed():
    base, matrices = weights(1e-4)
    assert estimate_contained(base, matrices, 1.0).merged is None
    nothing = {name: (a, 0 * b) for name, (a, b) in matrices.items()}
    assert estimate_contained(base, nothing, 1.0) is None
    assert compare_with_base(base, nothing, 1.0, base) is None


def test_a_base_tells_exactly():
    base, matrices = weights(1e-4)
    merged = merge_lora(base, matrices, 1.0)
    assert compare_with_base(merged, matrices, 1.0, base).merged is True
    assert compare_with_base(base, matrices, 1.0, base).merged is False
    with pytest.raises(CheckpointError, match='--alpha 1,'):
        compare_with_base(merged, matrices, 16.0, base)
    with pytest.raises(CheckpointError, match='by more than LoRA'):
        compare_with_base(merged, matrices, 1.0, weights(seed=5)[0])
    with pytest.raises(CheckpointError, match=r'The base has no 0\.weight'):
        compare_with_base(merged, matrices, 1.0, {})


SIZES = dict(size=32, layers=4, hidden=96, patch=8, side=16, classes=5)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Official files: before LoRA, apart, and as loralib saves it in evaluation mode."""
    folder = tmp_path_factory.mktemp('official')
    apart = modules.vit(**SIZES, rank=RANK).random(dtype=torch.float32)
    for key in apart:
        apart[key] = apart[key] * (0.2 if key.endswith('lora_B') else 1)
    before = {key: value for key, value in apart.items() if '.lora_' not in key}
    contents = dict(before=before, apart=apart, merged=apart | modules.merged(apart, RANK))
    for name, content in contents.items():
        torch.save(content, folder / f'{name}.bin')
    return folder


def call(monkeypatch, capsys, files, name, *options):
    """What is written, and said on both streams."""
    out = files / 'out.pth'
    out.unlink(missing_ok=True)
    argv = ['convert', 'official-vit', files / f'{name}.bin', '--out', out, *options]
    monkeypatch.setattr(sys, 'argv', [str(word).format(files=files) for word in argv])
    try:
        convert.main()
    except SystemExit as stop:
        assert not out.exists() and stop.code != 0
        return None, f'{stop.code}'
    streams = capsys.readouterr()
    return safe_load(out)['state_dict'], streams.out + streams.err


BASE = ('--base', '{files}/before.bin')


@pytest.mark.parametrize(
    ('name', 'options', 'said'),
    [
        ('apart', (), 'merged (alpha 1)\n'),
        ('apart', BASE, 'merged (alpha 1)\n'),
        ('apart', ('--no-merged',), 'merged (alpha 1)\n'),
        ('merged', ('--merged',), 'merged (alpha 1), already in the file\n'),
        ('merged', BASE, 'merged (alpha 1), already in the file\n'),
        ('merged', ('--merged', *BASE), 'merged (alpha 1), already in the file\n'),
    ],
)
def test_lora_is_added_once(name, options, said, files, monkeypatch, capsys):
    found, text = call(monkeypatch, capsys, files, name, *options)
    wanted = TABLES['official-vit'].convert(modules.merged(torch.load(files / 'apart.bin'), RANK))
    assert found.keys() == wanted.state.keys()
    for key, value in wanted.state.items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    assert said in text and 'warning' not in text


@pytest.mark.parametrize(
    ('name', 'options', 'said'),
    [
        ('merged', (), r'(0\.9|1\.0)\d times .* it would be added twice. Fix: --merged'),
        ('merged', ('--no-merged', *BASE), 'By --base, the weights are merged with LoRA'),
        ('apart', ('--merged', *BASE), 'By --base, the weights are those before LoRA'),
        ('merged', ('--alpha', '4', *BASE), r'contain 0\.25 times .* give --alpha 1,'),
        ('before', ('--merged',), 'holds no LoRA matrices. Fix: leave --merged out'),
        ('before', BASE, 'holds no LoRA matrices. Fix: leave --base out'),
        ('before', ('--back', '--no-merged'), '--merged has no meaning with --back'),
    ],
)
def test_what_contradicts_is_refused(name, options, said, files, monkeypatch, capsys):
    found, text = call(monkeypatch, capsys, files, name, *options)
    assert found is None
    assert re.search(said, text), text


@pytest.mark.parametrize(('name', 'option'), [('merged', '--no-merged'), ('apart', '--merged')])
def test_who_knows_better_is_warned(name, option, files, monkeypatch, capsys):
    found, text = call(monkeypatch, capsys, files, name, option)
    assert found and 'warning:' in text and 'but they are taken as' in text
