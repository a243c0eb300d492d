"""A tiny swap of one step a phase."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowswap_mm.cli.options import command_of
from knowswap_mm.data_tools.generators.shapes import SHAPE_CLASSES, make_shape_images
from knowswap_mm.data_tools.generators.trees import write_image_folder
from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.io.files import write_text
from knowswap_mm.registry import DOCTOR_CHECKS
from knowswap_mm.runs.files import ADAPTER_FOLDER, RESULTS_FILE

CLASSES, OLD, SIZE, IMAGES = SHAPE_CLASSES[:4], 3, 16, 8


def write_tiny_swap(folder: Path) -> Path:
    """Draw the images and write the config into a folder that is there; returns its path."""
    draw = lambda seed: lambda: make_shape_images(IMAGES, SIZE, seed, CLASSES)  # noqa: E731
    data = folder / 'data'
    write_image_folder(data, CLASSES, dict(train=draw(0), val=draw(1)), dict(generator='doctor'))
    path = folder / 'doctor_swap.py'
    lines = (f'{key} = {value!r}\n' for key, value in tiny_swap(data).items())
    write_text(path, ''.join(lines))
    return path


def tiny_swap(data: Path) -> dict[str, Any]:
    """A ViT of two blocks that learns one class and forgets another, one step each."""

    def loader(split: str, sampler: dict[str, Any], batch_size: int) -> dict[str, Any]:
        images = dict(
            type='CustomDataset',
            data_root=str(data),
            data_prefix=split,
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        )
        roles = {role: dict(dataset=images) for role in ('learn', 'forget', 'retain')}
        return dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=sampler,
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='knowswap_mm.RoleDataset', roles=roles),
        )

    host = dict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
        backbone=dict(
            type='VisionTransformer',
            arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
            img_size=SIZE,
            patch_size=8,
        ),
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=len(CLASSES),
            in_channels=16,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )
    phases = [
        dict(kind='learn', iters=1, weights=dict(learn=1.0, retain=0.2, sparsity=0.005)),
        dict(
            kind='forget', iters=1, bound=9.0, weights=dict(forget=0.2, retain=1.0, sparsity=0.005)
        ),
    ]
    hooks = dict(
        timer=dict(type='IterTimerHook'),
        logger=dict(type='LoggerHook', interval=1),
        param_scheduler=dict(type='ParamSchedulerHook'),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1000),
        sampler_seed=dict(type='DistSamplerSeedHook'),
    )
    return dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['knowswap_mm'], allow_failed_imports=False),
        runner_type='knowswap_mm.SwapRunner',
        swap=dict(
            classes=dict(old=list(CLASSES[:OLD]), learn=list(CLASSES[OLD:]), forget=[CLASSES[0]]),
            phases=phases,
            allow_random_host=True,
        ),
        model=dict(
            type='knowswap_mm.KnowledgeSwapper',
            host=host,
            lora=dict(rank=2),
            head=dict(policy='all', old_classes=OLD),
        ),
        train_dataloader=loader('train', dict(type='knowswap_mm.SwapSampler'), 8),
        val_dataloader=loader('val', dict(type='DefaultSampler', shuffle=False), 32),
        val_evaluator=dict(type='knowswap_mm.RoleMetric', metric=dict(type='Accuracy', topk=(1,))),
        train_cfg=dict(type='IterBasedTrainLoop'),
        val_cfg=dict(type='ValLoop'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
        default_hooks=hooks,
        log_processor=dict(by_epoch=False),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)),
        randomness=dict(seed=0),
    )


SECONDS = 300
#: What a swap leaves behind.
WANTED = ('phase1_learn.pth', 'phase2_forget.pth', RESULTS_FILE, f'{ADAPTER_FOLDER}/manifest.json')


@DOCTOR_CHECKS.register_module()
class TinySwap(Check):
    """A tiny ViT swaps classes of drawn shapes, one step a phase.

    It does so in a process and a temporary folder of its own.
    """

    name, order = 'swap', 100
    needs = ('python', 'packages', 'originals', 'torch', 'torchvision', 'hosts', 'mmcv')

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        with tempfile.TemporaryDirectory(prefix='knowswap_doctor_') as folder:
            run = Path(folder) / 'run'
            command = command_of('train', write_tiny_swap(Path(folder)), '--work-dir', run)
            fix = (
                'fix what the message says; if that is unclear, open an issue with the output of '
                '`knowswap doctor --json`'
            )
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            except subprocess.TimeoutExpired:
                text = f'a swap of two steps did not end within {SECONDS} s'
                yield Finding(
                    'problem', text, 'stop what else keeps the machine busy, and try again'
                )
                return
            missing = [name for name in WANTED if not (run / name).is_file()]
        last = ' | '.join(line for line in done.stderr.splitlines()[-3:] if line.strip())
        if done.returncode:
            text = f'a swap of two steps failed with code {done.returncode}: {last}'
            yield Finding('problem', text, fix)
        elif missing:
            yield Finding('problem', f'a swap of two steps did not write {missing}: {last}', fix)
        else:
            yield Finding('ok', 'a swap of two steps works, from images to the adapter')
