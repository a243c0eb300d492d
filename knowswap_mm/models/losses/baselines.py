"""Objectives that swaps are compared with: ascent, an elastic penalty, distillation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.checks import check_number
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.injector import adapter_parameters, lora_layers
from knowswap_mm.models.losses.objective import WeightedSumLoss
from knowswap_mm.models.losses.swapping import SwappingLoss
from knowswap_mm.models.losses.teacher import logits_of
from knowswap_mm.models.original import original_host
from knowswap_mm.models.preprocessor import to_device
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule import SwapPhase, SwapSchedule


def diagonal_fisher(
    host: nn.Module, names: Sequence[str], samples: Iterable[dict[str, Any]]
) -> dict[str, Tensor]:
    r"""Estimate the diagonal of the empirical Fisher information matrix.

    .. math:: F_i = \frac{1}{N} \sum_n \left( \partial L(x_n, y_n) / \partial \theta_i \right)^2

    with the host's own loss and the labels of the data. Squares are taken sample by sample: the
    square of a batch's mean gradient is another, smaller quantity.

    Args:
        host (nn.Module): A plain host; its parameters of these names will require gradients.
        names (Sequence[str]): Full names of the weights.
        samples (Iterable[dict]): ``inputs`` and ``data_samples`` of one sample each, preprocessed.

    Returns:
        dict[str, Tensor]: Values of the diagonal by name, in the shapes of the weights.
    """
    weights = [host.get_parameter(name).requires_grad_(True) for name in names]
    sums = [torch.zeros_like(weight, requires_grad=False) for weight in weights]
    count = 0
    with torch.enable_grad():
        for sample in samples:
            loss, _ = host.parse_losses(host.loss(sample['inputs'], sample['data_samples']))
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient.detach().square()
            count += 1
    return {name: total / max(count, 1) for name, total in zip(names, sums, strict=True)}


@MODELS.register_module()
class GradientAscentLoss(WeightedSumLoss):
    r"""Ascends the loss of the forget data for as long as the phase lasts.

    .. math:: w_l L_l + w_r L_r - w_f L_f + w_s S

    with the terms whose role the phase has; the phase has ``bound='none'``. Nothing ends the ascent
    (gradient ascent of Thudi et al., "Unrolling SGD", 2022, beside descent on retained data):
    a total that is no longer finite is for :class:`PhaseHook` to report.

    Args:
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.
    """

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted term; that of the forget data has the opposite sign."""
        sign = -1 if role == FORGET else 1
        return {f'loss_{role}': sign * phase.weights[role] * loss}


@MODELS.register_module()
class ElasticWeightLoss(SwappingLoss):
    r"""Adds the elastic penalty to :class:`SwappingLoss`, in every phase.

    .. math:: \frac{\lambda}{2} \sum_i F_i \, (\theta_i - \theta_i^{start})^2

    Elastic weight consolidation (Kirkpatrick et al., "Overcoming catastrophic forgetting in neural
    networks", 2017). :math:`F` is the diagonal Fisher information of the host before the swap on
    retain data, see :class:`FisherHook`. Adapters count by what they do to the weight: with
    ``B = 0`` the Fisher information of A is zero, so :math:`\theta - \theta^{start}` is the scaled
    product ``B A`` of a layer. Trainable rows of old classes count by their difference; rows of
    new classes held no knowledge at the start and are free.

    Args:
        strength (float): :math:`\lambda`.
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.

    Raises:
        ConfigError: If the strength cannot be used.
    """

    def __init__(
        self, strength: float = 1.0, group_by: str = 'block', group_exclude: Sequence[str] = ()
    ) -> None:
        super().__init__(group_by, group_exclude)
        check_number('model.loss.strength', strength, '>= 0', 1.0)
        self.strength = strength
        # Neither modules nor buffers: the values are computed from what is stored anyway.
        self._layers: dict[str, nn.Module] = {}
        self._rows: dict[str, nn.Parameter] = {}
        self._start: dict[str, Tensor] = {}
        self._fisher: dict[str, Tensor] | None = None

    def attach(self, model: nn.Module) -> None:
        """Find adapters and trainable rows of the model, too."""
        super().attach(model)
        self._layers = {f'{name}.weight': layer for name, layer in lora_layers(model)}
        adapters = adapter_parameters(model)
        self._rows = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in adapters
        }

    def consolidate(self, swapper: nn.Module, samples: Iterable[dict[str, Any]]) -> None:
        """Measure the Fisher information of a swapper's host before the swap, at any time of it.

        The samples are of retain data, one each, as for :func:`diagonal_fisher`.
        """
        host, rows, start = original_host(swapper), swapper.class_rows, swapper.start_rows.tensors()
        names = [tensor.name for tensor in rows.tensors if tensor.name in self._rows]
        self._start = {name: start[name] for name in names}
        fisher = diagonal_fisher(host, [*self._layers, *self._start], samples)
        for tensor in rows.tensors:
            if tensor.name in self._start:
                tensor.layout.new_view(fisher[tensor.name], rows.old).zero_()
        self._fisher = fisher

    def penalty(self) -> Tensor:
        """The weighted square of all changes, without strength; a scalar.

        Raises:
            ConfigError: If the Fisher information was not measured.
        """
        if self._fisher is None:
            fix = "add dict(type='knowswap_mm.FisherHook') to custom_hooks"
            problem = 'the Fisher information was not measured'
            raise ConfigError('custom_hooks', None, problem, fix)
        device = next(iter(self._fisher.values())).device
        # Changes are small beside the steps of bfloat16.
        with torch.autocast(device.type, enabled=False):
            parts = [
                (fisher * self._change(name).float().square()).sum()
                for name, fisher in self._fisher.items()
            ]
            return torch.stack(parts).sum()

    def _change(self, name: str) -> Tensor:
        if name in self._rows:
            return self._rows[name] - self._start[name]
        layer = self._layers[name]
        return sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)

    def common_terms(self, phase: SwapPhase) -> dict[str, Tensor]:
        """The group-sparse term and the penalty."""
        terms, value = super().common_terms(phase), self.penalty()
        return terms | dict(loss_elastic=self.strength / 2 * value, elastic=value.detach())


@MODELS.register_module()
class DistillationForgettingLoss(WeightedSumLoss):
    r"""Stays with the model of the start on retained data and leaves it on forget data.

    .. math::
        w_l L_l + w_r (L_r + \alpha D_r) - w_f D_f + w_s S, \quad
        D = T^2 \, \mathrm{KL}(p_t^{1/T} \,\Vert\, p_s^{1/T})

    in phases with forget data, which have ``bound='none'``; other phases are a plain weighted sum.
    The teacher :math:`p_t` is the host before the swap, :math:`p_s` the present one, both over the
    classes that the teacher knows; samples of learned classes, which it does not, count in
    :math:`L_r` alone. The distance :math:`D_f` takes the place of the host's loss on forget data.

    After SCRUB (Kurmanji et al., "Towards Unbounded Machine Unlearning", 2023), which alternates
    steps that maximise :math:`D_f` with steps that minimise the rest and ends with the latter.
    A batch of ours holds both roles, so a step does both at once; the steps at the end are a
    further forget phase with the weight ``forget=0``.

    Args:
        temperature (float): :math:`T`.
        retain_distance (float): :math:`\alpha`.
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(
        self,
        temperature: float = 2.0,
        retain_distance: float = 1.0,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(group_by, group_exclude)
        check_number('model.loss.temperature', temperature, '> 0', 2.0)
        check_number('model.loss.retain_distance', retain_distance, '>= 0', 1.0)
        self.temperature, self.retain_distance = temperature, retain_distance
        # In a tuple, so that it is no submodule: it is made from what is stored anyway.
        self._teacher: tuple[nn.Module, ...] = ()

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a bound, and drop the teacher of an earlier training.

        Raises:
            ConfigError: If a phase with forget data has a finite bound.
        """
        super().check(schedule)
        self._teacher = ()

    def measure(
        self, swapper: nn.Module, role: str, inputs: Tensor, samples: list[Any], phase: SwapPhase
    ) -> dict[str, Tensor]:
        """The ``distance`` to the teacher, of forget and retain data of a phase that forgets.

        Raises:
            ConfigError: If the host gives no logits of ``(N, classes)``.
        """
        if FORGET not in phase.roles or role == LEARN:
            return {}
        if not self._teacher:
            self._teacher = (original_host(swapper),)
        total, name = swapper.class_rows.total, type(self).__name__
        student = logits_of(swapper.host, inputs, total, name)
        with torch.no_grad():
            teacher = logits_of(self._teacher[0], inputs, total, name)
        known = torch.tensor([sample.get('source', role) != LEARN for sample in samples])
        rows = to_device(known, student.device, pin=True)
        old = swapper.class_rows.old
        return dict(distance=self.distance(teacher[:, :old], student[:, :old], rows))

    def distance(self, teacher: Tensor, student: Tensor, rows: Tensor | None = None) -> Tensor:
        """Mean divergence of the student from the teacher.

        Args:
            teacher (Tensor): Logits, ``(N, classes)``.
            student (Tensor): Logits, ``(N, classes)``.
            rows (Tensor | None): Samples that count, bool ``(N, )``; None for all. Zero if none.

        Returns:
            Tensor: The scalar, in nats, times the squared temperature.
        """
        target = F.log_softmax(teacher.float() / self.temperature, dim=1)
        found = F.log_softmax(student.float() / self.temperature, dim=1)
        each = F.kl_div(found, target, reduction='none', log_target=True).sum(1)
        counted = torch.ones_like(each) if rows is None else rows.to(each.dtype)
        return self.temperature**2 * (each * counted).sum() / counted.sum().clamp(min=1)

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted terms, with the ``distance`` where it was measured; it is logged, too."""
        if 'distance' not in measured:
            return super().role_terms(role, loss, phase, measured)
        distance, weight = measured['distance'], phase.weights[role]
        terms = {f'{role}/distance': distance.detach()}
        if role == RETAIN:
            terms['loss_retain'] = weight * loss
            terms['loss_retain_distance'] = weight * self.retain_distance * distance
        else:
            terms['loss_forget'] = -weight * distance
        return terms
