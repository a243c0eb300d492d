"""The hook of deep forgetting: its probe on held-out samples, and the rows at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor

from knowswap_mm.checks import check_flag, check_whole, whole_numbers
from knowswap_mm.compat import goes_on
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.distributed.process_group import of_rank_0
from knowswap_mm.engine.guard.watch import HeldOut, measuring
from knowswap_mm.engine.saved_weights import averages_of
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.models.deep_forgetting.distances import surest
from knowswap_mm.models.deep_forgetting.few_shot import SHOTS, few_shot_accuracy
from knowswap_mm.models.deep_forgetting.unseen_rows import reset_head
from knowswap_mm.models.losses.feature_matching import FeatureMatchingLoss, places
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.schedule import SwapPhase

_KEY, _KEPT = 'feature_matching', ('before', 'target', 'last', 'kept')
#: Images of a probe, at most, as a share of those that an iteration trains on: a probe has no
#: backward pass, so that this is a tenth of the time.
COST = 0.4
#: Probes in a phase that are worth fewer samples in each, and how many of a role are the fewest: in
#: all, and for each class to forget, of which a probe needs two.
PROBES, FEWEST, EACH = 12, 32, 8
#: How many samples a probe has of the role that is asked for, for each of the others: they alone
#: are tried, and with few of them a share is off by more points than it is to be right within.
ASKED = 3

#: What the loss of kept held-out samples may rise by, as a share of chance: in general, and in a
#: softmax with a row of no object. There it rises by 12 % without any matching, from queries that
#: change places, and no class is lost; on Fashion-MNIST 2 % held the features off their target, and
#: with 10 % the small DINO lost 13 points of AP more than with 5 %.
ALLOWED, ALLOWED_NO_OBJECT = 0.05, 0.2
#: By how much the biases of forgotten classes are lowered in a head that can say that there is
#: nothing, in nats.
MARGIN = 3.0


#: A batch of a look: the role, the numbers of its samples; features, classes and sureness by place;
#: losses.
_Row = tuple[str, list[int], list[tuple[Tensor, Tensor, Tensor]], Tensor]


class Seen(NamedTuple):
    """What a look at held-out samples saw.

    Attributes:
        places (list[tuple[Tensor, Tensor]]): Features and classes of all roles, by place.
        nats (dict[str, float]): Mean loss of the kept roles.
        sure (list[Tensor]): How sure the head was of objects to learn, by place.
    """

    places: list[tuple[Tensor, Tensor]]
    nats: dict[str, float]
    sure: list[Tensor]


def target_of(forgotten: float, unseen: float, kept: float | None) -> float:
    """What a few examples should bring back of classes, had the host never seen them.

    Args:
        forgotten (float): What they bring back of the forget classes before the swap.
        unseen (float): What they bring of the learn classes before the swap: the host never saw
            them.
        kept (float | None): What they bring of the retained classes before the swap; None if
            nobody can tell.

    Returns:
        float: A share: that of the learn classes, as much more or less as the forget classes are
        easier or harder than the retained ones, which the host knows as they do; at most what the
        forget classes have.
    """
    easier = forgotten / kept if kept else 1.0
    return min(unseen * easier, forgotten)


def expected(found: Sequence[float], last: Sequence[float] | None) -> list[float]:
    """What the next probe will find if shares go on to change as they did since the last one.

    Features follow a weight late: one that is changed when a target is reached leads far beyond it.
    The small Mask2Former was left with 29 % where 38 were wanted.
    """
    return [2 * now - before for now, before in zip(found, last or found, strict=True)]


@HOOKS.register_module()
class FeatureMatchingHook(Hook):
    """Steers :class:`FeatureMatchingLoss`, and resets rows where a phase that forgets ends.

    Probes are few-shot accuracies (:func:`few_shot_accuracy`) on the features of held-out training
    samples, which never train; validation and test data are not touched. Each place that is matched
    has a probe, a target and a weight of its own. What the first process finds counts. Where too
    little is held out, the weights stay as they are given.

    Args:
        shots (int | Sequence[int]): Examples a class; a probe is the mean over them.
        samples (int): Held-out samples of a role that are looked at for the target, at most; half
            as many or fewer while a phase is steered.
        reset_rows (bool): Whether the rows of forgotten classes are reset, see :func:`reset_rows`.

    Raises:
        ConfigError: If a value cannot be used, or the objective does not ask for it.
    """

    #: After the guard, which may change how long a phase is; before checkpoints are written.
    priority = 85

    def __init__(
        self, shots: int | Sequence[int] = SHOTS, samples: int = 1024, reset_rows: bool = True
    ) -> None:
        key = 'custom_hooks.FeatureMatchingHook'
        self.shots = whole_numbers(f'{key}.shots', shots, list(SHOTS))
        check_whole(f'{key}.samples', samples, 2, 1024)
        check_flag(f'{key}.reset_rows', reset_rows)
        self.samples, self.reset_rows = samples, reset_rows
        #: What the probes found before the swap, by role, and what they are to find, by place.
        self.before: dict[str, list[float] | None] | None = None
        self.target: list[float] | None = None
        #: What the last probe found, by place.
        self.last: list[float] | None = None
        #: Losses of what is kept where the phase began.
        self.kept: dict[str, float] = {}
        self._held: HeldOut | None = None
        self._stored: dict[str, Any] | None = None

    def before_train(self, runner: Any) -> None:
        """Tell the objective what is forgotten, and probe the model where a run begins.

        Raises:
            CheckpointError: If a run is resumed inside a phase whose start nobody kept.
            ConfigError: If the objective or the head policy does not fit.
        """
        objective, swapper = runner.swapper.swapping_loss, runner.swapper
        if not isinstance(objective, FeatureMatchingLoss):
            fix = "set model.loss = dict(type='knowswap_mm.FeatureMatchingLoss') or drop the hook"
            problem = 'FeatureMatchingHook steers FeatureMatchingLoss'
            raise ConfigError('model.loss.type', type(objective).__name__, problem, fix)
        if self.reset_rows and swapper.head_policy != 'all':
            fix = "set model.head.policy = 'all', or FeatureMatchingHook(reset_rows=False)"
            problem = 'the rows of forgotten classes stay as they are, and name them'
            raise ConfigError('model.head.policy', swapper.head_policy, problem, fix)
        objective.forgotten = tuple(self._labels(runner, FORGET))
        loader, schedule = runner.train_dataloader, runner.swap_schedule
        self._held = HeldOut(loader, schedule.batch_size)
        phase = schedule.phase_at(runner.iter)
        if self._stored is not None:
            objective.take_over(self._stored, next(swapper.parameters()).device)
        elif FORGET in phase.roles and phase.begin < runner.iter < phase.end:
            raise CheckpointError(
                f'The checkpoint holds no state of FeatureMatchingLoss in {phase.name}. Fix: '
                'resume from the checkpoint at the start of the phase.'
            )
        if runner.iter == 0:
            self._measure_before(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Find the target where a phase that forgets begins."""
        phase = runner.swap_schedule.phase_at(runner.iter)
        if runner.iter == phase.begin and FORGET in phase.roles and self.before is not None:
            self._find_target(runner, phase)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Probe and steer; reset the rows after the last iteration of a phase."""
        done, phase = runner.iter + 1, runner.swap_schedule.phase_at(runner.iter)
        if FORGET not in phase.roles:
            return
        interval, sizes = self._pace(runner, phase)
        if self.target is not None and (done - phase.begin) % interval == 0:
            look = self._look(runner, sizes)
            found, spare = self._probe(runner, FORGET, look), self._spare(runner, phase, look)
            if found is not None:
                ahead = expected(found, self.last)
                runner.swapper.swapping_loss.steer(ahead, self.target, spare)
                self.last = found
                for name, value in dict(few_shot=found[-1], spare=spare).items():
                    runner.message_hub.update_scalar(f'train/forget/{name}', value)
        if self.reset_rows and done == phase.end:
            self._reset(runner, phase)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put teacher, queues and weight into the checkpoint."""
        if isinstance(checkpoint.get('swap'), dict):
            state = runner.swapper.swapping_loss.to_dict()
            kept = {key: getattr(self, key) for key in _KEPT}
            checkpoint['swap'][_KEY] = dict(kept, objective=state)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take them over in a run that is resumed."""
        stored = checkpoint.get('swap', {}).get(_KEY) if goes_on(runner) else None
        if stored:
            for key in _KEPT:  # checkpoints of former versions have no last probe
                setattr(self, key, stored.get(key))
            self._stored = dict(stored['objective'])

    def _pace(self, runner: Any, phase: SwapPhase) -> tuple[int, dict[str, int]]:
        """Iterations between two probes, and how many samples of each role one looks at.

        They cost little: where batches are small, probes are seldom, or look at fewer samples if
        there would be too few probes to steer by.
        """
        sizes, held = self._sizes(runner, phase), self._held.dataset.held_out_sizes
        images = sum(min(held.get(role, 0), most) for role, most in sizes.items())
        affordable = ceil(images / (COST * phase.batch_size))
        return max(self._wanted(runner, phase), affordable), sizes

    @staticmethod
    def _wanted(runner: Any, phase: SwapPhase) -> int:
        return max(runner.swapper.swapping_loss.every, (phase.end - phase.begin) // PROBES)

    def _sizes(self, runner: Any, phase: SwapPhase, asked: str = FORGET) -> dict[str, int]:
        """How many samples of each role a probe for one of them looks at."""
        images = int(COST * phase.batch_size * self._wanted(runner, phase))
        classes = runner.train_dataloader.dataset.classes
        least = max(FEWEST, EACH * len(classes.of(FORGET)))
        others = max(images // (ASKED + len(ROLES) - 1), least)
        own = max(ASKED * others, EACH * len(classes.of(asked)))
        most = self.samples // 2
        return {role: min(own if role == asked else others, most) for role in ROLES}

    @staticmethod
    def _labels(runner: Any, role: str) -> list[int]:
        classes = runner.train_dataloader.dataset.classes
        return [classes.names.index(name) for name in classes.of(role)]

    def _measure_before(self, runner: Any) -> None:
        """Probes before the swap, when the host has not seen the classes that it is to learn.

        For each role they look at as many of its samples at once as those that steer do of the
        forget role, because shares depend on it; in turns, over which shares are averaged.
        """
        phases = [each for each in runner.swap_schedule.phases if FORGET in each.roles]
        if not phases:
            return
        given, held = runner.swapper.swapping_loss.target, self._held.dataset.held_out_sizes
        found: dict[str, list[float] | None] = {}
        sure: list[list[Tensor]] = []
        for role in ROLES:
            sizes = self._sizes(runner, phases[0], role)
            turns = _turns(min(held.get(role, 0), self.samples), sizes.pop(role))
            others = self._rows(runner, {other: range(most) for other, most in sizes.items()})
            looks = [_seen(others + self._rows(runner, {role: turn})) for turn in turns]
            found[role] = _mean([self._probe(runner, role, each) for each in looks])
            if role == LEARN:
                sure = [each.sure for each in looks]
        self._held.drop()
        places = [torch.cat(place).sort().values for place in zip(*sure, strict=True)]
        runner.swapper.swapping_loss.unseen = places
        missing = FORGET if found[FORGET] is None else LEARN
        if found[missing] is not None or (missing == LEARN and given is not None):
            self.before = found
            return
        runner.logger.warning(
            'The weight of the feature matching stays as it is: too few samples of the '
            f'{missing} role are held out to steer it by. Fix: hold out more (swap.holdout, and '
            'no swap.guard=False)' + ('.' if missing == FORGET else ', or set model.loss.target.')
        )

    def _find_target(self, runner: Any, phase: SwapPhase) -> None:
        """The target of a phase that begins: given, or what the held-out samples tell."""
        _, sizes = self._pace(runner, phase)
        seen, given = self._look(runner, sizes), runner.swapper.swapping_loss.target
        now, told = self._probe(runner, FORGET, seen), 'as given'
        self.kept, self.last = seen.nats, now  # of the samples that later looks see
        if given is not None:
            self.target = [float(given)] * len(seen.places)
        else:
            first, unseen = self.before[FORGET], self.before[LEARN]
            # Of a checkpoint that was written before they were probed, nothing is known.
            kept = self.before.get(RETAIN) or [None] * len(first)
            self.target = [target_of(*each) for each in zip(first, unseen, kept, strict=True)]
            told = f'the learn classes had {100 * unseen[-1]:.0f} % before the swap'
            if kept[-1]:
                told += f', the forget classes {100 * first[-1]:.0f} %'
                told += f' where retained ones had {100 * kept[-1]:.0f} %'
        shots = ', '.join(map(str, self.shots))
        beneath = ', '.join(f'{100 * each:.0f}' for each in self.target[:-1])
        if now is None:
            runner.logger.warning(
                f'Deep forgetting is not steered: probes look at {sizes[FORGET]} held-out samples '
                'to forget, and of a class these have fewer than two. Fix: a larger '
                'train_dataloader.batch_size, by which probes may look at more.'
            )
            return
        runner.logger.info(
            f'{shots} examples a class bring {100 * now[-1]:.0f} % of the held-out forget samples '
            f'back now, in the mean; {100 * self.target[-1]:.0f} % are to be left: {told}'
            + (f'. Beneath the last features: {beneath} %.' if beneath else '.')
        )

    def _spare(self, runner: Any, phase: SwapPhase, look: Seen) -> float:
        """What may still be lost of what is kept, as a share of all that may be lost."""
        roles = [role for role in self.kept if role in look.nats]
        roles = [role for role in roles if role == RETAIN or phase.merge_learned]
        rises = [look.nats[role] - self.kept[role] for role in roles]
        swapper = runner.swapper
        no_object = swapper.swapping_loss.nothing and not swapper.samples.sigmoid
        allowed = ALLOWED_NO_OBJECT if no_object else ALLOWED
        spare = 1 - max(rises, default=0.0) / (allowed * swapper.samples.chance)
        return of_rank_0(spare)

    def _probe(self, runner: Any, role: str, look: Seen) -> list[float] | None:
        """Few-shot accuracy on the classes of a role at each place, of what a look has seen."""
        asked, seed = self._labels(runner, role), derive_seed('few shots', runner.seed)
        device = next(runner.swapper.parameters()).device
        found = [
            few_shot_accuracy(features.to(device), labels, asked, self.shots, seed=seed)
            for features, labels in look.places
        ]
        return of_rank_0(found if found and None not in found else None)

    def _look(self, runner: Any, sizes: Mapping[str, int]) -> Seen:
        """Look at so many held-out samples of each role, those of all processes."""
        return _seen(self._rows(runner, {role: range(most) for role, most in sizes.items()}))

    def _rows(self, runner: Any, chosen: Mapping[str, range]) -> list[_Row]:
        """Look at the chosen held-out samples of roles, as far as there are such."""
        sizes, swapper = self._held.dataset.held_out_sizes, runner.swapper
        classes, sigmoid = swapper.class_rows.total, swapper.samples.sigmoid
        found: list[_Row] = []
        with measuring(swapper), runner.optim_wrapper.optim_context(runner.model):
            for role, numbers in chosen.items():
                there = numbers[: max(sizes.get(role, 0) - numbers.start, 0)]
                for batch, samples in self._held.samples(
                    swapper, role, there, swapper.swapping_loss.blocks
                ):
                    layers = int(samples.layers.max()) + 1 if len(samples) else 0
                    sure = surest(samples.logits, classes, sigmoid)
                    parts = [
                        (features.float().cpu(), samples.labels[at].cpu(), sure[at].cpu())
                        for at, features in places(samples, layers)
                    ]
                    found.append((role, batch, parts, samples.nats.double().cpu()))
        # In the order of the samples, whoever measured them.
        return sorted(sum(all_gather_object(found), []), key=lambda row: row[:2])

    def _reset(self, runner: Any, phase: SwapPhase) -> None:
        swapper = runner.swapper
        layouts = {tensor.name: tensor.layout for tensor in swapper.class_rows.tensors}
        forgotten = self._labels(runner, FORGET)
        seed = derive_seed('rows', runner.seed, phase.index)
        classes = swapper.class_rows.total
        # Without competition a class that says little of everything would still be an answer.
        margin = MARGIN if swapper.swapping_loss.nothing else 0.0
        reset_head(swapper.head_rows, layouts, classes, forgotten, seed, margin)
        for average in averages_of(runner.hooks):
            copies = {f'host.{name}': name for name in swapper.head_rows}
            named = dict(average.module.named_parameters())
            rows = {name: named[full] for full, name in copies.items() if full in named}
            reset_head(rows, layouts, classes, forgotten, seed, margin)
        runner.logger.info(f'The rows of {len(forgotten)} forgotten classes were reset.')


def _turns(there: int, size: int) -> list[range]:
    """Turns of ``size`` samples each that together are all of those that there are."""
    count = max(ceil(there / size), 1)
    behind = max(there - size, 0)
    begins = [behind * number // max(count - 1, 1) for number in range(count)]
    return [range(begin, begin + size) for begin in begins]


def _mean(found: Sequence[list[float] | None]) -> list[float] | None:
    """Mean shares by place, of the looks that found some; None if none did."""
    there = [each for each in found if each is not None]
    return [sum(place) / len(place) for place in zip(*there, strict=True)] or None


def _seen(rows: Sequence[_Row]) -> Seen:
    """What the batches of a look hold together."""
    parts = [row[2] for row in rows if row[2] and len(row[2][0][1])]
    unseen = [row[2] for row in rows if row[0] == LEARN and row[2]]
    nats = {
        role: torch.cat([row[3] for row in rows if row[0] == role]).mean().item()
        for role in (RETAIN, LEARN)
        if any(row[0] == role and len(row[3]) for row in rows)
    }
    by_place = [
        (torch.cat([part[0] for part in place]), torch.cat([part[1] for part in place]))
        for place in zip(*parts, strict=True)
    ]
    sure = [torch.cat([part[2] for part in place]) for place in zip(*unseen, strict=True)]
    return Seen(by_place, nats, sure)
