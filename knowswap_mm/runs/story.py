"""What became of a run and what to change, in plain words (issue 26).

A rule looks at the files of the run and says a sentence, or nothing where they do not support one.
Limits are shares of levels, of curves, or of their noise: no number belongs to a task.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.runs.classes import new_answers, plain
from knowswap_mm.runs.outcome import FORGOTTEN, LEARNED, LOST, POINT, YES, Outcome, Remark
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START
from knowswap_mm.runs.stretch import EARLY, ENOUGH, Stretch, still_falling
from knowswap_mm.runs.weak_classes import NAMED, weak_classes

#: Training images are learned when their loss is below this share of its beginning.
FITTED = 0.2
#: Share of the batches at the bound from which on the forget loss counts as there.
HELD = 0.5
#: A bound so many times the loss of classes that the model had never seen asks for too much. That
#: loss is read at the beginning of a phase, within this share of it, when it has begun to fall.
FAR, FIRST = 8.0, 0.1
NOTHING = 'Nothing has to be changed.'


@dataclass(frozen=True)
class Story:
    """The whole answer to "did it work, and what now?".

    Attributes:
        record (RunFolder): The run.
        ending (dict | None): ``iteration``, ``reason`` and ``change`` if it ended early.
    """

    record: RunFolder
    ending: dict[str, Any] | None = None

    @classmethod
    def of(cls, record: RunFolder) -> Story:
        """The story of a run, with the ending that the run has noted."""
        return cls(record, record.ending)

    @cached_property
    def outcome(self) -> Outcome:
        """The verdict, with which the remarks agree."""
        return Outcome.of(self.record)

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The phases."""
        return Stretch.of_run(self.record)

    @cached_property
    def remarks(self) -> list[Remark]:
        """What all rules say."""
        return [remark for rule in RULES for remark in rule(self)]

    @property
    def last(self) -> str:
        """The state at the end, or the one that was evaluated last."""
        return self.outcome.end or next(reversed(self.record.results.states), START)

    def lines(self) -> list[str]:
        """Headline, roles, new answers, remarks; what to do if there is nothing to change."""
        roles = [f'{sentence} ({word or "?"})' for word, sentence in self.outcome.roles.values()]
        answers = self.answers[:NAMED]
        if more := len(self.answers) - len(answers):
            answers.append(f'{more} more forgotten classes have new answers.')
        texts = [*roles, *answers, *self.sentences()]
        return [self.outcome.headline, *(f'- {text}' for text in texts)]

    @cached_property
    def answers(self) -> list[str]:
        """What forgotten classes are called instead, where forgetting was asked for."""
        asked = FORGET in self.outcome.roles
        return new_answers(self.record.results, self.last) if asked else []

    def sentences(self) -> list[str]:
        """The remarks as text, or that nothing has to be changed."""
        return [*map(str, self.remarks), *(each for each in self.changes if each == NOTHING)]

    @property
    def changes(self) -> list[str]:
        """What to change, with the reasons."""
        found = [str(remark) for remark in self.remarks if remark.change]
        return found or ([NOTHING] if self.outcome.word == YES else [])

    @property
    def events(self) -> list[str]:
        """What happened without anything to change about it."""
        return [*self.answers, *(str(remark) for remark in self.remarks if not remark.change)]

    def missed(self, role: str) -> bool:
        """Whether the role was judged, and not with a yes."""
        word, _ = self.outcome.roles.get(role, (None, ''))
        return word not in (None, YES)

    def value(self, role: str, state: str) -> float | None:
        """Metric of a role in percent."""
        return self.record.results.value(state, role)

    def at(self, iteration: int) -> Stretch | None:
        """The phase of an iteration, counted from 1."""
        return next((s for s in self.stretches if iteration <= s.begin + s.length), None)


def stopped(story: Story) -> Iterator[Remark]:
    """Why the run ended early."""
    if story.ending is None:
        return
    done = story.ending['iteration']
    where = story.at(done)
    place = f' in {where.name}' if where else ''
    text = f'The run ended after {done} of {story.record.total} iterations{place}'
    reason, change = (plain(story.ending.get(key)) for key in ('reason', 'change'))
    yield Remark('', f'{text}: {reason}' if reason else text, change)


_UNKNOWN = (
    'check that load_from belongs to the model, that swap.classes.old has the order of its head, '
    'and that the validation data show these classes'
)


def never_known(story: Story) -> Iterator[Remark]:
    """Why a finished run has no verdict: the host could not do what is compared with."""
    if story.outcome.word == 'unknown' and story.outcome.roles:
        for role in (FORGET, RETAIN):
            if role in story.outcome.roles and story.value(role, START) == 0:
                yield Remark(role, f'the host had 0.0 of {role} before the swap', _UNKNOWN)


_DECIDED = {
    'end': 'ended{kept}',
    'extend': 'was made {iters} iterations longer',
    'back': 'went back to iteration {to} and on with {lr_factor:g} times the learning rate',
    'stop': 'was stopped{kept}, and the run with it,',
}


def decided(story: Story) -> Iterator[Remark]:
    """What phases decided while they ran."""
    for each in story.record.decisions:
        words, place = _DECIDED.get(each['kind']), each['phase']
        if words is None or not 0 <= place < len(story.stretches):
            continue
        factor = each.get('lr_factor')
        factor = factor if isinstance(factor, (int, float)) else 1.0
        to = each.get('to')
        kept = '' if to is None else f' with the state of iteration {plain(to)}'
        what = words.format(
            to=plain(to), kept=kept, lr_factor=factor, iters=plain(each.get('iters'))
        )
        reason = plain(each.get('reason')).rstrip('.')
        text = f'{story.stretches[place].name} {what} after iteration {each["at"]}'
        yield Remark('', f'{text} ({reason})' if reason else text)


def learning(story: Story) -> Iterator[Remark]:
    """Why too little was learned."""
    own = [s for s in story.stretches if LEARN in s.aims]
    if not story.missed(LEARN):
        return
    if not own:
        yield _never_began(LEARN)
        return
    last, end, level = own[-1], story.value(LEARN, story.last), story.value(RETAIN, START)
    reached = last.value(LEARN, last.after)
    falls = _falls(story.stretches[story.stretches.index(last) + 1 :], LEARN)
    if falls and reached is not None and reached - end > (LEARNED[0] * level - end) / 2:
        hurt = _falls(story.stretches, RETAIN) if story.missed(RETAIN) else []
        for fall in falls:
            same = any(fall is each for each in hurt)  # one blow to both is explained once
            change = 'what helps retain there helps it, too' if same else _hold_learned(fall)
            yield Remark(LEARN, _fell(LEARN, fall), change)
        return
    text = f'learn came to {end:.1f}, where retain was at {level:.1f} before the swap'
    losses = [y for _, y in last.logged(f'{LEARN}/raw')]
    if still_falling([(x, -y) for x, y in last.measured(LEARN)]):
        yield Remark(LEARN, f'{text}; it was still rising when {last.name} ended', last.longer())
    elif falling := still_falling(last.logged(f'{LEARN}/raw')):
        way = f'{falling[0]:.3g} to {falling[1]:.3g} in the last quarter'
        text += f'; its loss was still falling when {last.name} ended ({way})'
        yield Remark(LEARN, text, last.longer())
    elif len(losses) < ENOUGH:
        yield Remark(LEARN, text, f'{last.longer()}, {last.harder(LEARN)}')
    elif (final := statistics.mean(losses[-2:])) < FITTED * max(losses[:2]):
        text += f'; the loss of its training images is low ({max(losses[:2]):.3g} to {final:.3g})'
        yield Remark(LEARN, text, 'take more learn images, or more augmentation')
    else:
        text += f'; its loss stood still near {final:.3g} at the end of {last.name}'
        yield Remark(LEARN, text, f'raise {last.harder(LEARN)}')


def forgetting(story: Story) -> Iterator[Remark]:
    """Where forgetting came from, and why it is not finished."""
    start = story.value(FORGET, START)
    pushed = [s for s in story.stretches if FORGET in s.aims]
    for each in story.stretches[: story.stretches.index(pushed[0])] if pushed and start else ():
        if (change := each.change(FORGET)) is not None and change < -LOST[1] * start:
            text = f'{_fell(FORGET, each)} already, where no forget loss was: learning does that'
            yield Remark(FORGET, text)
    if not story.missed(FORGET):
        return
    if not pushed:
        yield _never_began(FORGET)
        return
    last, end = pushed[-1], story.value(FORGET, story.last)
    reached = last.value(FORGET, last.after)
    if reached is not None and reached <= FORGOTTEN[0] * start:
        text = f'forget came back after {last.name}: from {reached:.1f} to {end:.1f}'
        yield Remark(FORGET, text, 'let the swap end with a forget phase')
        return
    text = f'forget is not finished: {end:.1f} of {start:.1f} left'
    losses, hits = last.logged(f'{FORGET}/raw'), last.hits()
    if last.bound is None or hits is None or not losses:
        yield Remark(FORGET, text, f'{last.longer()}, {last.harder(FORGET)}')
    elif hits < HELD:
        text += f'; the forget loss ({losses[-1][1]:.3g} at last) has not reached the bound '
        text += f'{last.bound:g} in {100 * (1 - hits):.0f} % of the {last.hit_unit}'
        yield Remark(FORGET, text, f'{last.longer()}, {last.harder(FORGET)}')
    else:
        text += f', though the forget loss is at the bound {last.bound:g} '
        text += f'in {100 * hits:.0f} % of the {last.hit_unit}'
        change = f'raise {last.key}.bound'
        if last.hit_unit == 'batches':  # a few samples of enormous loss satisfy a bound on the mean
            change += ", or ask it of each sample (model.loss.hinge='sample')"
        yield Remark(FORGET, text, change)


_ASKED = (
    'leave it so, as a model that never saw the forgotten classes takes them for others, too, and '
    'deep forgetting asks for that; where they must be called nothing, forget without it'
)


def retaining(story: Story) -> Iterator[Remark]:
    """Where retain fell, and what pushed it."""
    if story.missed(RETAIN):
        for fall in (falls := _falls(story.stretches, RETAIN)):
            if fall.deep and fall.spared(RETAIN):
                yield Remark(RETAIN, _fell(RETAIN, fall), _ASKED)
            else:
                yield _damage(story, fall, _fell(RETAIN, fall))
        if not falls:
            ends = [story.value(RETAIN, state) for state in (START, story.last)]
            text = f'retain fell from {ends[0]:.1f} to {ends[1]:.1f}'
            yield Remark(RETAIN, text, 'raise the weight retain of the phases')
        return
    if story.outcome.roles:
        return
    begun = [s for s in story.stretches if s.logged(f'{RETAIN}/raw')]
    if begun and not begun[-1].after and (jump := begun[-1].retain_jump()):
        text = f'the retain loss rose from {jump[1]:.3g} to {jump[2]:.3g} in {begun[-1].name}'
        yield _damage(story, begun[-1], text)


def _damage(story: Story, fall: Stretch, text: str) -> Remark:
    """What pushed retain down in a phase, and how it is spared."""
    jump, early = fall.retain_jump(), fall.early_fall(RETAIN)
    if early is None and jump is not None and jump[0] <= EARLY * fall.length:
        early = jump[0]
    if early is not None:
        text += f', most of it in its first {early} iterations'
    changes = [fall.gentler()] if early is not None else []
    losses = fall.logged(f'{FORGET}/raw')
    until = early or (jump[0] if jump else 0)
    if seen := [y for x, y in losses if x <= fall.begin + until]:
        bound = fall.bound
        if bound is not None and max(seen) >= bound:
            text += f', when the forget loss passed its bound of {bound:g} (up to {max(seen):.3g})'
        else:
            text += f', when the forget loss rose to {max(seen):.3g}'
            text += '' if bound is None else f' (its bound is {bound:g})'
    new = [
        loss
        for s in story.stretches
        for x, loss in s.logged(f'{LEARN}/raw')[:1]
        if x - s.begin <= FIRST * s.length
    ]
    if losses and fall.bound is not None and new and fall.bound > FAR * new[0]:
        changes.append(
            f'lower {fall.key}.bound ({fall.bound:g} now; the loss of the learned classes, which '
            f'the model had never seen, began near {new[0]:.2g})'
        )
    if not changes:
        changes.append(f'raise {fall.key}.weights.retain{fall.now("retain")}')
        changes += [fall.longer()] if still_falling(fall.logged(f'{RETAIN}/raw')) else []
    return Remark(RETAIN, text, ', or '.join(changes))


#: In the order in which they are told.
RULES: Sequence[Callable[[Story], Iterator[Remark]]] = (
    stopped, never_known, decided, learning, forgetting, retaining,
    lambda story: weak_classes(story.record, story.outcome.roles, story.last),
)  # fmt: skip


def _never_began(role: str) -> Remark:
    """A role whose phases a decision dropped."""
    return Remark(role, f'the run did not come to its {role} phase', 'change first what stopped it')


def _falls(stretches: Sequence[Stretch], role: str) -> list[Stretch]:
    """The phases in which a metric fell most: none by less than half of what the worst one did.

    A fall of less than a point is no reason to change a number.
    """
    known = [(change, s) for s in stretches if (change := s.change(role)) is not None]
    worst = min((change for change, _ in known), default=0.0)
    return [s for change, s in known if change <= min(-POINT, worst / 2)]


def _fell(role: str, stretch: Stretch) -> str:
    ends = [stretch.value(role, state) for state in (stretch.before, stretch.after)]
    text = f'{role} fell from {ends[0]:.1f} to {ends[1]:.1f} in {stretch.name}'
    if apart := stretch.spared(role):
        text += f', where no forgotten class is only from {apart[0]:.1f} to {apart[1]:.1f}'
    return text


def _hold_learned(stretch: Stretch) -> str:
    share = stretch.phase.get('merged_share')
    if isinstance(share, (int, float)):
        return f'raise {stretch.key}.merged_share ({share:g} now)'
    if stretch.phase.get('merge_learned'):
        return f'raise {stretch.key}.weights.retain{stretch.now("retain")}'
    return f'set {stretch.key}.merged_share=0.3, so that learned images are retained, too'
