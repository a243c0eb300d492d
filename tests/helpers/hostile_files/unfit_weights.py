"""Whole weight files whose weights a model must not take over, not even a part of them."""

import math

import torch

from tests.helpers.hostile_files.case import Cases

UNFIT_WEIGHTS = Cases()
case = UNFIT_WEIGHTS.case


def last(state):
    """A weight at the end: those before it would be copied first."""
    return [key for key, value in state.items() if value.is_floating_point()][-1]


@case('not_a_number')
def not_a_number(state):
    state[last(state)].view(-1)[0] = math.nan


@case('infinite')
def infinite(state):
    state[last(state)].view(-1)[0] = -math.inf


@case('too_large_for_the_model')
def too_large_for_the_model(state):
    """Finite in double precision, infinite in single."""
    state[last(state)] = state[last(state)].double()
    state[last(state)].view(-1)[0] = 1e300


@case('whole_numbers')
def whole_numbers(state):
    state[last(state)] = (state[last(state)] * 100).to(torch.int8)


@case('complex_numbers')
def complex_numbers(state):
    state[last(state)] = torch.complex(state[last(state)], state[last(state)])


@case('truth_values')
def truth_values(state):
    state[last(state)] = state[last(state)] > 0


@case('one_missing')
def one_missing(state):
    del state[last(state)]


@case('one_too_many')
def one_too_many(state):
    state['backbone.extra.weight'] = torch.ones(2)


@case('other_shape')
def other_shape(state):
    state[last(state)] = state[last(state)][..., :-1].clone()


@case('no_dimension')
def no_dimension(state):
    state[last(state)] = torch.tensor(1.0)


@case('no_value')
def no_value(state):
    state[last(state)] = torch.zeros(0)
