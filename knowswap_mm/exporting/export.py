"""The work of ``knowswap export``."""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, DefaultScope

import knowswap_mm
from knowswap_mm.console import import_quietly
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.classes import read_class_names
from knowswap_mm.engine.config import open_swap
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.exporting.card import CARD_FILE, ModelCard, check_license, read_results
from knowswap_mm.exporting.check import ExportCheck
from knowswap_mm.exporting.files import host_config, write_config
from knowswap_mm.exporting.host import ExportedHost
from knowswap_mm.exporting.role_tests import spread_samples, write_role_tests
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.io.files import (
    write_atomic,
    write_folder,
    write_json,
    write_safetensors,
    write_text,
)
from knowswap_mm.models.foreign_code import no_foreign_code
from knowswap_mm.models.host_state import prepare_state
from knowswap_mm.models.loading import load_weights
from knowswap_mm.roles import FORGET, LEARN
from knowswap_mm.runs.results import SwapResults


@contextmanager
def new_folder(out: Path, key: str) -> Iterator[Path]:
    """Give a folder beside ``out`` to write to, which becomes ``out`` at the end of the block.

    Raises:
        ConfigError: If ``out`` exists; it names the option ``key``.
    """
    refuse_existing(out, key)
    with write_folder(out, replace=False) as folder:
        yield folder
        refuse_existing(out, key)


def refuse_existing(out: Path, key: str) -> None:
    """Raise if a folder is there already.

    Raises:
        ConfigError: Names the option.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(key, str(out), 'is there already', 'give a new folder')


def export(args: argparse.Namespace) -> dict[str, Any]:
    """Export and return what was written into export.json."""
    if args.check < 0:
        raise ConfigError('--check', args.check, 'no number of images', 'e.g. 8, or 0')
    check_license(args.license)
    refuse_existing(args.out, '--out')
    cfg = open_swap(args.config)
    import_quietly(cfg.get('default_scope'))
    for name in cfg.get('custom_imports', {}).get('imports', []):
        __import__(name)
    MMLogger.get_instance('export', log_level='ERROR')
    checkpoint = safe_load(args.checkpoint, key='checkpoint')
    names = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    if not names:
        fix = 'give the .pth of a phase, as a swap writes it'
        raise ConfigError('checkpoint', str(args.checkpoint), 'does not name its classes', fix)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if cfg.get('data_preprocessor'):  # as the runner does
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        if cfg.model.get('data_preprocessor'):  # as the swapper does
            cfg.model.host.setdefault('data_preprocessor', cfg.model.data_preprocessor)
        swapper = MODELS.build(copy.deepcopy(cfg.model))
        load_weights(swapper, state_dict_of(checkpoint), args.checkpoint)
        data = read_test_data(args, cfg, names)
        check = None
        if args.check:
            tensors = [tensor.name for tensor in swapper.class_rows.tensors]
            check = ExportCheck(swapper.host, spread_samples(data, args.check), tensors)
        keys = cfg.model.get('head', {}).get('count_keys', ('num_classes',))
        exported = ExportedHost(swapper, cfg.model.host, names, keys)
        if check:
            precision, dtype = ('float16', torch.half) if args.half else ('float32', torch.float)
            check.compare(build(exported.config, exported.state_dict(dtype)))
            check.refuse_deviations(precision)
        if args.drop:
            exported.drop(names_to_drop(args, cfg))
        with new_folder(args.out, '--out') as folder:
            card = model_card(args, cfg, names, exported, read_results(checkpoint, args.checkpoint))
            write_text(folder / CARD_FILE, card.text())
            return write(folder, args, cfg, exported, data, check)


def read_test_data(args: argparse.Namespace, cfg: Config, names: list[str]) -> RoleDataset | None:
    """Read the test data, if they are needed."""
    if not args.check and not args.test_data:
        return None
    try:
        dataset = copy.deepcopy(cfg.test_dataloader.dataset)
        data = DATASETS.build(dict(dataset, classes=copy.deepcopy(cfg.swap.classes)))
    except Exception as error:  # any data set may raise anything
        key, value = ('--test-data', True) if args.test_data else ('--check', args.check)
        fix = 'put the data where test_dataloader of the config says, or leave them out: --check 0'
        fix += ' and no --test-data'
        raise ConfigError(key, value, f'the test data cannot be read ({error})', fix) from error
    if list(names) != list(data.classes.names):
        fix = 'give the config of the run, or export without the test data: --check 0'
        raise ConfigError('swap.classes', data.classes.names, f'the checkpoint has {names}', fix)
    return data


def names_to_drop(args: argparse.Namespace, cfg: Config) -> list[str]:
    """The classes that --drop means."""
    if args.drop != ['forgotten']:
        return args.drop
    names = read_class_names('swap.classes.forget', cfg.swap.classes.get('forget') or None)
    if not names:
        fix = 'name the classes after --drop'
        raise ConfigError('swap.classes.forget', None, 'names no class', fix)
    return names


def model_card(
    args: argparse.Namespace,
    cfg: Config,
    names: list[str],
    exported: ExportedHost,
    measured: tuple[SwapResults, str] | None,
) -> ModelCard:
    """The card of an export; ``names`` are the classes of the checkpoint."""
    given = {
        role: read_class_names(f'swap.classes.{role}', cfg.swap.classes.get(role) or None) or []
        for role in (LEARN, FORGET)
    }
    changed = {name for own in given.values() for name in own}
    classes = dict(given, retain=[name for name in names if name not in changed])
    dropped = [name for label, name in enumerate(names) if label not in exported.label_map]
    base = str(cfg.get('load_from') or '')
    return ModelCard(
        args.out.name, cfg.default_scope, base, args.license, classes, dropped, measured
    )


def build(config: dict[str, Any], state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Build a plain host and load it strictly."""
    with no_foreign_code('model.host', config):
        plain = MODELS.build(ConfigDict(copy.deepcopy(config)))  # hosts may write into it
    prepare_state(plain)
    load_weights(plain, state, 'The merged host')
    return plain


def write(
    folder: Path,
    args: argparse.Namespace,
    cfg: Config,
    exported: ExportedHost,
    data: RoleDataset | None,
    check: ExportCheck | None,
) -> dict[str, Any]:
    """Write everything into a folder."""
    state = exported.state_dict(torch.half if args.half else torch.float)
    meta = dict(dataset_meta=dict(classes=tuple(exported.classes)))
    write_atomic(
        folder / 'model.pth', lambda file: torch.save(dict(state_dict=state, meta=meta), file)
    )
    if args.safetensors:
        write_safetensors(folder / 'model.safetensors', state)
    write_config(folder / 'config.py', host_config(cfg, exported.config, exported.classes))
    # What lies on the disk is what was checked, and fits.
    found = safe_load(folder / 'model.pth')['state_dict']
    build(Config.fromfile(folder / 'config.py').model, found)
    if any(not torch.equal(found[key], value) for key, value in state.items()):
        raise CheckpointError(f'{args.out} cannot be read back as it was written. Fix: try again.')
    classes, spare = exported.classes, len(exported.classes) - len(exported.label_map)
    labels = dict(classes=classes, old_labels=[*exported.label_map, *[None] * spare])
    write_json(folder / 'classes.json', labels, ensure_ascii=False)
    if all(name == name.split('#')[0].strip() for name in classes):  # else no line can hold it
        write_text(folder / 'classes.txt', '\n'.join(classes) + '\n')
    record = dict(
        checkpoint=args.checkpoint.name,
        config=Path(args.config).name,
        sha256={path.name: sha256(path) for path in sorted(folder.glob('model.*'))},
        precision='float16' if args.half else 'float32',
        label_map={str(old): new for old, new in exported.label_map.items()},
        check=dict(pictures=len(check.samples), deviations=check.deviations) if check else None,
        versions={
            name: importlib.import_module(name).__version__
            for name in dict.fromkeys(('torch', 'mmengine', cfg.default_scope))
        },
        exported_by=f'{knowswap_mm.__name__} {knowswap_mm.__version__}',
    )
    if args.test_data:
        record['tests'] = write_role_tests(folder, cfg, data, exported.label_map, classes)
    write_json(folder / 'export.json', record, ensure_ascii=False)
    return dict(record, classes=classes)


def sha256(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:  # hashlib.file_digest came with Python 3.11
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
