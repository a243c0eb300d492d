"""The official classifier, written down from its formulas, and the host give the same answers."""

import json
from argparse import Namespace
from pathlib import Path

import mmpretrain.models  # noqa: F401  registers the hosts
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS

from knowswap_mm.cli.main import main
from knowswap_mm.converters import TABLES
from knowswap_mm.converters.lora import merge_lora, split_lora
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from tests.helpers.forked import run_script
from tests.helpers.official_layouts import modules

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / 'tools' / 'model_converters' / 'convert_checkpoint.py'
DIMS, HEADS, HIDDEN, LAYERS, PATCH, SIZE, CLASSES, RANK = 32, 4, 48, 2, 8, 16, 5, 2


def official(lora=True):
    """A state dict in the official layout, all numbers at random."""
    layout = modules.vit(DIMS, LAYERS, HIDDEN, PATCH, SIZE, CLASSES, RANK if lora else 0)
    return layout.random(dtype=torch.float32)


def forward(state, pictures, alpha=1.0):
    """Logits by the formulas: pre-norm blocks, exact GELU, the class token's normed output."""

    def linear(name, x):
        y = x @ state[f'{name}.weight'].T + state[f'{name}.bias']
        if f'{name}.lora_A' in state:
            y = y + alpha / RANK * x @ state[f'{name}.lora_A'].T @ state[f'{name}.lora_B'].T
        return y

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f'{name}.weight'] + state[f'{name}.bias']

    embeddings = 'transformer.embeddings'
    patches = F.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2)
    kernel = state[f'{embeddings}.patch_embeddings.weight'].flatten(1)
    tokens = patches @ kernel.T + state[f'{embeddings}.patch_embeddings.bias']
    cls = state[f'{embeddings}.cls_token'].expand(len(pictures), -1, -1)
    x = torch.cat([cls, tokens], dim=1) + state[f'{embeddings}.position_embeddings']
    for layer in range(LAYERS):
        prefix = f'transformer.encoder.layer.{layer}'
        y = norm(f'{prefix}.attention_norm', x)
        q, k, v = (
            linear(f'{prefix}.attn.{name}', y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for name in ('query', 'key', 'value')
        )
        weights = (q @ k.transpose(-1, -2) / (DIMS // HEADS) ** 0.5).softmax(dim=-1)
        x = x + linear(f'{prefix}.attn.out', (weights @ v).transpose(1, 2).flatten(2))
        y = linear(f'{prefix}.ffn.fc1', norm(f'{prefix}.ffn_norm', x))
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        x = x + linear(f'{prefix}.ffn.fc2', y)
    return linear('head', norm('transformer.encoder.encoder_norm', x)[:, 0])


def host_config(classes=CLASSES):
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        backbone=dict(
            type='mmpretrain.VisionTransformer',
            arch=dict(
                embed_dims=DIMS, num_layers=LAYERS, num_heads=HEADS, feedforward_channels=HIDDEN
            ),
            img_size=SIZE,
            patch_size=PATCH,
        ),
        neck=None,
        head=dict(
            type='mmpretrain.VisionTransformerClsHead',
            num_classes=classes,
            in_channels=DIMS,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )


def answers(model, pictures):
    with torch.no_grad():
        return model.eval()(pictures)


@pytest.fixture
def pictures():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('lora', [False, True])
def test_host_answers_as_the_formulas(pictures, lora):
    state = official(lora)
    conversion = TABLES['official-vit'].convert(state)
    base, matrices = split_lora(conversion.state)
    assert len(matrices) == (2 * LAYERS if lora else 0)
    host = MODELS.build(host_config())
    conversion.state = merge_lora(base, matrices, alpha=1.0)
    host.load_state_dict(conversion.state, strict=True)
    found = answers(host, pictures)
    torch.testing.assert_close(found, forward(state, pictures), rtol=1e-5, atol=1e-5)


def test_there_and_back_is_the_identity():
    table, state = TABLES['official-vit'], official()
    back = table.revert(table.convert(state).state)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.slow
def test_tool_merges_or_writes_an_adapter(tmp_path, pictures):
    state = official()
    torch.save(state, tmp_path / 'official.bin')
    arguments = ['official-vit', tmp_path / 'official.bin', '--out', tmp_path / 'merged.pth']
    done = run_script(TOOL, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'LoRA of {2 * LAYERS} linear layers: merged (alpha 1)' in done.stdout
    host = MODELS.build(host_config())
    host.load_state_dict(state_dict_of(safe_load(tmp_path / 'merged.pth')))
    wanted = forward(state, pictures)
    torch.testing.assert_close(answers(host, pictures), wanted, rtol=1e-5, atol=1e-5)

    model = dict(
        type='knowswap_mm.KnowledgeSwapper', host=host_config(), lora=dict(rank=RANK, alpha=1)
    )
    imports = dict(imports=['knowswap_mm', 'mmpretrain.models'], allow_failed_imports=False)
    config = Config(dict(default_scope='mmpretrain', custom_imports=imports, model=model))
    config.dump(tmp_path / 'config.py')
    arguments = ['official-vit', tmp_path / 'official.bin', '--out', tmp_path / 'base.pth']
    arguments += ['--config', tmp_path / 'config.py', '--adapter', tmp_path / 'adapter']
    main(['convert', *map(str, arguments), '--report', str(tmp_path / 'report.json')])
    assert len(json.loads((tmp_path / 'report.json').read_text())['lora']) == 2 * LAYERS
    from knowswap_mm.lora.adapter import AdapterFile

    swapper = MODELS.build(model)
    swapper.load_state_dict(state_dict_of(safe_load(tmp_path / 'base.pth')))
    AdapterFile(tmp_path / 'adapter').load(swapper)
    torch.testing.assert_close(answers(swapper, pictures), wanted, rtol=1e-5, atol=1e-5)


def test_command_goes_back_and_says_what_is_wrong(tmp_path):
    state = official(lora=False)
    # As DINO's code writes files: with the options of the run.
    torch.save(dict(model=state, args=Namespace(lr=1e-4)), tmp_path / 'official.pth')

    def convert(kind, source, out, *options):
        main(['convert', kind, str(tmp_path / source), '--out', str(tmp_path / out), *options])

    convert('official-vit', 'official.pth', 'h.pth')
    convert('official-vit', 'h.pth', 'b.bin', '--back')
    back = torch.load(tmp_path / 'b.bin', weights_only=True)
    assert back.keys() == state.keys() and all(torch.equal(back[k], state[k]) for k in back)
    with pytest.raises(SystemExit, match='none of this kind of checkpoint'):
        convert('official-dino', 'official.pth', 'no.pth')
    assert not (tmp_path / 'no.pth').exists()
