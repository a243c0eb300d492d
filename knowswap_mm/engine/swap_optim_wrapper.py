"""An optimizer wrapper that does not wait for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import autocast
from torch import nn
from torch.optim import Optimizer

from knowswap_mm.engine.device_scalars import DeviceScalars
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import OPTIM_WRAPPERS

#: How an optimizer computes, not what; it may differ between a run and the one that goes on.
_WAYS = ('foreach', 'fused', 'capturable')


@OPTIM_WRAPPERS.register_module()
class SwapOptimWrapper(OptimWrapper):
    """mmengine's ``OptimWrapper`` with bfloat16, and without a wait for the device in each step.

    In fp32 it computes, bit by bit, what ``OptimWrapper`` does; the norm that clipping finds is
    logged from the device (:class:`DeviceScalars`). bfloat16 has the range of fp32, so there is no
    loss scale: nothing is unscaled or looked through for infinities. It works on the CPU, too.

    State dicts are those of ``OptimWrapper``, and those of mmengine's wrappers can be loaded. The
    present config decides about ``fused``, ``foreach`` and ``capturable``, not the run that is
    resumed: ``optimizer=dict(type='AdamW', fused=True)`` may be added at any time.

    Args:
        optimizer (Optimizer): The optimizer.
        accumulative_counts (int): Iterations a step.
        clip_grad (dict | None): Arguments of torch's ``clip_grad_norm_``; of ``clip_grad_value_``
            with ``type='value'``. ``error_if_nonfinite=True`` waits for the device in each step.
        dtype (str | torch.dtype | None): ``bfloat16`` for autocast, None for the model's own.

    Raises:
        ConfigError: If the dtype is another one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        name = str(dtype).removeprefix('torch.')
        if name == 'float16':
            fix = "use type='AmpOptimWrapper' with dtype='float16', or dtype='bfloat16'"
            raise ConfigError('optim_wrapper.dtype', dtype, 'float16 needs a loss scale', fix)
        if dtype is not None and name != 'bfloat16':
            fix = "use 'bfloat16', or leave dtype out"
            raise ConfigError('optim_wrapper.dtype', dtype, 'no dtype of autocast', fix)
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.dtype = None if dtype is None else torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, on the device of the model.

        Args:
            model (nn.Module): The model.
        """
        with super().optim_context(model):
            if self.dtype is None:
                yield
                return
            device = next(model.parameters()).device.type
            with autocast(device_type=device, dtype=self.dtype):
                yield

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients, if the config says so, and update the parameters.

        Args:
            **kwargs: For the optimizer.
        """
        if self.clip_grad_kwargs:
            groups = self.optimizer.param_groups
            parameters = [p for group in groups for p in group['params'] if p.grad is not None]
            if parameters := [p for p in parameters if p.requires_grad]:
                norm = self.clip_func(parameters, **self.clip_grad_kwargs)
                if norm is not None:  # clipping by value gives none
                    DeviceScalars.of(self.message_hub).add({f'train/{self.grad_name}': norm})
        self.optimizer.step(**kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, also that of an ``AmpOptimWrapper``, whose loss scale is dropped.

        Args:
            state_dict (dict): What ``state_dict`` of a wrapper gave.
        """
        state = {key: value for key, value in state_dict.items() if key != 'loss_scaler'}
        own, saved = self.optimizer.param_groups, state['param_groups']
        if len(own) == len(saved):  # otherwise torch says what is wrong
            ways = [{key: group[key] for key in _WAYS if key in group} for group in own]
            state['param_groups'] = [a | b for a, b in zip(saved, ways, strict=True)]
        super().load_state_dict(state)
