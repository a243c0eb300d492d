"""How soon the forgotten classes come back to rows of the head made of a few examples."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from knowswap_mm.audit.attacks.relearning import Relearning
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.data import TRAIN
from knowswap_mm.audit.findings import DepthCurve, Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import draw_examples
from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.checks import check_whole
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET


@AUDITS.register_module()
class PrototypeRelearning(Relearning):
    """Is relearning quick if the rows of the forgotten classes are first made of a few examples?

    Rows that a swap reset or pushed away hold relearning up for a reason that an attacker removes
    in a second: in all models alike they become the mean features of a few training units of their
    class, scaled to the mean length of the other rows, with the mean of the other biases (issue
    27). Then :class:`Relearning` goes on as ever, with its settings unless others are given. Each
    repeat has examples of its own, the same ones for all models.

    Args:
        shots (int): Examples a class.
        **settings: Those of :class:`Relearning`.
    """

    name, like = 'relearning from prototype rows', 'Relearning'
    floor = 'The floor is learning the classes anew from such rows.'
    meaning = (
        'whoever puts a few examples of the forgotten classes in the place of their rows, and '
        'trains on for a short time, has them back sooner than from a model that never knew them'
    )

    def __init__(self, shots: int = 5, **settings: float) -> None:
        check_whole('audit.parts.PrototypeRelearning.shots', shots, 1, 5)
        self.shots = shots
        super().__init__(**settings)

    def run(self, case: Case) -> list[Finding | Table | DepthCurve]:
        """Let all models relearn, if the rows of the host can be set."""
        if case.reader.class_layers(case.after.host):
            return super().run(case)
        remark = (
            f'The reader does not know what the class layer sees of a single {case.reader.unit}.'
        )
        unknown = Estimate.exact(0.0)
        verdict = Verdict.NOT_APPLICABLE
        return [Finding(self.name, 'steps to relearn', unknown, unknown, None, verdict, remark)]

    @torch.no_grad()
    def _prepared(self, subject: Subject, case: Case, repeat: int) -> nn.Module:
        host = copy.deepcopy(subject.host).eval()
        units = subject.units(TRAIN, FORGET)
        (chosen,) = draw_examples(units.labels, self.shots, 1, case.seed + repeat)
        for name, place in case.reader.class_layers(host).items():
            layer = make_plain(host, name)
            set_rows(layer, units.at(place)[chosen], units.labels[chosen])
        return host


def make_plain(host: nn.Module, name: str) -> nn.Module:
    """A class layer of a host; one that joins old and new rows is replaced by a plain one.

    (Torch's own way to undo a parametrization changes the class that all copies of the host share.)
    """
    layer = host.get_submodule(name)
    if not parametrize.is_parametrized(layer):
        return layer
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        plain: nn.Module = nn.Linear(layer.in_features, layer.out_features, bias)
    else:
        plain = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, bias=bias)
    plain.load_state_dict(layer.state_dict())
    parent, _, leaf = name.rpartition('.')
    setattr(host.get_submodule(parent), leaf, plain.to(layer.weight).train(layer.training))
    return plain


def set_rows(layer: nn.Module, features: np.ndarray, labels: np.ndarray) -> None:
    """Make rows of a class layer of the mean features of their classes.

    They get the mean length of the other rows, and the mean of the other biases.

    Args:
        layer (nn.Module): Linear, or a convolution of one pixel; a row a class, and perhaps more.
        features (np.ndarray): What it sees of each example, ``(examples, channels)``.
        labels (np.ndarray): Their classes, ``(examples,)``.
    """
    weight = layer.weight.data
    rows = np.unique(labels).tolist()
    others = [row for row in range(len(weight)) if row not in rows]
    length = weight[others].flatten(1).norm(dim=1).mean()
    for row in rows:
        mean = torch.from_numpy(features[labels == row].mean(axis=0)).to(weight)
        weight[row] = (mean * length / mean.norm().clamp_min(1e-12)).reshape(weight[row].shape)
    if layer.bias is not None:
        layer.bias.data[rows] = layer.bias.data[others].mean()
