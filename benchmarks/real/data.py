"""The images and weights that the configs read, from a folder laid out as its publishers do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from knowswap_mm.workflows.processes import call
from real.plan import HOSTS, ROOT, SWAPS

HERE = Path('data/real')
#: The task, the layout and the source of each folder in ``data/real``: docs/real.md.
TREES = {
    'grocery/old': ('classification', 'class-folders', 'grocery/old'),
    'grocery/new': ('classification', 'class-folders', 'grocery/new'),
    'camvid': ('segmentation', 'camvid', 'camvid'),
    'camvid_old': ('segmentation', 'camvid', 'camvid'),
    'cards': ('detection', 'voc', 'cards'),
    'bccd': ('detection', 'voc', 'bccd'),
}
WEIGHTS = HERE / 'dinov2_small.pth'


def prepare(source: Path, log: Path) -> None:
    """Convert what is not there yet into ``data/real`` of the current folder."""
    old = Config.fromfile(ROOT / 'configs/real/_base_/camvid_pretrain.py').old_classes
    for name, (task, layout, folder) in TREES.items():
        if (source / folder).is_dir() and not (HERE / name).is_dir():
            options = ['--classes', *old] if name == 'camvid_old' else []
            call(log, 'data', task, layout, '--source', source / folder,
                 '--out', HERE / name, *options)  # fmt: skip
    parts = sorted(source.glob('dinov2_small*.safetensors'))
    if parts and not WEIGHTS.is_file():
        call(log, 'convert', 'huggingface-dinov2', *parts, '--out', WEIGHTS)


def missing(swaps: Iterable[str], hosts: Iterable[str]) -> list[str]:
    """What the configs of swaps, and of hosts that are to be trained, read and is not there."""
    paths = [SWAPS[name].path for name in swaps] + [HOSTS[name].path for name in hosts]
    read = (wanted(Config.fromfile(path)) for path in paths)
    return sorted(name for name in set().union(*read) if not Path(name).exists())


def wanted(config: Config) -> set[str]:
    """The folders and weights that a config reads."""
    cfg = config.to_dict()
    found = {each['data_root'] for each in _dicts(_loaders(cfg)) if 'data_root' in each}
    if str(cfg.get('load_from')).startswith('weights/'):
        found.add(cfg['load_from'])
    if start := cfg['model'].get('backbone', {}).get('init_cfg'):
        found.add(start['checkpoint'])
    return found


def fit_endings(cfg: Config) -> None:
    """Let scenes end in .jpg where the folder has none of the publisher's ending, but such ones."""
    for each in _dicts(_loaders(cfg)):
        if each.get('type') == 'BaseSegDataset' and 'img_suffix' in each:
            folder = Path(each['data_root'], each['data_prefix']['img_path'])
            if not any(folder.glob(f'*{each["img_suffix"]}')) and any(folder.glob('*.jpg')):
                each['img_suffix'] = '.jpg'


def _loaders(cfg: Config | dict) -> list[dict]:
    return [cfg[f'{name}_dataloader'] for name in ('train', 'val', 'test')]


def _dicts(value: Any) -> list[dict]:
    """All dicts in a config."""
    if isinstance(value, dict):
        return [value, *(each for inner in value.values() for each in _dicts(inner))]
    if isinstance(value, (list, tuple)):
        return [each for inner in value for each in _dicts(inner)]
    return []
