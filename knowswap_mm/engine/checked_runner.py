"""A runner whose parts say what is wrong with their config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import nn
from torch.utils.checkpoint import checkpoint

from knowswap_mm.console import use_console
from knowswap_mm.distributed.cluster_runner import ClusterRunner
from knowswap_mm.engine.checks import check_clipping, check_optim_config, check_step, checkpointed
from knowswap_mm.engine.foreign_hooks import missing_metric
from knowswap_mm.engine.optim import window_is_open
from knowswap_mm.engine.saved_weights import SavedWeights, follow_from_the_start, marks_of, replaced
from knowswap_mm.errors import CheckpointError, ConfigError, SwapError
from knowswap_mm.models.foreign_code import no_foreign_code
from knowswap_mm.runs.checkpoints import save_latest
from knowswap_mm.runs.files import iteration_file
from knowswap_mm.schedule import SwapSchedule

#: Events at which a hook finds out that it does not fit the run.
_BEGINNINGS = ('before_run', 'before_train', 'before_train_epoch')
#: What a hook raises that was made for something else; before the first step, nothing is lost.
_MISUSE = (AssertionError, AttributeError, ImportError, LookupError, TypeError, ValueError)
_USES_WEIGHTS = ('before_val_epoch', 'before_test_epoch', 'before_save_checkpoint')


class CheckedRunner(ClusterRunner):
    """Names the config key when a part cannot be built, and watches what hooks do to the weights.

    - A data loader, loop, optimizer or scheduler of mmengine or torch that refuses its arguments
      raises what it likes; here that becomes a ConfigError, before training starts.
    - Hooks that put other weights into a checkpoint (averages) are noticed; hooks with a method
      ``seal_checkpoint`` learn of them, after all others have changed the checkpoint.
    """

    swap_schedule: SwapSchedule | None = None

    @property
    def bare_model(self) -> Any:
        """The model without the wrapper of distributed training."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks, see :class:`mmengine.runner.Runner`.

        Raises:
            ConfigError: If a hook does not fit the run that begins.
            CheckpointError: If the run cannot go on exactly from a checkpoint that was loaded.
        """
        if fn_name in _USES_WEIGHTS:
            follow_from_the_start(self.hooks, self.bare_model)
        missing = None
        if fn_name == 'after_val_epoch' and self.swap_schedule is not None:
            missing = missing_metric(self, kwargs.get('metrics') or {})
        checkpoint = kwargs.get('checkpoint')
        marks = None if checkpoint is None else marks_of(checkpoint.get('state_dict') or {})
        try:
            super().call_hook(fn_name, **kwargs)
        except SwapError:
            raise
        except Exception as error:
            begins = fn_name in _BEGINNINGS or (not self.iter and isinstance(error, _MISUSE))
            if begins and missing is None and _culprit(error) is not None:
                problem = f'does not fit a swap ({type(error).__name__}: {error})'
                fix = 'take the hook out, or set what it needs'
                raise ConfigError('custom_hooks', _culprit(error), problem, fix) from error
            if missing is None:  # otherwise it is the hook that waits for the metric
                raise
        if missing is not None:
            self._keep()
            raise missing
        if marks is None:
            return
        changed = replaced(checkpoint.get('state_dict') or {}, marks)
        if fn_name == 'before_save_checkpoint' and self.swap_schedule is not None:
            self._seal(checkpoint, changed)
        elif fn_name == 'after_load_checkpoint' and isinstance(checkpoint.get('swap'), dict):
            if self.resumes and not changed:
                _refuse_averages(checkpoint)
            elif not self.resumes:  # what is tested, or begun with, is what was saved
                checkpoint['state_dict'].update({key: marks[key][0] for key in changed})

    def load_or_resume(self) -> None:
        """Load weights, see :class:`mmengine.runner.Runner`, which has just wrapped modules.

        mmengine computes activations again by a function that gives no gradients to a module whose
        inputs need none, and inputs of a frozen host do not: no adapter in it would ever train.
        """
        if self.swap_schedule is not None:
            compute_again(self.bare_model, checkpointed(self.cfg))
        super().load_or_resume()

    def _keep(self) -> None:
        """Save what was trained, if anything was."""
        if self.iter and not window_is_open(self.optim_wrapper):
            meta = dict(iter=self.iter, epoch=self.epoch)
            save_latest(self, iteration_file(self.iter), meta=meta)

    def _seal(self, checkpoint: dict[str, Any], changed: dict[str, Any]) -> None:
        state = checkpoint.setdefault('swap', {})
        state['replaced'] = bool(changed)
        state['window_open'] = window_is_open(self.optim_wrapper)
        if state['window_open'] and 'optimizer' in checkpoint:
            self.logger.warning(
                'A checkpoint was asked for inside a window of optim_wrapper.accumulative_counts. '
                'It holds none of the gradients gathered so far, so no run can go on from it.'
            )
        super().call_hook(
            'seal_checkpoint',
            checkpoint=checkpoint,
            weights=SavedWeights(self.bare_model, changed),
        )

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, whose console shows our own words."""
        logger = super().build_logger(*args, **kwargs)
        use_console(logger)
        return logger

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Build and register the hooks that mmengine has by itself."""
        with _named('default_hooks', hooks):
            super().register_default_hooks(hooks)

    def register_custom_hooks(self, hooks: list[Any]) -> None:
        """Build and register further hooks."""
        with _named('custom_hooks', hooks):
            super().register_custom_hooks(hooks)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a loader, see :class:`TidyRunner`; what it refuses names a config key later."""
        try:
            return ClusterRunner.build_dataloader(dataloader, *args, **kwargs)
        except SwapError:
            raise
        except Exception as error:
            raise _LoaderError(f'{type(error).__name__}: {error}') from error

    def build_model(self, model: Any) -> nn.Module:
        """Build the model; nothing is fetched or unpickled for it.

        Raises:
            ConfigError: If a part of it tries to.
        """
        with no_foreign_code('model', model if isinstance(model, dict) else None):
            return super().build_model(model)

    def build_train_loop(self, loop: Any) -> Any:
        """Build the training loop."""
        with _named('train_cfg', loop, 'train_dataloader', self.loader_config('train')):
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: Any) -> Any:
        """Build the loop of evaluations in training."""
        with _named('val_cfg', loop, 'val_dataloader', self.loader_config('val')):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: Any) -> Any:
        """Build the loop of a test."""
        with _named('test_cfg', loop, 'test_dataloader', self.loader_config('test')):
            return super().build_test_loop(loop)

    def build_param_scheduler(self, scheduler: Any, key: str = 'param_scheduler') -> Any:
        """Build the schedulers, which a key of the config describes."""
        with _named(key, scheduler):
            return super().build_param_scheduler(scheduler)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scale the learning rate with the batch size."""
        with _named('auto_scale_lr', auto_scale_lr):
            super().scale_lr(optim_wrapper, auto_scale_lr)

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build the optimizer and its wrapper.

        Raises:
            ConfigError: If it cannot be built, or is none that a swap can use.
        """
        check_optim_config(optim_wrapper)
        with _named('optim_wrapper', optim_wrapper):
            built = super().build_optim_wrapper(optim_wrapper)
        if not isinstance(built, OptimWrapper):
            fix = "use type='OptimWrapper' or 'knowswap_mm.SwapOptimWrapper', without constructor"
            kind = type(built).__name__
            raise ConfigError('optim_wrapper', kind, 'a swap has one optimizer', fix)
        check_step(built)
        check_clipping(built)
        return built


def compute_again(model: nn.Module, names: Iterable[str]) -> None:
    """Have activations of these modules computed again in the backward pass, not kept."""
    for name in names:
        module = model.get_submodule(name)
        own = getattr(module.forward, '__wrapped__', module.forward)
        module.forward = partial(checkpoint, own, use_reentrant=False)


class _LoaderError(Exception):
    """What torch or a host said when a data loader was built."""


@contextmanager
def _named(
    key: str, value: Any, loader_key: str | None = None, loader: Any = None
) -> Iterator[None]:
    try:
        yield
    except SwapError:
        raise
    except _LoaderError as error:
        shown = {k: v for k, v in dict(loader or {}).items() if k not in ('dataset', 'sampler')}
        fix = 'change the argument that the message names'
        raise ConfigError(
            loader_key, shown, f'the data loader cannot be built ({error})', fix
        ) from error.__cause__
    except Exception as error:
        reason = f'cannot be built ({type(error).__name__}: {error})'
        raise ConfigError(key, value, reason, 'change the argument that the message names') from (
            error
        )


def _culprit(error: BaseException) -> str | None:
    """Name of the foreign hook in which an error began; None if it is none of them."""
    found, trace = None, error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get('self')
        if isinstance(owner, Hook):
            kind = type(owner)
            found = None if kind.__module__.startswith('knowswap_mm.') else kind.__name__
        trace = trace.tb_next
    return found


def _refuse_averages(checkpoint: dict[str, Any]) -> None:
    if checkpoint['swap'].get('replaced'):
        raise CheckpointError(
            'The checkpoint holds averaged weights in the place of those that were training, and '
            'no hook of this config takes them back. Fix: resume with the hook (EMAHook) of the '
            'run that wrote it, or begin a new run with load_from and without resume.'
        )
