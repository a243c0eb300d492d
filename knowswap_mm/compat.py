"""Every private interface of mmengine, torch and the hosts that the package uses (issue 25).

Nothing else in the package touches a name with an underscore that is not its own;
tests/test_compat.py looks at that, and at each name here, so that a new release of a library fails
there and not in a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.optim import _ParamScheduler as ParamScheduler
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.conv import _ConvNd as Conv
from torch.nn.modules.conv import _ConvTransposeNd as TransposedConv

__all__ = ['BatchNorm', 'Conv', 'ParamScheduler', 'TransposedConv']


class OpenRunner(Runner):
    """mmengine's runner, with names for what it keeps to itself."""

    @property
    def resumes(self) -> bool | str:
        """What the config, or :meth:`begin_with`, says of going on from a checkpoint."""
        return self._resume

    @property
    def weights_file(self) -> str | None:
        """The file that the run begins with."""
        return self._load_from

    def begin_with(self, path: str | None, resumes: bool) -> None:
        """Choose the file for ``load_or_resume``, and whether it is the state of a run."""
        self._load_from, self._resume = path, resumes

    @property
    def has_loaded(self) -> bool:
        """Whether weights were loaded; mmengine then loads none again."""
        return self._has_loaded

    @has_loaded.setter
    def has_loaded(self, value: bool) -> None:
        self._has_loaded = value

    def loader_config(self, split: str) -> Any:
        """Config of the loader of ``train``, ``val`` or ``test``; None if the run has none."""
        return getattr(self, f'_{split}_dataloader')

    @property
    def train_loop_config(self) -> Any:
        """Config of the training loop; the loop once it was built."""
        return self._train_loop

    def set_training(self, loader: Any, loop: Any) -> None:
        """Replace the configs of the training data and loop, before they are built."""
        self._train_dataloader, self._train_loop = loader, loop

    @property
    def evaluates(self) -> bool:
        """Whether the run has a validation loop."""
        return self._val_loop is not None

    def use_launcher(self, name: str) -> None:
        """Say how processes were started, as ``launcher`` in a config does."""
        self._launcher = name

    def set_position(self, epoch: int, iteration: int) -> None:
        """Put the training loop where a checkpoint was written: epochs and iterations done."""
        self.train_loop._epoch, self.train_loop._iter = epoch, iteration

    def set_length(self, iterations: int) -> None:
        """Let the training loop end after so many iterations."""
        self.train_loop._max_iters = iterations

    def change_seed(self, seed: int) -> None:
        """Seed the process anew, as the config's ``randomness`` says."""
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)

    def end_workers(self) -> None:
        """End the worker processes that loaders of the run keep."""
        for name in ('_train_loop', '_val_loop', '_test_loop'):
            loop = getattr(self, name, None)
            # A loader keeps its iterator if its workers persist; the training loop keeps another.
            for part in ('dataloader_iterator', 'dataloader'):
                owner = getattr(loop, part, None)
                iterator = getattr(owner, '_iterator', None)
                if hasattr(iterator, '_shutdown_workers'):
                    owner._iterator = None
                    iterator._shutdown_workers()


class OpenCheckpointHook(CheckpointHook):
    """mmengine's hook of periodic checkpoints, of which the saving can be replaced."""

    def save_in_turn(self, runner: Any) -> None:
        """Save as if it were time."""
        self._save_checkpoint(runner)

    def save_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Write the checkpoint of a step and remove an outdated one; to be replaced."""
        super()._save_checkpoint_with_step(runner, step, meta)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        self.save_step(runner, step, meta)


class OpenScheduler(ParamScheduler):
    """mmengine's scheduler of the learning rate, with a curve of its own.

    Args:
        optimizer (Optimizer | OptimWrapper): What it steers.
        **span: ``begin``, ``end`` and ``by_epoch``.
    """

    def __init__(self, optimizer: Any, **span: Any) -> None:
        super().__init__(optimizer, 'lr', **span)

    def factor(self, step: int) -> float:
        """What the first rate is multiplied by in a step, from 0; to be replaced."""
        return 1.0

    def _get_value(self) -> list[float]:
        return [value * self.factor(self.last_step) for value in self.base_values]


class NoticesNewWeights(nn.Module):
    """Mixin of modules that are told before their weights are moved, cast or loaded."""

    def weights_change(self) -> None:
        """Called before; to be replaced."""

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> NoticesNewWeights:
        self.weights_change()
        return super()._apply(fn, *args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.weights_change()
        super()._load_from_state_dict(*args, **kwargs)


class OpenMask2FormerHead:
    """Mixin before mmseg's ``Mask2FormerHead``, whose way from maps to segments can be replaced."""

    def segments_of(self, samples: list[Any]) -> tuple[list[Any], list[dict]]:
        """``InstanceData`` of segments, and meta information, by image; to be replaced."""
        return super()._seg_data_to_instance_data(samples)

    def _seg_data_to_instance_data(self, samples: list[Any]) -> tuple[list[Any], list[dict]]:
        return self.segments_of(samples)


def resolve_bases(prefix: str, find: Callable[[str], str]) -> None:
    """Let configs name files in ``_base_`` by a prefix; ``find`` knows the path of each.

    mmengine's own ``package::path`` is for a list of packages of OpenMMLab only, and writes the
    package into every part of the config as the scope to build it in.
    """
    plain = Config._get_cfg_path
    if getattr(plain, 'prefix', None) == prefix:
        return

    def get_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(prefix):
            return find(cfg_path), None
        return plain(cfg_path, filename)

    get_path.prefix = prefix
    Config._get_cfg_path = staticmethod(get_path)


def goes_on(runner: Runner) -> bool:
    """Whether a run goes on from a checkpoint of a swap; runners of others never do."""
    return isinstance(runner, OpenRunner) and bool(runner.resumes)


def window_of(optim_wrapper: OptimWrapper) -> int:
    """Iterations of a window of gradient accumulation."""
    return optim_wrapper._accumulative_counts


def version_of(tensor: Tensor) -> int:
    """How often a tensor was changed in place; one of inference mode has no version."""
    return tensor._version


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """Parameters of a module without those of its children; a change of the dict changes it."""
    return module._parameters


def own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers of a module without those of its children, repeated ones again."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            yield tensor


def children_of(module: nn.Module) -> dict[str, nn.Module | None]:
    """Children of a module by name; ``named_children`` leaves repeated ones out."""
    return module._modules


def has_hooks(module: nn.Module) -> bool:
    """Whether anything listens to the passes of a module."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def norms_of(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Euclidean norm of each tensor, launched together: scalars ``()`` of their dtypes."""
    return torch._foreach_norm(tensors)


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A contiguous tensor in another shape, which autograd does not take for a view."""
    return torch.ops.aten._unsafe_view(tensor, shape)


def compiler_error() -> type[Exception]:
    """What ``torch.compile`` raises; only its use imports the compiler."""
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def allow_recompilations(limit: int) -> None:
    """Let a compiled function have at least so many variants."""
    from torch._dynamo import config

    name = 'recompile_limit' if hasattr(config, 'recompile_limit') else 'cache_size_limit'
    setattr(config, name, max(getattr(config, name), limit))


def same_records(dataset: BaseDataset) -> BaseDataset:
    """A data set with the records of another, which are only read, and all else of its own."""
    found = copy.copy(dataset)
    found.pipeline, found._metainfo = copy.deepcopy((dataset.pipeline, dataset._metainfo))
    return found
