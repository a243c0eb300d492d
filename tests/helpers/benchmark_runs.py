"""What tests of benchmarks share: commands in this process, and the training of a tiny host."""

import contextlib
import os
import runpy
import sys
from pathlib import Path

import pytest

from knowswap_mm.workflows import processes
from tests.helpers.continual_runs import run_command
from tests.helpers.swap_configs import OLD, host_config, swap_config, write_config

FOLDER = Path(__file__).parents[2] / 'benchmarks'


@contextlib.contextmanager
def own_modules():
    """Modules of benchmarks/ can be imported, and none is left to, or taken from, another test.

    All of them go at once: one that stays keeps what it imported, which a later test that changes
    the new module does not reach.
    """

    def forget():
        for name, module in list(sys.modules.items()):
            if str(getattr(module, '__file__', None)).startswith(f'{FOLDER}{os.sep}'):
                del sys.modules[name]

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield
    forget()


def in_this_process(patch):
    """Have commands run here (imports take long); returns the list to which each is added."""
    commands = []

    def execute(command, output):
        commands.append(command)
        with contextlib.redirect_stdout(output):
            try:
                if command[1] == '-m':
                    run_command(command)
                else:
                    patch.setattr(sys, 'argv', command[1:])
                    runpy.run_path(command[1], run_name='__main__')
            except SystemExit as error:
                print(error)
                return 1
        return 0

    patch.setattr(processes, 'execute', execute)
    patch.setenv('LOCAL_RANK', '0')
    return commands


def benchmark(patch, script, folder):
    """A benchmark as a function of its arguments; returns the commands that each call ran."""
    commands = in_this_process(patch)

    def call(*arguments):
        commands.clear()
        words = ['--work-dir', folder / 'work', '--out', folder / 'rows.json', *arguments]
        patch.setattr(sys, 'argv', [script, *map(str, words)])
        runpy.run_path(str(FOLDER / script))['main']()
        return list(commands)

    return call


def host_training(tree, path):
    """A plain training of iterations on the old classes."""
    config = swap_config(tree, path.parent)
    photos = dict(
        type='CustomDataset',
        data_root=str(tree.parent / 'old'),
        data_prefix='train',
        pipeline=config.train_dataloader.dataset.roles.learn.dataset.pipeline,
    )
    loader = dict(num_workers=0, collate_fn=dict(type='default_collate'), dataset=photos)
    sampler = dict(type='DefaultSampler', shuffle=False)
    val = dict(loader, batch_size=30, sampler=sampler)
    config = config.__class__(
        dict(
            default_scope='mmpretrain',
            runner_type='Runner',
            custom_imports=config.custom_imports,
            model=host_config(len(OLD)),
            train_dataloader=dict(
                loader, batch_size=20, sampler=dict(type='InfiniteSampler', shuffle=True)
            ),
            val_dataloader=val,
            test_dataloader=val,
            val_evaluator=dict(type='Accuracy', topk=(1,)),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=4, val_interval=1),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=3e-3)),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
                checkpoint=config.default_hooks.checkpoint,
            ),
            log_processor=dict(by_epoch=False, window_size=1),
            env_cfg=config.env_cfg,
        )
    )
    return write_config(config, path)
