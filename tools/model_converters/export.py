r"""Exports a swapped model as a plain host: merged weights and a config without this package.

    python tools/model_converters/export.py CONFIG work_dirs/RUN/phase2_forget.pth \
        --out exported

The weights are merged in double precision and rounded once. `<out>/model.pth` and `<out>/config.py`
are for the inferencers of mmpretrain, mmdet and mmseg; neither adapters nor base weights are in the
file. `--drop forgotten` takes the rows of the forgotten classes out of the head; `classes.json` has
the names and the old label of each row.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from safetensors.torch import save_file

from knowswap_mm.datasets.class_names import read_class_names
from knowswap_mm.engine.safe_load import safe_load, state_dict_of
from knowswap_mm.errors import ConfigError, SwapError
from knowswap_mm.exporting import ExportedHost, plain_host_config

#: Without one the inferencers of mmdet and mmseg do not start.
VISUALIZERS = dict(
    mmpretrain='UniversalVisualizer', mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer'
)


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='a new folder')
    parser.add_argument('--drop', nargs='+', help='classes without a row, or: forgotten')
    parser.add_argument('--half', action='store_true', help='weights in half precision')
    parser.add_argument('--safetensors', action='store_true', help='model.safetensors beside .pth')
    return parser.parse_args()


def export(args: argparse.Namespace) -> ExportedHost:
    """Exports and returns what was written."""
    cfg = Config.fromfile(args.config)
    for name in cfg.get('custom_imports', {}).get('imports', []):
        __import__(name)
    MMLogger.get_instance('export', log_level='ERROR')
    checkpoint = safe_load(args.checkpoint)
    meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    if 'classes' not in meta:
        fix = 'give the .pth of a phase, as a swap writes it'
        raise ConfigError('checkpoint', str(args.checkpoint), 'does not name its classes', fix)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        swapper = MODELS.build(cfg.model)
        swapper.load_state_dict(state_dict_of(checkpoint))
        keys = cfg.model.get('head', {}).get('count_keys', ('num_classes',))
        exported = ExportedHost(swapper, cfg.model.host, meta['classes'], keys)
    if args.drop:
        names = args.drop
        if names == ['forgotten']:
            names = read_class_names('swap.classes.forget', cfg.swap.classes.get('forget'))
            if not names:
                fix = 'name the classes after --drop'
                raise ConfigError('swap.classes.forget', None, 'names no class', fix)
        exported.drop(names)
    write(args, cfg, exported)
    return exported


def write(args: argparse.Namespace, cfg: Config, exported: ExportedHost) -> None:
    """Writes the folder."""
    if args.out.exists():
        raise ConfigError('--out', str(args.out), 'is there already', 'give a new folder')
    role = next(iter(cfg.test_dataloader.dataset.roles.values()))
    pipeline = plain_host_config(dict(pipeline=role.dataset.pipeline))['pipeline']
    dataset = dict(type=role.dataset.type, pipeline=pipeline)
    plain = dict(
        default_scope=cfg.default_scope,
        model=exported.config,
        test_dataloader=dict(batch_size=1, dataset=dataset),
        metainfo=dict(classes=exported.classes),
        visualizer=dict(
            type=VISUALIZERS[cfg.default_scope], vis_backends=[dict(type='LocalVisBackend')]
        ),
    )
    imports = cfg.get('custom_imports', {}).get('imports', [])
    if rest := [name for name in imports if not name.startswith('knowswap_mm')]:
        plain['custom_imports'] = dict(imports=rest, allow_failed_imports=False)
    args.out.mkdir(parents=True)
    state = exported.state_dict(torch.float16 if args.half else torch.float32)
    meta = dict(dataset_meta=dict(classes=tuple(exported.classes)))
    torch.save(dict(state_dict=state, meta=meta), args.out / 'model.pth')
    if args.safetensors:
        save_file(state, args.out / 'model.safetensors')
    Config(plain).dump(args.out / 'config.py')
    labels = dict(classes=exported.classes, old_labels=list(exported.label_map))
    text = json.dumps(labels, indent=2, ensure_ascii=False)
    (args.out / 'classes.json').write_text(text + '\n', encoding='utf-8')


def main() -> None:
    """Exports and says what was written."""
    args = parse_args()
    try:
        exported = export(args)
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')
    print(f'{args.out}: {len(exported.classes)} classes')


if __name__ == '__main__':
    main()
