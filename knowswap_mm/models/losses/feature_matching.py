"""The objective that empties the features of forgotten classes, too ("deep forgetting")."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.errors import ConfigError
from knowswap_mm.models.deep_forgetting.class_means import ClassMeans
from knowswap_mm.models.deep_forgetting.distances import (
    discrepancy,
    divergence,
    mixture,
    surest,
    taken_for,
)
from knowswap_mm.models.deep_forgetting.queue import FeatureQueue, gathered
from knowswap_mm.models.frozen_state import FrozenState
from knowswap_mm.models.losses.objective import WeightedSumLoss
from knowswap_mm.models.samples import SampleLosses
from knowswap_mm.registry import MODELS
from knowswap_mm.roles import FORGET
from knowswap_mm.schedule import SwapPhase

#: Limits of the weight that is steered, as factors on the given one.
LEAST, MOST = 0.01, 10.0
#: A probe that is so far above its target, as a share, or farther, changes the weight by the factor
#: e; one that is so far below it draws the features back with the weight 1.
STEP = 0.1
#: How sure to be, as a share of how sure the teacher is, where no class was unseen before.
UNKNOWN = 0.5

#: At each place which samples have features there, and these.
Places = list[tuple[Tensor, Tensor]]


@MODELS.register_module()
class FeatureMatchingLoss(WeightedSumLoss):
    r"""Gives forgotten classes the answers and the features of what the model keeps (issue 27).

    In phases with forget data, which have ``bound='none'``; other phases are a plain weighted sum.

    .. math::
        w_r (L_r + \kappa D_T(p_t \Vert p_s)) + w_f \left( D(\tilde p_t \Vert p_s)
        + \mathrm{mean}_{c, l} \, \lambda_l \, \mathrm{MMD}^2(h_l(x_c), Q_l(\pi_c)) \right) + w_s S

    The teacher :math:`p_t` is the model at the start of the phase. What a forgotten class
    :math:`c` would be taken for, :math:`\pi_c`, are the shares of its samples that lie nearest to
    the mean of each kept class in the teacher's features. The features of these samples are
    matched with a mixture of those of kept samples with shares :math:`\pi_c`, from a queue
    :math:`Q_l` for each place :math:`l` (see :func:`discrepancy`): of a classifier the last
    ``blocks`` blocks and what the class layer sees, of a transformer's decoder each layer. The
    answers :math:`\tilde p_t` are half :math:`\pi_c` and half what the sample itself lies nearest
    to. A head that can say that there is nothing (a row of no object, or sigmoids) gives them as
    surely as the host, before the swap, took objects of the learn classes for something, which it
    had never seen: samples that lie nearest to what is kept the most surely.

    :math:`\lambda_l` is steered in both directions by :class:`FeatureMatchingHook`: a model that
    never saw a class tells its images apart, too, and features that say less give the class away.

    Args:
        strength (float): :math:`\lambda_l` at the start of a phase, and a tenth of its maximum.
        target (float | None): Share of held-out forget samples that a few examples a class should
            bring back at each place; None takes what the hook finds, see :func:`target_of`.
        keep (float): :math:`\kappa`.
        temperature (float): :math:`T`, for the answers on what is kept.
        blocks (int): Blocks of a classifier's backbone whose features are matched, at most.
        queue (int): Entries of a queue.
        every (int): Iterations between two probes.
        group_by (str): As for :class:`WeightedSumLoss`, like ``group_exclude``.

    Raises:
        ConfigError: If a value cannot be used.
    """

    hook = 'knowswap_mm.FeatureMatchingHook'
    beneath = True
    #: A share that is to be right within some points needs more samples than the guard's losses,
    #: and of each class the five examples and as many to try.
    held_out = dict(held_most=256, held_each=10)

    def __init__(
        self,
        strength: float = 2.0,
        target: float | None = None,
        keep: float = 1.0,
        temperature: float = 2.0,
        blocks: int = 12,
        queue: int = 768,
        every: int = 10,
        group_by: str = 'block',
        group_exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(group_by, group_exclude)
        key = 'model.loss'
        check_number(f'{key}.strength', strength, '> 0', 2.0)
        if target is not None:
            check_number(f'{key}.target', target, 'in [0, 1]', 'use None, or a share, e.g. 0.6')
        check_number(f'{key}.keep', keep, '>= 0', 1.0)
        check_number(f'{key}.temperature', temperature, '> 0', 2.0)
        for name, value, least in (('blocks', blocks, 0), ('queue', queue, 1), ('every', every, 1)):
            check_whole(f'{key}.{name}', value, least, dict(blocks=12, queue=768, every=10)[name])
        self.strength, self.target = float(strength), target
        self.keep, self.temperature = keep, temperature
        self.blocks, self.queue, self.every = blocks, queue, every
        #: Labels of the forgotten classes; the hook tells them.
        self.forgotten: tuple[int, ...] | None = None
        #: How sure the host was of taking objects that it never saw for something, in order, by
        #: place; the hook tells it, too. None of them where nobody can know.
        self.unseen: list[Tensor] = []
        self.begin(None)

    def begin(self, phase: SwapPhase | None) -> None:
        """Begin a phase, in which nothing was seen yet."""
        self.phase: int | None = None if phase is None else phase.index
        #: By place; none before the first probe.
        self.weights: list[float] = []
        self.back: list[float] = []
        self.teacher: FrozenState | None = None
        self.queues: list[FeatureQueue] = []
        self.means: list[ClassMeans] = []
        #: Whether the head can say that there is nothing.
        self.nothing = False
        self._taught: dict[str, SampleLosses] = {}

    def steer(self, found: Sequence[float], target: Sequence[float], spare: float = 1.0) -> None:
        """Change the weights after a probe found shares at all places and not the targets.

        Args:
            found (Sequence[float]): Shares that few examples brought back, by place.
            target (Sequence[float]): Those that they should.
            spare (float): What may still be lost of what is kept, as a share of what may be lost in
                all; below 0 too much is lost already, and the weights shrink whatever was found.
        """
        low, high = LEAST * self.strength, MOST * self.strength
        over = [each - wanted for each, wanted in zip(found, target, strict=True)]
        powers = [each / STEP if spare > 0 else min(each / STEP, spare) for each in over]
        self.weights = [
            min(max(weight * math.exp(min(max(power, -1.0), 1.0)), low), high)
            for weight, power in zip(self._weights(len(found)), powers, strict=True)
        ]
        self.back = [max(-each, 0.0) / STEP for each in over]

    def _weights(self, count: int) -> list[float]:
        """Weights of so many places; the given one before the first probe."""
        return self.weights or [self.strength] * count

    def to_dict(self) -> dict[str, Any]:
        """What a resumed run must know, for a checkpoint."""
        teacher = None if self.teacher is None else self.teacher.to_dict()
        queues, means = ([each.to_dict() for each in them] for them in (self.queues, self.means))
        kept = dict(teacher=teacher, queues=queues, means=means, unseen=self.unseen)
        return dict(phase=self.phase, weights=self.weights, back=self.back, **kept)

    def take_over(self, data: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what :meth:`to_dict` gave."""
        self.phase = data['phase']
        self.weights, self.back = list(data['weights']), list(data['back'])
        self.teacher = None if data['teacher'] is None else FrozenState(data['teacher'])
        self.queues = [FeatureQueue.from_dict(each, device) for each in data['queues']]
        self.means = [ClassMeans.from_dict(each, device) for each in data['means']]
        self.unseen = list(data['unseen'])

    def wants(self, phase: SwapPhase) -> Collection[str]:
        """All samples of a phase that forgets."""
        return phase.roles if FORGET in phase.roles else ()

    def blocks_in(self, phase: SwapPhase) -> int:
        """The same of the blocks."""
        return self.blocks if FORGET in phase.roles else 0

    def prepare(
        self,
        swapper: nn.Module,
        inputs: Mapping[str, Tensor],
        samples: Mapping[str, list[Any]],
        phase: SwapPhase,
    ) -> None:
        """Let the teacher look at the batch; at the start of a phase it is the present model.

        Raises:
            ConfigError: If nobody said which classes are forgotten.
        """
        if FORGET not in phase.roles:
            return
        if self.forgotten is None:
            fix = f"add dict(type='{self.hook}') to custom_hooks"
            raise ConfigError('custom_hooks', None, 'nobody said what is forgotten', fix)
        if self.phase != phase.index:
            self.begin(phase)
        if self.teacher is None:
            self.teacher = FrozenState.of(swapper)
        self._taught = self.teacher.samples(swapper, inputs, samples, self.blocks)
        taught = next(iter(self._taught.values()))
        self.nothing = says_nothing(swapper, taught)
        fresh, classes = not self.queues, swapper.class_rows.total
        for role in self._taught:
            if role != FORGET:
                self._learn_means(self._taught[role], classes)
                if fresh:
                    self._remember(self._taught[role])

    def measure(
        self,
        swapper: nn.Module,
        role: str,
        inputs: Tensor,
        samples: list[Any],
        phase: SwapPhase,
        found: SampleLosses | None = None,
    ) -> dict[str, Tensor]:
        """The distances to the teacher, and for forget data that to the queue."""
        if found is None:
            return {}
        taught, sigmoid = self._taught.pop(role), swapper.samples.sigmoid
        with torch.autocast(found.logits.device.type, enabled=False):
            if role != FORGET:
                each = divergence(taught.logits, found.logits, sigmoid, self.temperature)
                self._remember(found)
                return dict(answers=each.sum() / max(len(found), 1))
            return self._forget(taught, found, swapper.class_rows.total, sigmoid)

    def _forget(
        self, taught: SampleLosses, found: SampleLosses, count: int, sigmoid: bool
    ) -> dict[str, Tensor]:
        classes = torch.tensor(self.forgotten, device=found.labels.device)
        members = (found.labels[:, None] == classes).float()
        seen, shown = (places(each, len(self.queues)) for each in (taught, found))
        nearest = members.new_zeros(len(found), count)
        sure = members.new_zeros(len(found)) if self.nothing else None
        for place, (means, (rows, features)) in enumerate(zip(self.means, seen, strict=True)):
            votes, closeness = means.nearest(features, classes)
            nearest[rows] += votes
            if sure is not None:
                sure[rows] = self._sureness(place, closeness, taught.logits[rows], sigmoid)
        nearest = nearest / nearest.sum(1, keepdim=True).clamp(min=1)
        distances = []
        for queue, (rows, features) in zip(self.queues, shown, strict=True):
            own = members[rows]
            weights = mixture(queue.labels, (own / own.sum(0).clamp(min=1)).T @ nearest[rows])
            there = ((own.sum(0) > 0) & (weights.sum(0) > 0)).float()
            each = discrepancy(features, own, queue.features, weights)
            distances.append((each * there).sum() / there.sum().clamp(min=1))
        shares = members / members.sum(0).clamp(min=1)
        both = (nearest + members @ (shares.T @ nearest)) / 2
        target = taken_for(both, taught.logits, classes, sigmoid, sure)
        answers = divergence(target, found.logits, sigmoid).sum() / max(len(found), 1)
        matched = _mean(distances, self._weights(len(distances)))
        measured = dict(answers=answers, features=_mean(distances), matched=matched)
        if any(self.back):
            measured['moved'] = _mean(_moved(seen, shown), self.back)
        return measured

    def _sureness(self, place: int, closeness: Tensor, logits: Tensor, sigmoid: bool) -> Tensor:
        """How sure a model that never saw samples would be of taking them for something, ``(n,)``.

        Those that lie nearer to what is kept are given the more of what :attr:`unseen` has.
        """
        if place >= len(self.unseen):
            return UNKNOWN * surest(logits, len(self.means[place].counts), sigmoid)
        known = self.unseen[place].to(closeness.device)
        ranks = closeness.argsort().argsort()
        return known[((ranks + 0.5) * len(known) / max(len(ranks), 1)).long()]

    def _learn_means(self, taught: SampleLosses, classes: int) -> None:
        for number, (rows, features) in enumerate(agreed_places(taught)):
            if number == len(self.means):
                self.means.append(ClassMeans(classes, features.shape[1], features.device))
            self.means[number].add(features, taught.labels[rows])

    def _remember(self, found: SampleLosses) -> None:
        for number, (rows, features) in enumerate(agreed_places(found)):
            if number == len(self.queues):
                width = features.shape[1]
                self.queues.append(FeatureQueue(self.queue, width, features.device))
            self.queues[number].push(features, found.labels[rows])

    def role_terms(
        self, role: str, loss: Tensor, phase: SwapPhase, measured: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted terms; what was measured is logged, too."""
        if not measured:
            return super().role_terms(role, loss, phase, measured)
        weight, answers = phase.weights[role], measured['answers']
        terms = {f'{role}/answers': answers.detach()}
        if role != FORGET:
            terms[f'loss_{role}'] = weight * loss
            terms[f'loss_{role}_answers'] = weight * self.keep * answers
            return terms
        # Zero, with a path to all that the host's loss hangs on, for DDP; NaN if it is not finite.
        terms['loss_forget'] = weight * (answers + loss * 0)
        terms['loss_forget_features'] = weight * measured['matched']
        if 'moved' in measured:
            terms['loss_forget_moved'] = weight * measured['moved']
        terms['forget/features'] = measured['features'].detach()
        strengths = self._weights(1)
        terms['forget/strength'] = answers.new_tensor(sum(strengths) / len(strengths)).detach()
        return terms


def _moved(before: Places, after: Places) -> list[Tensor]:
    """How far samples have turned away from where they were, ``1 - cos``, at each place."""
    return [
        (1 - F.cosine_similarity(new.float(), old.float(), dim=1)).sum() / max(len(rows), 1)
        for (rows, new), (_, old) in zip(after, before, strict=True)
    ]


def _mean(values: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Their mean, each times its weight; 0 of none."""
    weights = weights or [1.0] * len(values)
    return sum(w * v for w, v in zip(weights, values, strict=True)) / max(len(values), 1)


def says_nothing(swapper: nn.Module, found: SampleLosses) -> bool:
    """Whether a head can say that there is no object: by a row of its own, or by sigmoids."""
    return swapper.samples.sigmoid or found.logits.shape[1] > swapper.class_rows.total


def agreed_places(found: SampleLosses) -> Places:
    """The :func:`places` of a batch, as many in all processes, of which some may have no sample."""
    if found.depth:
        return places(found, 0)
    own = torch.tensor([int(found.layers.max()) + 1 if len(found) else 0])
    return places(found, max(int(each) for each in gathered(own)))


def places(found: SampleLosses, count: int) -> Places:
    """Which samples have features at each of ``count`` places, ``(n,)``, and these, ``(n, D)``.

    After the blocks of a classifier and at its class layer all have; those of a decoder have them
    at their own layer.
    """
    if found.depth:
        rows = torch.arange(len(found), device=found.labels.device)
        return [(rows, each) for each in (*found.depth, found.features)]
    layers = [(found.layers == number).nonzero().flatten() for number in range(count)]
    return [(each, found.features[each]) for each in layers]
