"""All formulas of the recipe: change a number here, and nowhere else.

Three tables, from a config key to a function of what is known when the number is needed. A function
gives the value and, in words, why. Floats are rounded to four digits afterwards, so that configs
can be read and machines agree. ``docs/recipe.md`` explains them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from knowswap_mm.engine.recipe.facts import Facts, PhaseFacts
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.schedule.parser import UNBOUNDED

Choice = tuple[Any, str]

#: What a config without an optimizer gets, and why.
OPTIMIZER = dict(type='AdamW', weight_decay=0.05)
OPTIMIZER_WHY = 'as the official classifier has it'
#: The wrapper of it: clipping does not wait for the device.
WRAPPER = 'knowswap_mm.SwapOptimWrapper'

#: The learning rate at a width, for these optimizers.
RATE, AT_WIDTH, RATE_OF = 5e-3, 384, ('AdamW', 'Adam')
#: How often a phase sees each sample of its own role, and iterations of a phase at least, at most.
TIMES, SHORTEST, LONGEST = {LEARN: 20, FORGET: 10}, 40, 300
#: The learning rate of a forget phase, as a share of that of the others.
GENTLER = 0.5
#: The forget loss is pushed to so many times that of a class which is not answered.
SILENCES = 2.0
#: Limits of the share of learned data in the retain slots.
LEAST_SHARE, MOST_SHARE = 0.2, 0.5


def scale(rank: int) -> Choice:
    """The numerator of the scale of LoRA, alpha / rank."""
    return 1, f'the scale of an adapter is 1 / {rank}'


def clipping(rank: int) -> Choice:
    """Clipping of the gradients."""
    return dict(max_norm=1.0), 'one odd batch cannot throw the adapters away'


def curve(rank: int) -> Choice:
    """The learning rate over a phase."""
    found = dict(type='knowswap_mm.WarmupCosineLR', warmup=0.05, min_warmup=5, end_factor=0.01)
    return [found], 'up over 5 % of a phase, at least 5 iterations, then a cosine to 1 %'


def fraction(rank: int) -> Choice:
    """Share of a role's data that is used."""
    return 1.0, 'all data; the length of a phase says how often they are seen'


def fraction_by(rank: int) -> Choice:
    """What a share of the data is drawn from."""
    return 'class', 'a share of each class, so that none is missing'


def hinge(facts: Facts) -> Choice:
    """What the bound of the forget loss is compared with."""
    if facts.reads_samples:
        return 'sample', 'each sample is pushed to the bound, and no further'
    return 'mean', (
        'the losses of this host cannot be read sample by sample: the bound is in the units of its '
        'whole loss'
    )


def learning_rate(facts: Facts) -> Choice:
    """The learning rate, which falls with the root of the width."""
    key = 'optim_wrapper.optimizer.lr'
    if not facts.width:
        problem, fix = 'the recipe is for adapters, and there are none', 'give a number'
        raise ConfigError(key, 'auto', problem, fix)
    if facts.optimizer not in RATE_OF:
        problem = f'the recipe knows the rate of {RATE_OF}, not that of {facts.optimizer!r}'
        raise ConfigError(key, 'auto', problem, 'give a number')
    why = f'{RATE:g} at a width of {AT_WIDTH}, by the root of the width; here it is {facts.width}'
    return RATE * math.sqrt(AT_WIDTH / facts.width), why


def split(phase: PhaseFacts) -> Choice:
    """Samples by role in a batch of all processes together."""
    share, rest = divmod(phase.run.batch, len(phase.roles))
    return {role: share + rest * (role == RETAIN) for role in phase.roles}, 'equal parts'


def iterations(phase: PhaseFacts) -> Choice:
    """Length of the phase: so many passes over its own roles."""
    passes = {role: TIMES[role] * phase.run.samples[role] for role in phase.own}
    role = max(passes, key=lambda each: passes[each] / phase.split[each])
    wanted = math.ceil(passes[role] / phase.split[role])
    why = f'each of {phase.run.samples[role]} {role} samples {TIMES[role]} times'
    if wanted < SHORTEST:
        return SHORTEST, f'{why} would be {wanted}; at least {SHORTEST}'
    if wanted > LONGEST:
        return LONGEST, f'{why} would be {wanted}; at most {LONGEST}'
    return wanted, why


def rate_factor(phase: PhaseFacts) -> Choice:
    """Factor on the learning rate with which the phase starts."""
    if phase.kind == 'forget':
        return GENTLER, 'half: forgetting needs little, and a high rate harms what was learned'
    return 1.0, 'the rate as it is'


def whole_weight(phase: PhaseFacts) -> Choice:
    """Weight of what is to be right in the end."""
    return 1.0, 'the loss as it is'


def forget_weight(phase: PhaseFacts) -> Choice:
    """Weight of the forget term."""
    if phase.kind == 'joint':
        return 1.0, 'the loss as it is'
    return 0.5, 'half: forgetting is quick, and the rest must keep up'


def sparsity_weight(phase: PhaseFacts) -> Choice:
    """Weight of the group-sparse term."""
    return 0.0, 'none: it costs accuracy, and only says where the change sits'


def bound(phase: PhaseFacts) -> Choice:
    """Where the forget loss is pushed to."""
    if not phase.run.bounded:
        return UNBOUNDED, 'the objective has no bound'
    chance, silence = phase.run.chance, phase.run.silence
    why = f'{SILENCES:g} times the loss of chance, {chance:.3g}'
    if silence > chance:
        why = f'{SILENCES:g} times the loss of what a detector does not report, {silence:.3g}'
    if not phase.run.reads_samples:
        why += '; for the whole loss of a host whose samples cannot be read: look at forget/raw'
    return SILENCES * silence, why


def merged_share(phase: PhaseFacts) -> Choice:
    """Share of the retain slots that learned data takes, where it joins the retain set."""
    slots, counts = phase.split[RETAIN], phase.run.classes
    if slots < 2:
        return None, f'{slots} retain samples a batch cannot be shared: in proportion to the sets'
    learned, kept = counts[LEARN], counts[RETAIN]
    share = min(max(learned / max(learned + kept, 1), LEAST_SHARE), MOST_SHARE)
    if share < 1 / slots:
        return 1 / slots, f'one of {slots} retain samples a batch'
    why = f'{learned} of {learned + kept} classes are learned; within {LEAST_SHARE}, {MOST_SHARE}'
    return share, why


#: Known from the config alone, of which they get the rank of the adapters: the model, the data set
#: and the schedulers are built with them.
OF_CONFIG: dict[str, Callable[[int], Choice]] = {
    'optim_wrapper.clip_grad': clipping,
    'param_scheduler': curve,
    'model.lora.alpha': scale,
    'train_dataloader.dataset.roles.*.fraction': fraction,
    'train_dataloader.dataset.roles.*.fraction_by': fraction_by,
}
#: Known once the model and the data are built.
OF_RUN: dict[str, Callable[[Facts], Choice]] = {
    'optim_wrapper.optimizer.lr': learning_rate,
    'model.loss.hinge': hinge,
}
#: Of each phase; the split comes first, and the others may ask for it.
OF_PHASE: dict[str, Callable[[PhaseFacts], Choice]] = {
    'split': split,
    'iters': iterations,
    'lr_factor': rate_factor,
    'weights.learn': whole_weight,
    'weights.retain': whole_weight,
    'weights.forget': forget_weight,
    'weights.sparsity': sparsity_weight,
    'bound': bound,
    'merged_share': merged_share,
}
