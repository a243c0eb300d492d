"""Hooks of baselines that measure on a role how much each weight matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from torch import Tensor, nn

from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.compat import goes_on
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.models import ElasticWeightLoss
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import FORGET, RETAIN
from knowswap_mm.schedule import SwapPhase


def role_batches(
    runner: Any, role: str, samples: int, batch_size: int, purpose: str
) -> Iterator[dict[str, Any]]:
    """Serve some training samples of a role, the same ones whenever the seed is the same.

    They have their true labels (see :class:`RandomLabelRoleView`) and the training pipeline's
    augmentation. The stream of training samples is not touched, and every process gets them all.

    Args:
        runner (SwapRunner): The runner, in training.
        role (str): The role.
        samples (int): At most so many samples.
        batch_size (int): Samples in a batch; the last one may have less.
        purpose (str): Part of the seed by which they are chosen.

    Yields:
        dict: ``inputs`` and ``data_samples``, preprocessed for the host.
    """
    dataset = runner.train_dataloader.dataset
    span = dataset.span(role)
    rng = np.random.default_rng(derive_seed(purpose, runner.seed, role))
    chosen = [span[i] for i in rng.permutation(len(span))[:samples]]
    for start in range(0, len(chosen), batch_size):
        batch = pseudo_collate([dataset[i] for i in chosen[start : start + batch_size]])
        yield runner.swapper.data_preprocessor(batch, False)


@HOOKS.register_module()
class FisherHook(Hook):
    """Measures the Fisher information on retain data before training, for ElasticWeightLoss.

    The samples follow from the seed and the host from what every checkpoint holds, so a resumed run
    measures the same values again; nothing is stored.

    Args:
        samples (int): At most so many retain samples, each with a forward and a backward pass.

    Raises:
        ConfigError: If the number cannot be used, or the objective does not ask for it.
    """

    def __init__(self, samples: int = 512) -> None:
        check_whole('custom_hooks.FisherHook.samples', samples, 1, 512)
        self.samples = samples

    def before_train(self, runner: Any) -> None:
        """Measure."""
        objective = runner.swapper.swapping_loss
        if not isinstance(objective, ElasticWeightLoss):
            fix = "set model.loss = dict(type='knowswap_mm.ElasticWeightLoss') or drop FisherHook"
            problem = 'FisherHook measures for ElasticWeightLoss'
            raise ConfigError('model.loss.type', type(objective).__name__, problem, fix)
        if RETAIN not in runner.train_dataloader.dataset.views:
            fix = 'add train_dataloader.dataset.roles.retain'
            raise ConfigError('train_dataloader.dataset.roles', None, 'no retain data', fix)
        batches = role_batches(runner, RETAIN, self.samples, 1, 'fisher')
        objective.consolidate(runner.swapper, batches)


_KEY = 'saliency'


@HOOKS.register_module()
class SaliencyMaskHook(Hook):
    r"""Holds the less salient trainable entries still in phases with forget data.

    .. math:: m_i = 1 \text{ if } |\partial L_f / \partial \theta_i| \text{ is among the largest}

    over the entries of all trainable parameters, measured at the start of the phase in evaluation
    mode with the true labels. After SalUn (Fan et al., "SalUn: Empowering Machine Unlearning via
    Gradient-based Weight Saliency", 2024), which masks the fine-tuning on random labels; here any
    objective may be masked. Entries with zero gradient are never salient. The others get their
    values back after each step, since the decay of AdamW would move them without any gradient; a
    ``clip_grad`` still sees their gradients. The masks are in the checkpoints.

    Args:
        share (float): Share of the entries that may move.
        samples (int): At most so many forget samples.
        batch_size (int): Samples of a pass.

    Raises:
        ConfigError: If a value cannot be used.
    """

    #: Behind PhaseHook, which ends the phase before; ahead of the hook that saves checkpoints.
    priority = 'VERY_HIGH'

    def __init__(self, share: float = 0.5, samples: int = 1024, batch_size: int = 128) -> None:
        where = 'custom_hooks.SaliencyMaskHook'
        check_number(f'{where}.share', share, 'in (0, 1]', 0.5)
        for key, value in (('samples', samples), ('batch_size', batch_size)):
            check_whole(f'{where}.{key}', value, 1, 128)
        self.share, self.samples, self.batch_size = share, samples, batch_size
        self.masks: dict[str, Tensor] = {}
        self._phase: int | None = None
        self._held: dict[str, Tensor] = {}

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Measure the masks where a phase begins; take over those of a resumed run.

        Raises:
            CheckpointError: If a run is resumed inside a phase and the checkpoint has no masks.
        """
        phase = runner.swap_schedule.phase_at(runner.iter)
        if FORGET not in phase.roles:
            self._phase, self.masks, self._held = None, {}, {}
            return
        parameters = _trainable(runner.swapper)
        if runner.iter == phase.begin:
            self._measure(runner, phase, parameters)
        elif self._phase != phase.index:
            raise CheckpointError(
                f'The checkpoint holds no saliency mask of {phase.name}. Fix: resume from the '
                'checkpoint at the start of the phase, or without SaliencyMaskHook.'
            )
        if not self._held:
            self._held = {name: p.detach().clone() for name, p in parameters.items()}
            device = next(iter(parameters.values())).device
            self.masks = {name: mask.to(device) for name, mask in self.masks.items()}

    @torch.no_grad()
    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Give the entries that may not move their values back."""
        if not self.masks:
            return
        for name, parameter in _trainable(runner.swapper).items():
            parameter.copy_(torch.where(self.masks[name], parameter, self._held[name]))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the masks into the checkpoint."""
        if self._phase is not None:
            masks = {name: mask.cpu() for name, mask in self.masks.items()}
            checkpoint[_KEY] = dict(phase=self._phase, masks=masks)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take over the masks of the run that is resumed."""
        if goes_on(runner) and _KEY in checkpoint:
            self._phase, self.masks = checkpoint[_KEY]['phase'], dict(checkpoint[_KEY]['masks'])
            self._held = {}

    def _measure(self, runner: Any, phase: SwapPhase, parameters: dict[str, nn.Parameter]) -> None:
        host = runner.swapper.host
        sums = {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
        runner.model.eval()
        for batch in role_batches(runner, FORGET, self.samples, self.batch_size, 'saliency'):
            loss, _ = host.parse_losses(host.loss(batch['inputs'], batch['data_samples']))
            loss = loss * len(batch['data_samples'])
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient
        runner.model.train()
        self.masks = top_share(sums, self.share)
        self._phase, self._held = phase.index, {}
        moving = sum(int(mask.sum()) for mask in self.masks.values())
        total = sum(mask.numel() for mask in self.masks.values())
        runner.logger.info(f'{moving:,} of {total:,} trainable entries may move in {phase.name}')


def top_share(values: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mark the entries of largest magnitude over all tensors together, by bool tensors.

    Args:
        values (dict[str, Tensor]): The tensors.
        share (float): Share of all entries that is marked, in (0, 1]; ties at its edge are marked,
            zeros never.
    """
    sizes = torch.cat([value.abs().flatten() for value in values.values()])
    count = max(round(share * len(sizes)), 1)
    edge = sizes.kthvalue(len(sizes) - count + 1).values
    return {name: (value.abs() >= edge) & (value != 0) for name, value in values.items()}


def _trainable(swapper: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in swapper.named_parameters() if p.requires_grad}
