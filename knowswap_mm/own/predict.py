"""What a model says of images: answers, drawings, a contact sheet."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from knowswap_mm.console import import_quietly
from knowswap_mm.datasets.classes import names_after
from knowswap_mm.datasets.host_config import inner_config, type_of
from knowswap_mm.datasets.images import ImageCheck, is_image_name
from knowswap_mm.engine.config import WEIGHTS, open_config
from knowswap_mm.engine.recipe import settle
from knowswap_mm.errors import ConfigError, SampleError, reason_of
from knowswap_mm.io.checkpoints import state_dict_of
from knowswap_mm.io.files import write_atomic, write_folder, write_json
from knowswap_mm.io.text_files import read_json
from knowswap_mm.models.loading import load_weights
from knowswap_mm.own.host import TASKS, device_of, read_checkpoint, read_host
from knowswap_mm.own.task import OwnTask
from knowswap_mm.registry import DRAWERS
from knowswap_mm.runs.files import CHECKPOINTS, RECORD_FILE
from knowswap_mm.visualization.images.drawer import resized, with_legend
from knowswap_mm.visualization.tables import markdown_table

#: Longer side of a drawn image; that of an image in the contact sheet, and how many it has.
SIZE, _SMALL, _COLUMNS, _SHOWN = 640, 192, 5, 100


@dataclass(frozen=True)
class Predictor:
    """A model that is ready for images.

    Attributes:
        module (nn.Module): In evaluation mode, with ``test_step``.
        task (OwnTask): What it does.
        classes (list[str]): Names.
        pipeline (list): Steps from a file to the model, without those that load annotations.
    """

    module: nn.Module
    task: OwnTask
    classes: list[str]
    pipeline: list[dict[str, Any]]


def load(source: str, checkpoint: str | None, class_names: list[str] | None) -> Predictor:
    """Load a run, an export, or a config with its checkpoint.

    Args:
        source (str): Folder of a run or of an export, or a config file.
        checkpoint (str | None): Weights; of a run the state after its last phase by default.
        class_names (list[str] | None): Names of the classes, where neither config nor weights
            have them.

    Raises:
        ConfigError: If the source is none of these.
        CheckpointError: If the weights do not fit.
    """
    MMLogger.get_instance('predict', log_level='ERROR')
    folder = Path(source)
    if folder.is_dir():
        source, checkpoint = _of_folder(folder, checkpoint)
    elif folder.suffix in WEIGHTS:
        there = (folder.parent / RECORD_FILE).is_file()
        more = f' --checkpoint {source}' if there else ''
        fix = f'give its folder: knowswap predict {folder.parent} IMAGES{more}'
        raise ConfigError('SOURCE', source, 'is a file of weights, and needs its config', fix)
    elif checkpoint is None:
        fix = 'add --checkpoint FILE, or give the folder of a run or of an export'
        raise ConfigError('SOURCE', source, 'is no folder, and a config needs its weights', fix)
    config = open_config(source)
    if 'host' not in (config.get('model') or {}):
        host, module = read_host(source, checkpoint, class_names)
        return Predictor(module, host.task, host.classes, _without_labels(host.pipelines['test']))
    import_quietly(config.get('default_scope'))
    config = settle(config)
    weights = read_checkpoint(checkpoint)
    stored = ((weights.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    if not stored:
        fix = 'give the .pth of a phase, as the swap writes it'
        raise ConfigError('--checkpoint', checkpoint, 'does not name its classes', fix)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        module = MODELS.build(config.model)
        load_weights(module, state_dict_of(weights), checkpoint)
    roles = config.test_dataloader.dataset.roles
    dataset = inner_config(next(iter(roles.values())).dataset)
    steps = _without_labels(dataset['pipeline'])
    return Predictor(module, TASKS[config.default_scope], list(stored), steps)


def _of_folder(folder: Path, checkpoint: str | None) -> tuple[str, str]:
    """Config and weights of a run or an export."""
    if (folder / RECORD_FILE).is_file():
        name = read_json(folder / RECORD_FILE).get('config')
        states = sorted(folder.glob(CHECKPOINTS[1]), key=os.path.getmtime)
        if not checkpoint and not states:
            fix = 'wait for the end of a phase, or name one of its files: --checkpoint FILE'
            raise ConfigError('SOURCE', str(folder), 'the run has no state after a phase', fix)
        return str(folder / str(name)), checkpoint or str(states[-1])
    if (folder / 'config.py').is_file() and (folder / 'model.pth').is_file():
        return str(folder / 'config.py'), checkpoint or str(folder / 'model.pth')
    fix = 'give the folder of a run or of an export, or a config with --checkpoint FILE'
    raise ConfigError('SOURCE', str(folder), 'holds neither a run nor an export', fix)


def _without_labels(steps: Sequence[Any]) -> list[dict[str, Any]]:
    return [step for step in steps if type_of(step) != 'LoadAnnotations']


def list_images(paths: Sequence[Path]) -> list[Path]:
    """Images, and those in folders, in order.

    Raises:
        ConfigError: If one is not there or cannot be read, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob('*') if is_image_name(p.name))
            if not inside:
                fix = 'give a folder with images, or images'
                raise ConfigError('IMAGES', str(path), 'the folder has no images', fix)
            found += inside
        elif not path.is_file():
            raise ConfigError('IMAGES', str(path), 'there is no such file', 'fix the path')
        else:
            found.append(path)
    check = ImageCheck({})
    for path in found:
        try:
            check(dict(img_path=str(path)))
            if mmcv.imread(str(path)) is None:
                raise SampleError('no decoder knows it')
        except Exception as error:  # a damaged file may raise anything
            fix = 'take it out, or save it anew as JPEG or PNG'
            problem = f'the image cannot be read ({reason_of(error)})'
            raise ConfigError('IMAGES', str(path), problem, fix) from error
    return found


def predict(args: argparse.Namespace) -> list[str]:
    """Look at images, write what was found, and say it in lines.

    Raises:
        SwapError: If the user can fix something; nothing is written then.
    """
    device = device_of(args.device or '')
    images = list_images(args.images)
    out = args.out or _numbered(Path('predictions'))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError('--out', str(out), 'is there already', 'give a new folder')
    tool = load(args.source, args.checkpoint, names_after('--classes', args.classes))
    tool.module.to(device).eval()
    options = {} if tool.task.one_class else dict(size=SIZE)
    if tool.task.scope == 'mmdet':
        options['score'] = args.score
    drawer = DRAWERS.build(dict(type=tool.task.drawer, **options))
    told, shown = [], []
    with (
        torch.no_grad(),
        DefaultScope.overwrite_default_scope(tool.task.scope),
        write_folder(out, replace=True) as folder,
    ):
        steps = Compose(tool.pipeline)
        for number, path in enumerate(images):
            record = dict(img_path=str(path), img_id=number, sample_idx=number)
            given, image = _run(steps, record)
            (sample,) = tool.module.test_step(pseudo_collate([given]))
            sample = sample.cpu()
            answers = tool.task.answer(sample, tool.classes, args.top, args.score)
            entry = dict(image=str(path), answers=answers)
            name = f'{number + 1:04d}_{path.stem}'
            if not tool.task.one_class:
                drawing = drawer.prediction(image, sample, {}, tool.classes)
                image, entry['drawn'] = drawing.image, f'{name}.jpg'
                names = drawing.legend if 'pred_sem_seg' in sample else []  # boxes have theirs
                _save(folder / entry['drawn'], with_legend(image, names), 'JPEG')
            if 'pred_sem_seg' in sample:
                entry['mask'] = f'masks/{name}.png'
                labels = sample.pred_sem_seg.data.squeeze(0).numpy()
                kind = np.uint8 if len(tool.classes) <= 256 else np.uint16
                _save(folder / entry['mask'], Image.fromarray(labels.astype(kind)), 'PNG')
            told.append(entry)
            if len(shown) < _SHOWN:
                shown.append((image, path.name, _words(answers[:2])))
        _save(folder / 'contact_sheet.jpg', contact_sheet(shown), 'JPEG')
        content = dict(classes=tool.classes, images=told)
        write_json(folder / 'predictions.json', content, indent=1, ensure_ascii=False)
    rows = [[each['image'], _words(each['answers'])] for each in told]
    table = markdown_table(('image', 'answer'), rows, aligned=True)
    return [table, '', f'{out}: contact_sheet.jpg, predictions.json and what was drawn']


def _run(steps: Compose, record: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """What the model is given, and the image as it was loaded: RGB, uint8."""
    image = None
    for step in steps.transforms:
        record = step(record)
        if image is None and 'img' in record:
            image = np.atleast_3d(record['img'])[..., :3]  # BGR, or one channel
            image = np.repeat(image[..., ::-1].clip(0, 255), 3 // image.shape[-1], axis=-1)
    return record, np.ascontiguousarray(image, dtype=np.uint8)


def _words(answers: Sequence[dict[str, Any]]) -> str:
    """Answers in a line: a share or a confidence behind each."""
    shown = [f'{a["label"]} {a.get("score", a.get("share")):.0%}' for a in answers]
    return ', '.join(shown) or 'nothing'


def contact_sheet(shown: Sequence[tuple[np.ndarray, str, str]]) -> Image.Image:
    """Small images with their names and answers beneath."""
    font, line = ImageFont.load_default(12), 16
    cell = _SMALL + 2 * line + 8
    rows = (len(shown) + _COLUMNS - 1) // _COLUMNS
    sheet = Image.new('RGB', (_SMALL * min(_COLUMNS, len(shown)), cell * rows), 'white')
    pen = ImageDraw.Draw(sheet)
    for place, (image, name, answer) in enumerate(shown):
        x, y = place % _COLUMNS * _SMALL, place // _COLUMNS * cell
        small, _ = resized(image, _SMALL - 4)
        sheet.paste(small, (x + (_SMALL - small.width) // 2, y + (_SMALL - small.height) // 2))
        for number, text in enumerate((name, answer)):
            pen.text((x + 4, y + _SMALL + number * line), text[:30], fill='black', font=font)
    return sheet


def _save(path: Path, image: Image.Image, kind: str) -> None:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    write_atomic(path, lambda file: file.write(buffer.getvalue()))


def _numbered(path: Path) -> Path:
    return next(p for n in range(1, 10**6) if not (p := Path(f'{path}_{n}')).exists())
