"""Tilted reweighting: what is left of the teacher's answer, tilted towards similar classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.checks import check_number
from knowswap_mm.errors import ConfigError
from knowswap_mm.models.losses.delete import DecoupledDistillationLoss
from knowswap_mm.models.losses.teacher import Teacher
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase


@MODELS.register_module()
class TiltedReweightingLoss(DecoupledDistillationLoss):
    r"""Distils the masked answers of the teacher, tilted by the similarity of classes.

    As :class:`DecoupledDistillationLoss`, but the target of a forgotten sample of class :math:`c`
    is

    .. math:: q_y \propto \bar p_t(y) \, \exp(\beta \, s_{cy}), \quad
        s_{cy} = \cos(w_c - \bar w, \, w_y - \bar w)

    over the classes :math:`y` that are not forgotten, where :math:`w` are the rows of the teacher's
    class layer and :math:`\bar w` their mean. Of all distributions with the same expected
    similarity, this one is nearest to :math:`\bar p_t`. The paper's reason: a model that never saw
    a class sends its images to the classes that look alike, more so than the masked answers do.

    After TRW (Ebrahimpour-Boroojeny et al., "On the Necessity of Output Distribution Reweighting
    for Effective Class Unlearning", 2025, arXiv 2506.20893). The form of the tilt is the paper's as
    we know it. Its similarity is a cosine of class weights as well, but in a projection on
    principal components and passed through a sharp softmax, whose settings we do not know; ours is
    the plain cosine of centred rows. So :math:`\beta` means something else here, and its default is
    our choice: rows of a trained head are nearly orthogonal, so that cosines are small. The other
    differences are those of :class:`DecoupledDistillationLoss`.

    Args:
        tilt (float): :math:`\beta`; 0 is :class:`DecoupledDistillationLoss`.
        temperature (float): As there, like ``retain_distance``.
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(
        self,
        tilt: float = 10.0,
        temperature: float = 1.0,
        retain_distance: float = 1.0,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(temperature, retain_distance, group_by, group_exclude)
        check_number('model.loss.tilt', tilt, '>= 0', 10.0)
        self.tilt = tilt
        # In a tuple, so that it is no buffer: it is made of the teacher.
        self._similarity: tuple[Tensor, ...] = ()

    def wants(self, phase: SwapPhase) -> Collection[str]:
        """Forget samples, for their labels."""
        return (FORGET,) if self.taught(phase) else ()

    def teach(self, teacher: Teacher | None, swapper: nn.Module) -> None:
        """Take the teacher, and measure the similarity of its classes.

        Raises:
            ConfigError: If the host has no single linear class layer.
        """
        super().teach(teacher, swapper)
        self._similarity = ()
        if teacher is not None:
            name = getattr(swapper.samples, 'layer', None)
            if name is None:
                raise self.refuse_host(type(swapper.host).__name__)
            rows = teacher.host.get_submodule(name).weight
            self._similarity = (similarity(rows[: teacher.known]),)

    def refuse_host(self, host: str) -> ConfigError:
        """It is the rows of a class layer that are compared."""
        problem = f'{host} has no linear class layer whose rows could be compared'
        fix = 'use knowswap_mm.DecoupledDistillationLoss, or a classifier with a linear head'
        return ConfigError('model.loss.type', type(self).__name__, problem, fix)

    def target(self, logits: Tensor, hidden: Tensor, found: SampleLosses | None = None) -> Tensor:
        """The tilted target of forgotten samples, by their labels; see the base class."""
        tilted = logits / self.temperature + self.tilt * self._similarity[0][found.labels]
        return F.softmax(tilted.masked_fill(hidden, -math.inf), dim=1)


@torch.no_grad()
def similarity(rows: Tensor) -> Tensor:
    """Cosines of the centred rows of a class layer.

    Args:
        rows (Tensor): A row a class, ``(K, D)``.

    Returns:
        Tensor: ``(K, K)``, float32.
    """
    rows = rows.detach().flatten(1).float()
    unit = F.normalize(rows - rows.mean(0), dim=1)
    return unit @ unit.T
