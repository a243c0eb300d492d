"""The models that learn, forget and retain: through adapters, or by training all weights."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import torch
from peft.functional import set_adapter
from torch import Tensor, nn

from knowswap_mm.checks import check_flag
from knowswap_mm.compat import BatchNorm
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters, lora_layers
from knowswap_mm.lora.tensors import adapter_names
from knowswap_mm.models.head import apply_head_policy
from knowswap_mm.models.losses.objective import WeightedSumLoss
from knowswap_mm.models.role_model import RoleModel
from knowswap_mm.models.trainable import keep_trainable
from knowswap_mm.registry import MODELS
from knowswap_mm.schedule import SwapPhase, SwapSchedule


@MODELS.register_module()
class KnowledgeSwapper(RoleModel):
    """Wraps any host model; everything but adapters (and head rows, by policy) is frozen.

    The adapters are injected when the model is built. With ``adapters`` the swap builds on earlier
    ones: their adapters lie frozen beneath the new one, the base checkpoint is loaded, and the
    class rows are those that the last of them ended with.

    Args:
        host (dict): As for :class:`RoleModel`, like all other arguments.

    Raises:
        ConfigError: If a part of the config does not fit the host.
        CheckpointError: If the earlier adapters do not fit the host or one another.
    """

    def choose_trained(
        self, host: nn.Module, lora: dict[str, Any] | None
    ) -> dict[str, nn.Parameter]:
        """Inject earlier adapters and the new one, of which only the new one trains."""
        own = adapter_names(host)
        if self.stack and (lora is None or own):
            fix = 'set model.lora, and use an ordinary backbone'
            problem = 'earlier adapters lie beneath one of model.lora only'
            folders = [str(each.folder) for each in self.stack.contents]
            raise ConfigError('model.adapters', folders, problem, fix)
        self.stack.inject(host)
        names = [tensor.name for tensor in self.class_rows.tensors]
        owners = [name.removesuffix('.weight').removesuffix('.bias') for name in names]
        if lora is not None:
            injector = LoRAInjector.from_config(lora)
            name = injector.adapter_name
            if name in adapter_names(host):
                fix = f"use another word than {self.stack.names}, e.g. 'default'"
                problem = 'is the name of an earlier adapter'
                raise ConfigError('model.lora.adapter_name', name, problem, fix)
            injector.inject(host, owners)
            own = [name]
        if not own:
            fix = 'set model.lora = dict(rank=8, alpha=1), or use a LoRABackbone in model.host'
            raise ConfigError('model.lora', lora, 'the host has no adapter to train', fix)
        self.adapter_name = own[-1]
        set_adapter(host, [*self.stack.names, *own])
        host.requires_grad_(False)
        self.adapters = adapter_parameters(host, self.adapter_name)
        for parameter in self.adapters.values():
            parameter.requires_grad_(True)
        adapted = {name for name, _ in lora_layers(host)}
        for owner in owners:
            if owner in adapted:
                fix = "leave it out of the targets; model.head.policy = 'new_rows' trains a head"
                problem = 'has a row a class and can take no adapter'
                raise ConfigError('model.lora.targets', owner, problem, fix)
        return apply_head_policy(host, self.class_rows, self.head_policy)

    def rows_of_the_start(self) -> dict[str, Tensor]:
        """All class-indexed tensors: beside the adapters nothing else moves."""
        state = self.host.state_dict()
        return {tensor.name: state[tensor.name] for tensor in self.class_rows.tensors}

    def train(self, mode: bool = True) -> KnowledgeSwapper:
        """Set the mode; batch norms stay in evaluation mode, their statistics are frozen.

        What trains stays what it is, whatever the ``train()`` of the host freezes.
        """
        with keep_trainable(self, mode):
            super().train(mode)
        for module in self.host.modules():
            if isinstance(module, BatchNorm):
                module.eval()
        return self

    def set_trainable(self, phase: SwapPhase) -> bool:
        """Freeze the adapters in an ``expand`` phase, and let them train in the others.

        Raises:
            ConfigError: If an ``expand`` phase has no head rows of its own to train.
        """
        expand = phase.kind == 'expand'
        if expand and self.head_policy != 'new_rows':
            fix = "set model.head.policy = 'new_rows'"
            problem = 'an expand phase trains the new head rows only'
            raise ConfigError('model.head.policy', self.head_policy, problem, fix)
        changed = any(p.requires_grad == expand for p in self.adapters.values())
        for parameter in self.adapters.values():
            parameter.requires_grad_(not expand)
        return changed


@MODELS.register_module()
class FullTrainingSwapper(RoleModel):
    """Trains every weight of the host, without adapters, on the same batches by role.

    It is what swaps are compared with: trained from random weights (``load_from=None`` and
    ``swap.allow_random_host=True``) in one ``learn`` phase, it is the reference of an audit, a
    model that never saw the forget set; from pretrained weights it is ordinary fine-tuning. Its
    checkpoints hold no adapters: the audit and the export take them as they are. No rows of the
    start are kept: where all weights move, rows alone bring nothing back.

    Args:
        host (dict): As for :class:`RoleModel`, like all other arguments. ``lora`` and ``adapters``
            must be left out, and the only head policy is ``all``.
        one_batch (bool): Whether the host sees the images of all roles as one batch, padded to one
            size, instead of role by role. Its head then runs once an iteration. Roles count by
            their number of images, and no loss of a single role is logged.

    Raises:
        ConfigError: If the config asks for adapters or for frozen rows, or with ``one_batch`` for
            weights that are not those of one batch.
    """

    def __init__(self, host: dict[str, Any], one_batch: bool = False, **settings: Any) -> None:
        check_flag('model.one_batch', one_batch)
        super().__init__(host, **settings | (dict(fuse='always') if one_batch else {}))
        self.one_batch = one_batch

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse, too, phases whose roles cannot be one batch."""
        super().check(schedule)
        if not self.one_batch:
            return
        fix = 'leave model.one_batch out'
        if type(self.swapping_loss) is not WeightedSumLoss:
            name = type(self.swapping_loss).__name__
            problem = 'needs the loss of each role, and model.one_batch has that of all together'
            raise ConfigError('model.loss.type', name, problem, fix)
        for phase in schedule.phases:
            weights = {role: phase.weights[role] for role in phase.roles}
            numbers = {role: phase.split[role] for role in phase.roles}
            shares = [weights[role] / number for role, number in numbers.items()]
            if not math.isclose(min(shares), max(shares), rel_tol=1e-6):
                problem = f'in one batch, as model.one_batch asks, roles count like {numbers}'
                key = f'swap.phases.{phase.index}.weights'
                raise ConfigError(key, weights, problem, f'give them such weights, or {fix}')

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, list[Any]]
    ) -> dict[str, Tensor]:
        """Compute the terms of the phase's objective, with ``one_batch`` a single one."""
        if not self.one_batch:
            return super().loss(inputs, data_samples)
        images = dict(all=torch.cat(list(inputs.values())))
        samples = list(chain.from_iterable(data_samples.values()))
        features = self.fused.extract(self.host, images)
        with self.fused.lend(self.host, features, 'all'):
            losses = self.host.loss(images['all'], samples)
        return dict(loss_all=self._parse_host_losses(losses)[0])

    def choose_trained(
        self, host: nn.Module, lora: dict[str, Any] | None
    ) -> dict[str, nn.Parameter]:
        """Leave the host as it was built: what its config freezes stays frozen."""
        asked = {'model.lora': lora, 'model.adapters': [str(c.folder) for c in self.stack.contents]}
        for key, value in asked.items():
            if value:
                fix = "leave it out, or set model.type = 'knowswap_mm.KnowledgeSwapper'"
                raise ConfigError(key, value, 'all weights train here, without adapters', fix)
        if self.head_policy != 'all':
            fix = "set model.head.policy = 'all', or leave it out"
            problem = 'all weights train here, those of the head, too'
            raise ConfigError('model.head.policy', self.head_policy, problem, fix)
        parameters = dict(host.named_parameters())
        names = [tensor.name for tensor in self.class_rows.tensors if tensor.name in parameters]
        return {name: parameters[name] for name in names}

    def train(self, mode: bool = True) -> FullTrainingSwapper:
        """Set the mode; batch norms learn their statistics, as in any training.

        The class rows train, whatever the ``train()`` of the host freezes.
        """
        rows = nn.ParameterList(self.head_rows.values())
        with keep_trainable(rows, mode):
            return super().train(mode)

    def set_trainable(self, phase: SwapPhase) -> bool:
        """Refuse phases that are about adapters; nothing is frozen.

        Raises:
            ConfigError: If the phase is an ``expand`` phase or weighs the group-sparse term.
        """
        key = f'swap.phases.{phase.index}'
        if phase.kind == 'expand':
            fix = "use model.type = 'knowswap_mm.KnowledgeSwapper', or a learn phase"
            raise ConfigError(f'{key}.kind', phase.kind, 'it trains the new head rows only', fix)
        if phase.weights['sparsity'] > 0:
            problem = 'the sparse term is over adapters, and there are none'
            value = phase.weights['sparsity']
            raise ConfigError(f'{key}.weights.sparsity', value, problem, 'set it to 0')
        return False
