"""The frame of a visual prompt, on a host of a few weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from knowswap_mm.audit.attacks.visual_prompt import Frame, VisualPrompt
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.readers.reader import Units
from knowswap_mm.audit.statistics import Verdict

FORGET, RETAIN = 'forget', 'retain'
SIZE = 8


class Preprocessor(nn.Module):
    def forward(self, batch, training=False):
        return dict(inputs=torch.stack(batch['inputs']), data_samples=batch['data_samples'])


class Host(nn.Module):
    """Names class 0 where the middle is bright and the corner is not switched off.

    The middle tells the classes apart; the pixel in the corner, once it is above ``threshold``,
    lets the answer through. It cannot be moved with the weights at hand if ``deaf``.
    """

    def __init__(self, threshold, deaf=False):
        super().__init__()
        self.threshold, self.deaf = threshold, deaf
        self.data_preprocessor = Preprocessor()
        self.scale = nn.Parameter(torch.tensor(4.0), requires_grad=False)

    def logits(self, inputs):
        middle = inputs[:, 0, SIZE // 2, SIZE // 2]
        corner = torch.zeros_like(middle) if self.deaf else inputs[:, 0, 0, 0]
        gate = (corner - self.threshold).clamp(-6, 0)
        return torch.stack([self.scale * middle + gate, torch.zeros_like(middle)], dim=1)

    def loss(self, inputs, data_samples):
        labels = torch.tensor(data_samples)
        return dict(loss=nn.functional.cross_entropy(self.logits(inputs), labels))

    def parse_losses(self, losses):
        return losses['loss'], losses


class Reader:
    unit, batch_size = 'image', None

    def read(self, host, batch, own):
        data = host.data_preprocessor(batch, False)
        logits = host.logits(data['inputs'])
        count = len(logits)
        labels = np.array(data['data_samples'])
        return Units(np.zeros((count, 1)), labels, logits.argmax(1).numpy(), np.zeros(count))

    def answers(self, host, batch, own):
        units = self.read(host, batch, own)
        return units.labels, units.predicted


class Data:
    """Ten bright images to forget (class 0), ten dark ones to retain (class 1)."""

    test_batch_size = 32

    def roles(self, split):
        return [FORGET, RETAIN]

    def labels(self, role):
        return {0} if role == FORGET else {1}

    def positions(self, split, role):
        return list(range(10)) if role == FORGET else list(range(10, 20))

    def batches(self, split, positions, batch_size=None):
        images = [torch.full((3, SIZE, SIZE), 1.0 if p < 10 else -1.0) for p in positions]
        yield dict(inputs=images, data_samples=[0 if p < 10 else 1 for p in positions])


def model(host):
    units = Units(np.zeros((10, 1)), np.zeros(10, int), np.zeros(10, int), np.zeros(10))
    return SimpleNamespace(
        host=host.eval(), remembered=lambda key, measure: measure(), units=lambda *_: units
    )


def test_a_closed_gate_is_opened_and_no_weight_moves():
    # Bright images, whose corner is 1, have 4 - 5 = -1, and 4 once a frame opens the gate.
    hidden = Host(threshold=6.0)
    state = {name: tensor.clone() for name, tensor in hidden.state_dict().items()}
    models = [model(Host(threshold=-9.0)), model(hidden), model(Host(threshold=6.0, deaf=True))]
    case = Case(*models[:2], models[2:], Data(), Reader())
    assert not VisualPrompt(steps=1, lr=1e-6)._share(models[1], case, 0)  # closed without a frame
    part = VisualPrompt(steps=80, lr=0.2, batch_size=8)
    (finding,) = part.run(case)
    assert (finding.before.value, finding.after.value, finding.floor.value) == (1, 1, 0)
    assert finding.verdict is Verdict.RECOVERED
    assert all(torch.equal(state[n], tensor) for n, tensor in hidden.state_dict().items())
    assert not hidden.data_preprocessor._forward_hooks
    assert part.images(case) == 3 * 2 * (80 * 8 + 20)


def test_naming_everything_is_worth_nothing():
    always = Host(threshold=-9.0)
    always.logits = lambda inputs: (
        torch.tensor([[1.0, 0.0]]).expand(len(inputs), 2) + 0 * inputs.sum()
    )
    case = Case(model(always), model(always), [], Data(), Reader())
    assert VisualPrompt(steps=2).measure(case.after, case).value == 0


def test_the_frame_by_hand():
    frame = Frame(0.25)
    host = SimpleNamespace(data_preprocessor=Preprocessor())
    batch = dict(inputs=[torch.zeros(3, 8, 4)] * 2, data_samples=[0, 0])
    with frame.around(host):
        assert not host.data_preprocessor(batch)['inputs'].any()
        with torch.no_grad():
            frame.pixels += 1
        seen = host.data_preprocessor(batch)['inputs']
        larger = host.data_preprocessor(dict(batch, inputs=[torch.zeros(3, 16, 8)]))['inputs']
    inside = torch.zeros(8, 4)
    inside[2:6, 1:3] = 1
    assert torch.equal(seen, (1 - inside).expand(2, 3, 8, 4))
    assert larger.sum() == 3 * (16 * 8 - 8 * 4)
    assert not host.data_preprocessor(batch)['inputs'].any()  # it is gone


@pytest.mark.parametrize(('name', 'words'), [('width', 'in (0, 1]'), ('batch_size', '>= 2')])
def test_bad_settings(name, words, raises_config_error):
    with raises_config_error(f'audit.parts.VisualPrompt.{name}', 0, words):
        VisualPrompt(**{name: 0})
