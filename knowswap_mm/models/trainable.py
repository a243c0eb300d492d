"""What of a model trains, whatever its host does about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn
from torch.optim import Optimizer

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.injector import lora_layers


@contextmanager
def keep_trainable(model: nn.Module, mode: bool) -> Iterator[None]:
    """Undo what ``train()`` of a host does to the set of what trains (issue 24).

    Many backbones freeze stages in ``train()``: they switch gradients off and put modules into
    evaluation mode, the adapters in them, too.

    Args:
        model (nn.Module): The model whose mode is set inside the block.
        mode (bool): The mode: the dropout of adapters follows it.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    yield
    for parameter, wanted in before:
        if parameter.requires_grad != wanted:
            parameter.requires_grad_(wanted)
    for _, layer in lora_layers(model):
        layer.lora_dropout.train(mode)


def check_trainable(wanted: Mapping[str, nn.Parameter], optimizer: Optimizer) -> None:
    """Refuse a run in which something that should train, by name, does not.

    Raises:
        ConfigError: If a parameter is frozen, is not given to the optimizer, or has the learning
            rate 0.
    """
    check_not_frozen(wanted)
    rates = {
        id(parameter): group.get('initial_lr', group['lr'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    if missing := [name for name, p in wanted.items() if id(p) not in rates]:
        fix = 'use a constructor that gives the optimizer all parameters (the default one does)'
        problem = f'the optimizer did not get {_named(missing)}, which should train'
        raise ConfigError('optim_wrapper.constructor', type(optimizer).__name__, problem, fix)
    if still := [name for name, p in wanted.items() if rates[id(p)] == 0]:
        fix = 'set optimizer.lr, and each lr_mult in paramwise_cfg, above 0'
        problem = f'it is the learning rate of {_named(still)}, which should train'
        raise ConfigError('optim_wrapper.optimizer.lr', 0, problem, fix)


def check_not_frozen(wanted: Mapping[str, nn.Parameter]) -> None:
    """Refuse a run in which something that should train was frozen; costs no look at the device.

    Raises:
        ConfigError: If a parameter requires no gradient.
    """
    if frozen := [name for name, p in wanted.items() if not p.requires_grad]:
        fix = 'take out what freezes it: a hook, or a key such as frozen_stages or freeze'
        problem = 'the host, or a hook, has frozen what should train'
        raise ConfigError('model.host', _named(frozen), problem, fix)


def _named(names: list[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
