"""What the documentation promises: its files exist, its example trains."""

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from tests.helpers.swap_configs import pretrain_host

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').rglob('*.md'))]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r'\]\(([^)#]+)[^)]*\)', page.read_text())
    for link in links:
        assert link.startswith('https://') or (page.parent / link).exists(), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text()
    named = set(re.findall(r'\b(?:configs|tools|benchmarks|weights)/[\w./*-]+\.(?:py|sh)', text))
    for name in named:
        assert list(REPOSITORY.glob(name)), name


def test_make_targets_exist():
    makefile = (REPOSITORY / 'Makefile').read_text()
    text = (REPOSITORY / 'README.md').read_text()
    targets = set(re.findall(r'\bmake ([a-z]+)\b(?= | `|`|,|$)', text))
    assert targets
    for target in targets:
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target


def test_the_example_of_the_readme_trains(tmp_path, picture_tree, monkeypatch):
    """As it stands, but for a small host, small images, small batches, and one epoch a phase."""
    host = pretrain_host(picture_tree, tmp_path / 'my_vit.pth')
    text = (REPOSITORY / 'README.md').read_text()
    example = re.search(r'```python\n(# my_swap\.py\n.*?)```', text, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / 'configs' / '_base_', tmp_path / 'configs' / '_base_')
    (tmp_path / 'my_swap.py').write_text(example)
    for folder, classes in (('old', 'abcde'), ('new', 'xy')):
        for split in ('train', 'val'):
            for name in classes:
                shutil.copytree(
                    picture_tree / split / name, tmp_path / 'data' / folder / split / name
                )
    (tmp_path / 'data' / 'old' / 'classes.txt').write_text('\n'.join('abcde'))
    cfg = Config.fromfile(tmp_path / 'my_swap.py')
    tiny = dict(_delete_=True, embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
    changes = {
        'work_dir': str(tmp_path / 'run'),
        'load_from': str(host),
        'swap.classes.forget': ['b'],
        'swap.phase_settings.learn.epochs': 1,
        'swap.phase_settings.forget.epochs': 1,
        'model.host.backbone.arch': tiny,
        'model.host.backbone.img_size': 16,
        'model.host.backbone.patch_size': 8,
        'model.host.head.num_classes': 7,
        'model.host.head.in_channels': 32,
        'model.head.old_classes': 5,
        'train_dataloader.batch_size': 8,
    }
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        changes |= {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False}
        for role in ('learn', 'forget', 'retain'):
            changes[f'{loader}.dataset.roles.{role}.dataset.pipeline.1.scale'] = (16, 16)
    cfg.merge_from_dict(changes)
    RUNNERS.build(cfg).train()
    assert (tmp_path / 'run' / 'phase2_forget.pth').is_file()
    assert (tmp_path / 'run' / 'swap_results.json').is_file()
