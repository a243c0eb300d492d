"""A tiny but complete swap for tests: a pretrained host, a config, and a recorder.

Over the images of the fixture ``picture_tree``: five old classes a..e, of which b is forgotten,
and two new ones, x and y. Every class has a colour of its own, so that the tiny ViT learns them in
seconds and accuracies say something.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import mmcv
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, RUNNERS, DefaultScope

from knowswap_mm.schedule import SwapSchedule

OLD, NEW, FORGOTTEN = ('a', 'b', 'c', 'd', 'e'), ('x', 'y'), 'b'
_counter = itertools.count()


def host_config(classes: int, dropout: float = 0.0) -> dict[str, Any]:
    """An ordinary mmpretrain classifier."""
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True
        ),
        backbone=dict(
            type='VisionTransformer',
            arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
            img_size=16,
            patch_size=8,
            drop_rate=dropout,
            drop_path_rate=dropout,
        ),
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=classes,
            in_channels=32,
            cal_acc=True,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1,),
        ),
    )


def pretrain_host(root: Path, path: Path) -> Path:
    """Trains the host on the old classes for a moment and saves a plain checkpoint."""
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(host_config(len(OLD)))
        model.init_weights()
        pictures, labels = [], []
        for label, name in enumerate(OLD):
            for file in sorted((root / 'train' / name).iterdir()):
                pictures.append(torch.from_numpy(mmcv.imread(str(file))).permute(2, 0, 1))
                labels.append(label)
        inputs = model.data_preprocessor(dict(inputs=pictures))['inputs']
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        for _ in range(40):
            logits = model.head(model.extract_feat(inputs))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def learn(**settings: Any) -> dict[str, Any]:
    """A learn phase."""
    weights = dict(learn=1.0, retain=0.2, sparsity=0.005)
    return dict(dict(kind='learn', weights=weights), **settings)


def forget(**settings: Any) -> dict[str, Any]:
    """A forget phase."""
    weights = dict(retain=1.0, forget=0.2, sparsity=0.005)
    return dict(dict(kind='forget', weights=weights, bound=105.0), **settings)


def swap_config(
    root: Path,
    work_dir: Path,
    phases: list[dict[str, Any]] | None = None,
    *,
    host: Path | None = None,
    batch_size: int = 8,
    dropout: float = 0.0,
    policy: str = 'frozen',
    lr: float = 1e-2,
    param_scheduler: Any = None,
    **changes: Any,
) -> Config:
    """The config of a swap of b against x and y.

    Args:
        root: The fixture ``picture_tree``.
        work_dir: Folder of the run.
        phases: Phases; by default 3 iterations of learn and 3 of forget.
        host: What :func:`pretrain_host` wrote; None permits a random host.
        batch_size: Per process.
        dropout: Dropout and drop-path of the host.
        policy: Head policy.
        lr: Learning rate of AdamW.
        param_scheduler: The run's schedulers; None keeps the learning rate.
        **changes: Further settings with ``__`` for the dots, e.g. ``train_cfg__val_interval=2``.
    """
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    augmented = [pipeline[0], dict(type='RandomFlip', prob=0.5), pipeline[1]]

    def loader(split: str, steps: list[dict], **settings: Any) -> dict[str, Any]:
        pictures = dict(
            type='CustomDataset',
            data_root=str(root),
            data_prefix=split,
            pipeline=steps,
            serialize_data=False,  # it would collect garbage in the whole process each time
        )
        roles = {role: dict(dataset=pictures) for role in ('learn', 'forget', 'retain')}
        return dict(
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='knowswap_mm.RoleDataset', roles=roles),
            **settings,
        )

    sequential = dict(type='DefaultSampler', shuffle=False)
    evaluator = dict(type='knowswap_mm.RoleMetric', metric=[dict(type='Accuracy', topk=(1,))])
    config = Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['knowswap_mm'], allow_failed_imports=False),
            runner_type='knowswap_mm.SwapRunner',
            experiment_name=f'{Path(work_dir).name}_{next(_counter)}',
            work_dir=str(work_dir),
            swap=dict(
                classes=dict(old=list(OLD), learn=list(NEW), forget=[FORGOTTEN]),
                phases=phases or [learn(iters=3), forget(iters=3, merge_learned=True)],
                allow_random_host=host is None,
                guard=False,
            ),
            model=dict(
                type='knowswap_mm.KnowledgeSwapper',
                host=host_config(len(OLD) + len(NEW), dropout),
                lora=dict(rank=4),
                head=dict(policy=policy, old_classes=len(OLD), new_rows_init='xavier'),
            ),
            train_dataloader=loader(
                'train',
                augmented,
                batch_size=batch_size,
                sampler=dict(type='knowswap_mm.SwapSampler'),
            ),
            val_dataloader=loader('val', pipeline, batch_size=32, sampler=sequential),
            test_dataloader=loader('val', pipeline, batch_size=32, sampler=sequential),
            val_evaluator=evaluator,
            test_evaluator=evaluator,
            train_cfg=dict(type='IterBasedTrainLoop'),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(
                type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05)
            ),
            param_scheduler=param_scheduler,
            default_hooks=dict(
                timer=dict(type='IterTimerHook'),
                logger=dict(type='LoggerHook', interval=50),
                param_scheduler=dict(type='ParamSchedulerHook'),
                checkpoint=dict(
                    type='CheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=-1
                ),
                sampler_seed=dict(type='DistSamplerSeedHook'),
            ),
            log_processor=dict(by_epoch=False, window_size=1),
            env_cfg=dict(
                cudnn_benchmark=False,
                mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
                dist_cfg=dict(backend='gloo'),
            ),
            randomness=dict(seed=3),
            load_from=None if host is None else str(host),
        )
    )
    config.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config


def schedule_of(config: Config, sizes: dict[str, int]) -> SwapSchedule:
    """The schedule of a config; what a recipe would choose has any value."""
    swap = copy.deepcopy(config.swap)
    if swap.get('recipe'):
        any_value = dict(learn=dict(iters=1), forget=dict(iters=1, bound=1.0))
        given = swap.get('phase_settings') or {}
        kinds = [kind for kind in any_value if kind in swap.order.split('-')]
        swap.phase_settings = {kind: any_value[kind] | dict(given.get(kind, {})) for kind in kinds}
    return SwapSchedule.from_config(swap, sizes, config.train_dataloader.batch_size)


def plain_config(root: Path, work_dir: Path) -> Config:
    """One epoch of a classifier of all classes, without a swap."""
    classes = ['a', 'b', 'c', 'd', 'e', 'x', 'y']
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(
        type='CustomDataset', data_root=str(root), data_prefix='train', pipeline=pipeline
    )
    return Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(work_dir),
            model=host_config(len(classes)),
            train_dataloader=dict(
                batch_size=28,
                num_workers=0,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=3e-3)),
            env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)),
        )
    )


def write_config(config: Config, path: Path) -> Path:
    """Writes the config as a file for a command line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config.dump(str(path))
    return path


@HOOKS.register_module()
class SwapRecorder(Hook):
    """Remembers what each iteration saw; runs behind all other hooks.

    Args:
        folder: Where to save the memory and the final weights of each process, if anywhere.
    """

    priority = 'LOWEST'

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self.steps: list[dict[str, Any]] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        optimizer = runner.optim_wrapper.optimizer
        states = list(optimizer.state.values())
        samples = [
            (s.metainfo['role'], int(s.gt_label), s.metainfo['img_path'])
            for s in data_batch['data_samples']
        ]
        self.steps.append(
            dict(
                iteration=runner.iter,
                lr=optimizer.param_groups[0]['lr'],
                samples=samples,
                phases={s.metainfo['phase'] for s in data_batch['data_samples']},
                training=runner.swapper.host.backbone.training and runner.model.training,
                adam_step=int(states[0]['step']) if states else 0,
                moments=float(sum(state['exp_avg'].abs().sum() for state in states)),
                trainable=sorted(
                    n for n, p in runner.swapper.named_parameters() if p.requires_grad
                ),
            )
        )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.steps[-1]['loss'] = float(outputs['loss'].detach())

    def after_train(self, runner: Any) -> None:
        if self.folder:
            memory = dict(steps=self.steps, weights=runner.swapper.state_dict())
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            torch.save(memory, Path(self.folder) / f'rank{runner.rank}.pt')

    def column(self, name: str) -> list[Any]:
        """One value of every iteration."""
        return [step[name] for step in self.steps]


def train(config: Config) -> tuple[Any, SwapRecorder]:
    """Trains in this process; returns the runner and what it did."""
    runner = RUNNERS.build(config)
    recorder = SwapRecorder()
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    return runner, recorder


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """Weights in a checkpoint that a test wrote itself."""
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def assert_same_weights(
    left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float = 0.0
) -> None:
    """Compares two state dicts; a tolerance of 0 means bit by bit."""
    assert set(left) == set(right)
    for name, tensor in left.items():
        if tolerance:
            torch.testing.assert_close(tensor, right[name], rtol=0, atol=tolerance, msg=name)
        else:
            assert torch.equal(tensor, right[name]), name
