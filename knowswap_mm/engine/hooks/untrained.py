"""What happens when something that should train does not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from knowswap_mm.checks import check_choice
from knowswap_mm.errors import PhaseError
from knowswap_mm.lora.groups import block_of, list_elements
from knowswap_mm.lora.tensors import adapter_home
from knowswap_mm.models.trainable import check_not_frozen, check_trainable
from knowswap_mm.registry import HOOKS


class AdapterGradients:
    """Watches the gradients of adapters, without a wait, until it is asked what it saw (issue 24).

    The group-sparse term, too, gives each matrix a gradient: a multiple of the matrix. So what is
    no multiple of its matrix came from the task. That holds whatever the gradient is scaled with
    (weights, gradient accumulation, the loss scale of float16), and for B = 0 it is exact.

    Args:
        adapters (Mapping[str, nn.Parameter]): The matrices by full name.
    """

    def __init__(self, adapters: Mapping[str, nn.Parameter]) -> None:
        self._seen: dict[str, Tensor | None] = {_layer_of(name): None for name in adapters}
        self._bad: Tensor | None = None
        self._handles = [
            parameter.register_hook(partial(self._note, _layer_of(name), parameter))
            for name, parameter in adapters.items()
        ]

    @torch.no_grad()
    def _note(self, layer: str, matrix: nn.Parameter, gradient: Tensor) -> None:
        own, found = matrix.detach().flatten().float(), gradient.detach().flatten().float()
        along = (found @ own) / (own @ own).clamp_min(torch.finfo(torch.float32).tiny)
        rest, whole = (found - along * own).norm(), found.norm()
        bad = ~torch.isfinite(whole)
        reached = (rest > 16 * torch.finfo(gradient.dtype).eps * whole) & ~bad
        before = self._seen[layer]
        self._seen[layer] = reached if before is None else before | reached
        self._bad = bad if self._bad is None else self._bad | bad

    def called(self) -> list[str]:
        """Layers of which any gradient, be it zero, came here or in another process."""
        flags = torch.tensor([seen is not None for seen in self._seen.values()], dtype=torch.int32)
        flags = self._shared(flags).tolist()
        return [layer for layer, flag in zip(self._seen, flags, strict=True) if flag]

    def look(self) -> tuple[list[str], bool]:
        """Read what was seen; this waits for the device, and all processes must call it.

        Returns:
            tuple[list[str], bool]: Layers that the task did not reach in any process, and whether
            a gradient was not finite in one.
        """
        found = [seen for seen in (*self._seen.values(), self._bad) if seen is not None]
        blank = torch.zeros((), dtype=torch.bool, device=found[0].device if found else 'cpu')
        flags = [blank if seen is None else seen for seen in (*self._seen.values(), self._bad)]
        *reached, bad = self._shared(torch.stack(flags).int()).tolist()
        missing = [layer for layer, seen in zip(self._seen, reached, strict=True) if not seen]
        return missing, bool(bad)

    def _shared(self, flags: Tensor) -> Tensor:
        if get_world_size() > 1:
            device = next((s.device for s in self._seen.values() if s is not None), flags.device)
            flags = flags.to(device)
            all_reduce(flags, op='max')
        return flags

    def close(self) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def by_chance(model: nn.Module, layers: list[str]) -> list[str]:
    """Those layers whose block is left out at times: stochastic depth may have hidden them.

    The model has adapters and is in training mode.
    """
    elements = list_elements(model)
    blocks = {layer: model.get_submodule(block_of(layer, elements)) for layer in layers}
    return [layer for layer, block in blocks.items() if any(map(_drops, block.modules()))]


def _drops(module: nn.Module) -> bool:
    name = type(module).__name__
    if not module.training or not re.search(
        'drop_?(path|layer)|layer_?drop|stochastic', name, re.I
    ):
        return False
    rates = [getattr(module, key, 0) for key in ('drop_prob', 'p', 'drop_rate', 'prob')]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)


def patterns_of(missing: list[str], layers: list[str]) -> list[str]:
    """Regular expressions that match the names of ``missing`` and of no other of ``layers``."""
    others = [layer for layer in layers if layer not in set(missing)]
    found: dict[str, None] = {}
    for layer in missing:
        parts = layer.split('.')
        starts = ('.'.join(parts[:length]) + '.' for length in range(1, len(parts)))
        start = next((s for s in starts if not any(o.startswith(s) for o in others)), None)
        pattern = f'^{re.escape(start)}' if start else f'^{re.escape(layer)}$'
        found[pattern] = None
    return list(found)


def _layer_of(name: str) -> str:
    return re.split(r'\.lora_[AB]\.', name)[0]


_KEY = 'swap.untrained'
ACTIONS = ('stop', 'warn')
#: So long a layer may go without a gradient where chance can explain it.
_PATIENCE = 20


@HOOKS.register_module()
class UntrainedHook(Hook):
    """Stops a run in which adapters, or the head rows of the policy, do not train (issue 24).

    Where a phase begins, all that should train must require a gradient and have a learning rate;
    that nothing froze it is looked at after each iteration, which costs nothing.

    After the second iteration of the first phase that trains adapters, the gradients of the losses
    (not that of the group-sparse term) must have reached each adapter. Otherwise the run stops and
    names those layers: they lie in a stage that runs without gradients, are never called, or the
    losses do not depend on them. Three things make it wait longer, up to 20 iterations: a gradient
    accumulation without a step as yet, gradients that are not finite, and stochastic depth in the
    block of the layer. A run that was resumed is not looked at again.

    :class:`SwapRunner` adds it to every swap, with the action in ``swap.untrained``.

    Args:
        action (str): ``stop``, or ``warn`` for adapters that rightly get their first gradient late
            (experts, branches for objects that are rare).

    Raises:
        ConfigError: If the action is unknown.
    """

    #: After PhaseHook, which thaws and freezes.
    priority = 'LOW'

    def __init__(self, action: str = 'stop') -> None:
        check_choice(_KEY, action, ACTIONS, 'action')
        self.action = action
        self._wanted: dict[str, Any] | None = None
        self._gradients: AdapterGradients | None = None
        self._count = self._steps = self._steps_before = 0
        self._handle: Any = None

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Check what a phase trains where it begins, and begin to watch the adapters.

        Raises:
            ConfigError: If something that should train cannot.
        """
        phase = runner.swap_schedule.phase_at(runner.iter)
        if self._wanted is None or runner.iter == phase.begin:
            self._wanted = runner.swapper.should_train(phase)
            check_trainable(self._wanted, runner.optim_wrapper.optimizer)
            if phase.index == self._first(runner) and runner.iter == phase.begin:
                self._gradients = AdapterGradients(runner.swapper.adapters)
                self._count = self._steps = 0
                optimizer = runner.optim_wrapper.optimizer
                self._handle = optimizer.register_step_post_hook(self._after_step)
        self._steps_before = self._steps

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Check that all still trains, and look at the gradients when it is time.

        Raises:
            ConfigError: If something was frozen.
            PhaseError: If the task does not reach an adapter.
        """
        check_not_frozen(self._wanted)
        if self._gradients is None or not any(
            parameter.requires_grad for parameter in runner.swapper.adapters.values()
        ):
            return
        self._count += 1
        if self._count == 1 and is_model_wrapper(runner.model):
            # Such a wrapper does not survive an unused parameter: it would fail in the next
            # iteration, with a message that has no names.
            called = self._gradients.called()
            if missing := [layer for layer in self._layers(runner) if layer not in called]:
                self._report(runner, missing)
        elif self._count > 1 and self._steps_before:
            self._look(runner)

    def after_train(self, runner: Any) -> None:
        """Watch no more."""
        self._close()

    def _look(self, runner: Any) -> None:
        missing, bad = self._gradients.look()
        if missing and self._count < _PATIENCE:
            if bad or missing == by_chance(runner.swapper.host, missing):
                return
        if missing:
            self._report(runner, missing)
        self._close()

    def _report(self, runner: Any, missing: list[str]) -> None:
        layers, phase = self._layers(runner), runner.swap_schedule.phase_at(runner.iter)
        self._close()
        shown = ', '.join(missing[:4]) + (f' and {len(missing) - 4} more' if missing[4:] else '')
        problem = (
            f'{self._count} iterations of {phase.name} gave the adapters of {len(missing)} of '
            f'{len(layers)} layers no gradient of a loss: {shown}.'
        )
        if len(missing) == len(layers):
            fix = (
                'look at weights and bound of swap.phases (a forget loss above its bound has no '
                'gradient), and at what makes the host run without gradients'
            )
        else:
            home = adapter_home(runner.swapper.host, runner.swapper.adapter_name)
            names = ([n.removeprefix(f'{home}.') for n in each] for each in (missing, layers))
            key = 'model.host.backbone.lora' if home else 'model.lora'
            fix = (
                f'leave them out with {key}.exclude = {patterns_of(*names)}, or by {key}.targets; '
                'or have the host use and train them (frozen_stages, with_cp, out_indices)'
            )
        message = f"{problem} Fix: {fix}. {_KEY} = 'warn' would go on without them."
        if self.action == 'stop':
            raise PhaseError(message)
        runner.logger.warning(message)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._steps += 1

    def _close(self) -> None:
        if self._gradients is not None:
            self._gradients.close()
            self._handle.remove()
            self._gradients = None

    @staticmethod
    def _first(runner: Any) -> int | None:
        """Index of the first phase that trains adapters."""
        phases = runner.swap_schedule.phases if runner.swapper.adapters else ()
        return next((phase.index for phase in phases if phase.kind != 'expand'), None)

    @staticmethod
    def _layers(runner: Any) -> list[str]:
        return list(dict.fromkeys(name.rsplit('.lora_', 1)[0] for name in runner.swapper.adapters))
