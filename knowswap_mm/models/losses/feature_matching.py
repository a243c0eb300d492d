"""The objective that empties the features of forgotten classes, too ("deep forgetting")."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

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
from knowswap_mm.roles import FORGET, LEARN, RETAIN
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


class Stack(NamedTuple):
    """Samples at ``P`` places, at each of which ``N`` are, as far as they have labels.

    Attributes:
        rows (Tensor): Which samples these are, ``(P, N)``.
        features (Tensor): Theirs, ``(P, N, D)``; zeros behind those of a place with fewer channels,
            which change neither lengths nor products.
        labels (Tensor): Theirs, ``(P, N)``; -1 for none.
    """

    rows: Tensor
    features: Tensor
    labels: Tensor

    @property
    def there(self) -> Tensor:
        """1 where a sample is, else 0, ``(P, N)``."""
        return (self.labels >= 0).float()


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
    #: A share that is to be right within a point or two needs more samples than the guard's losses:
    #: of a forgotten class the twenty examples and as many to try, of others five and as many.
    held_out = dict(held_most=1024, held_each={FORGET: 40, LEARN: 10, RETAIN: 10})

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
        #: Of what is kept, at all places; None before anything was seen.
        self.memory: FeatureQueue | None = None
        self.means: ClassMeans | None = None
        #: Whether the head can say that there is nothing.
        self.nothing = False
        self._taught: dict[str, SampleLosses] = {}

    def steer(self, found: Sequence[float], target: Sequence[float], spare: float = 1.0) -> None:
        """Change the weights after a probe found shares at all places and not the targets.

        Args:
            found (Sequence[float]): Shares that few examples will bring back, by place.
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
        queues, means = (each.to_list() if each else [] for each in (self.memory, self.means))
        kept = dict(teacher=teacher, queues=queues, means=means, unseen=self.unseen)
        return dict(phase=self.phase, weights=self.weights, back=self.back, **kept)

    def take_over(self, data: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what :meth:`to_dict` gave."""
        self.phase = data['phase']
        self.weights, self.back = list(data['weights']), list(data['back'])
        self.teacher = None if data['teacher'] is None else FrozenState(data['teacher'])
        queues, means = data['queues'], data['means']
        self.memory = FeatureQueue.from_list(queues, device) if queues else None
        self.means = ClassMeans.from_list(means, device) if means else None
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
        fresh, classes = self.memory is None, swapper.class_rows.total
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
        memory, means = self.memory, self.means
        if memory is None or means is None:  # nothing that is kept was seen as yet
            nothing = found.logits.sum() * 0
            return dict(answers=nothing, features=nothing, matched=nothing)
        parts = places(taught, len(memory.labels))
        seen, shown = stack(taught, parts), stack(found, places(found, len(memory.labels)))
        votes, closeness = means.nearest(seen.features, classes)
        votes = (votes * seen.there[..., None]).flatten(0, 1)
        nearest = members.new_zeros(len(found), count).index_add(0, seen.rows.flatten(), votes)
        sure = members.new_zeros(len(found)) if self.nothing else None
        for place, (rows, _) in enumerate(parts if sure is not None else ()):
            sure[rows] = self._sureness(
                place, closeness[place, : len(rows)], taught.logits[rows], sigmoid
            )
        nearest = nearest / nearest.sum(1, keepdim=True).clamp(min=1)
        own = members[shown.rows] * shown.there[..., None]  # (P, N, C)
        taken = (own / own.sum(1, keepdim=True).clamp(min=1)).mT @ nearest[shown.rows]
        weights = mixture(memory.labels, taken)
        there = ((own.sum(1) > 0) & (weights.sum(1) > 0)).float()
        distances = discrepancy(shown.features, own, memory.features, weights)
        distances = (distances * there).sum(1) / there.sum(1).clamp(min=1)
        shares = members / members.sum(0).clamp(min=1)
        both = (nearest + members @ (shares.T @ nearest)) / 2
        target = taken_for(both, taught.logits, classes, sigmoid, sure)
        answers = divergence(target, found.logits, sigmoid).sum() / max(len(found), 1)
        matched = _mean(distances, self._weights(len(distances)))
        measured = dict(answers=answers, features=distances.mean(), matched=matched)
        if any(self.back):
            turned = 1 - F.cosine_similarity(shown.features, seen.features, dim=-1)
            moved = (turned * shown.there).sum(1) / shown.there.sum(1).clamp(min=1)
            measured['moved'] = _mean(moved, self.back)
        return measured

    def _sureness(self, place: int, closeness: Tensor, logits: Tensor, sigmoid: bool) -> Tensor:
        """How sure a model that never saw samples would be of taking them for something, ``(n,)``.

        Those that lie nearer to what is kept are given the more of what :attr:`unseen` has.
        """
        if place >= len(self.unseen):
            return UNKNOWN * surest(logits, self.means.counts.shape[1], sigmoid)
        known = self.unseen[place].to(closeness.device)
        ranks = closeness.argsort().argsort()
        return known[((ranks + 0.5) * len(known) / max(len(ranks), 1)).long()]

    def _learn_means(self, taught: SampleLosses, classes: int) -> None:
        if parts := agreed_places(taught):
            _, features, labels = stack(taught, parts)
            if self.means is None:
                width = features.shape[-1]
                self.means = ClassMeans(len(parts), classes, width, features.device)
            self.means.add(features, labels)

    def _remember(self, found: SampleLosses) -> None:
        if parts := agreed_places(found):
            _, features, labels = stack(found, parts)
            if self.memory is None:
                width = features.shape[-1]
                self.memory = FeatureQueue(len(parts), self.queue, width, features.device)
            self.memory.push(features, labels)

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


def _mean(values: Tensor, weights: Sequence[float]) -> Tensor:
    """Their mean, each times its weight."""
    return (values * values.new_tensor(weights)).mean()


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


def stack(found: SampleLosses, parts: Places) -> Stack:
    """The :func:`places` of a batch, at least one, as tensors, to do at once what is done at each.

    Places of one batch have the same samples, or a decoder's layers as many. Where they have not,
    or other channels, the lesser ones are filled up.
    """
    longest = max(len(rows) for rows, _ in parts)
    width = max(features.shape[1] for _, features in parts)
    rows, features, labels = [], [], []
    for own, values in parts:
        behind, beside = longest - len(own), width - values.shape[1]
        marks, values = found.labels[own], values.float()
        if behind or beside:
            values = F.pad(values, (0, beside, 0, behind))
            own, marks = F.pad(own, (0, behind)), F.pad(marks, (0, behind), value=-1)
        rows.append(own)
        features.append(values)
        labels.append(marks)
    return Stack(torch.stack(rows), torch.stack(features), torch.stack(labels))
