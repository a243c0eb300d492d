"""``knowswap convert auto``: the kind of a file, and what becomes of its positions."""

import copy

import pytest
import torch
from mmengine.config import Config

from knowswap_mm.cli.main import main
from knowswap_mm.io.checkpoints import safe_load
from tests.test_converters.test_official_vit import PATCH, SIZE, host_config, official


@pytest.fixture
def file(tmp_path):
    torch.save(official(lora=False), tmp_path / 'vit.bin')
    return tmp_path / 'vit.bin'


def convert(*words):
    main(['convert', *map(str, words)])


def test_the_file_is_that_of_the_named_kind(file, tmp_path, capsys):
    convert('auto', file, '--out', tmp_path / 'auto.pth', '--report', tmp_path / 'report.json')
    told = capsys.readouterr().out
    side = SIZE // PATCH
    assert 'tensors of official-vit' in told
    assert f'position embeddings: {side} x {side} patches' in told
    convert('official-vit', file, '--out', tmp_path / 'named.pth')
    found, wanted = (safe_load(tmp_path / f'{n}.pth')['state_dict'] for n in ('auto', 'named'))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize('times', [1, 2])
def test_positions_that_are_resized_are_told(times, file, tmp_path, capsys):
    host = copy.deepcopy(host_config())
    host['backbone']['img_size'] = times * SIZE
    model = dict(type='knowswap_mm.KnowledgeSwapper', host=host, lora=dict(rank=2))
    imports = dict(imports=['knowswap_mm', 'mmpretrain.models'], allow_failed_imports=False)
    config = Config(dict(default_scope='mmpretrain', custom_imports=imports, model=model))
    config.dump(tmp_path / 'config.py')
    convert('auto', file, '--out', tmp_path / 'a.pth', '--config', tmp_path / 'config.py')
    side = SIZE // PATCH
    line = f'{side} x {side} patches, which the host of the config resizes to {2 * side} x'
    assert (line in capsys.readouterr().out) == (times == 2)


def test_there_is_no_way_back_to_a_kind_that_is_not_named(file, tmp_path):
    with pytest.raises(SystemExit, match='do not tell the kind. Fix: one of beit'):
        convert('auto', file, '--out', tmp_path / 'b.bin', '--back')


def test_other_files_are_refused_with_a_list(tmp_path):
    torch.save({'conv1.weight': torch.zeros(2)}, tmp_path / 'resnet.pth')
    with pytest.raises(SystemExit, match='not known by its 1 keys.*Fix:.*timm-vit'):
        convert('auto', tmp_path / 'resnet.pth', '--out', tmp_path / 'out.pth')
