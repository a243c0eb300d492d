"""One training step of a swapper, and how two of them are compared."""

import torch

from tests.helpers.tiny_hosts import trainable

#: The phases of ``tiny_hosts.swap_schedule``, and the roles in a batch of each.
LEARN, FORGET, JOINT, EXPAND = range(4)
ROLES = (
    ('learn', 'retain'),
    ('forget', 'retain'),
    ('learn', 'forget', 'retain'),
    ('learn', 'retain'),
)


def step(swapper, inputs, samples):
    """Terms and gradients of one step."""
    swapper.zero_grad()
    terms = swapper(inputs, samples, mode='loss')
    sum(value for key, value in terms.items() if 'loss' in key).backward()
    gradients = {name: p.grad.clone() for name, p in trainable(swapper).items()}
    return terms, gradients


def assert_same(found, wanted, tolerance=1e-6):
    (terms, gradients), (terms_, gradients_) = found, wanted
    assert terms.keys() == terms_.keys() and gradients.keys() == gradients_.keys()
    for key in terms:
        torch.testing.assert_close(terms[key], terms_[key], rtol=tolerance, atol=tolerance)
    for key in gradients:
        torch.testing.assert_close(gradients[key], gradients_[key], rtol=1e-5, atol=tolerance)
    assert any(gradient.abs().max() > 1e-4 for gradient in gradients.values())
