"""A few pixels around all images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST, TRAIN
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import count_asked, draw_examples, named_beyond_chance
from knowswap_mm.audit.statistics import Estimate
from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.models.samples.reader import as_in_training
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET, RETAIN


@AUDITS.register_module()
class VisualPrompt(AuditPart):
    """Can a frame around the images make the frozen model name the forgotten classes again?

    A frame of pixels is added to all images and trained, with all weights frozen, on a few training
    images of the forgotten classes and as many retained ones, so that it does not make the model
    name forgotten classes everywhere (Bahng et al. 2022; against forgetting, issue 27). What counts
    is how many forgotten test units are named within it, less the share of retained test units that
    are then taken for a forgotten class. Less than nothing is nothing: a frame with which a model
    takes only retained units for forgotten ones brings no knowledge back.

    Args:
        width (float): Width of the frame, a share of the image's side; at least a pixel.
        shots (int): Training images a forgotten class.
        steps (int): Steps of training.
        lr (float): Step length of Adam, in units of the normalised image.
        batch_size (int): Samples a step, half of them to forget.
        repeats (int): Runs with other images; all models share them.
        samples (int): At most so many test samples of a role are asked.

    Raises:
        ConfigError: If a number cannot be used.
    """

    def __init__(
        self,
        width: float = 0.12,
        shots: int = 20,
        steps: int = 40,
        lr: float = 0.1,
        batch_size: int = 32,
        repeats: int = 2,
        samples: int = 300,
    ) -> None:
        key = 'audit.parts.VisualPrompt'
        check_number(f'{key}.width', width, 'in (0, 1]', 0.12)
        check_number(f'{key}.lr', lr, '> 0', 0.1)
        for name, value, least, example in (
            ('shots', shots, 1, 20),
            ('steps', steps, 1, 40),
            ('batch_size', batch_size, 2, 32),
            ('repeats', repeats, 1, 2),
            ('samples', samples, 1, 300),
        ):
            check_whole(f'{key}.{name}', value, least, example)
        self.width, self.shots, self.steps, self.lr = width, shots, steps, lr
        self.batch_size, self.repeats, self.samples = batch_size, repeats, samples

    def run(self, case: Case) -> list[Finding | Table]:
        """Train frames for all models."""
        finding = case.judged(
            'visual prompt',
            f'share of the forgotten test {case.reader.unit}s that are named within a trained '
            f'frame, less the share of retained ones taken for forgotten classes',
            lambda subject: self.measure(subject, case),
            settings=(vars(self), case.seed),
            meaning='a frame around the images, without a change of the model, brings the answers '
            'for the forgotten classes back',
        )
        return [finding]

    def images(self, case: Case) -> int:
        """All steps of all runs, and the questions."""
        run = self.steps * self.batch_size + count_asked(case, self.samples)
        return len(case.subjects) * self.repeats * run

    def measure(self, subject: Subject, case: Case) -> Estimate:
        """Train a frame for each repeat and ask the model within it."""
        shares = [self._share(subject, case, repeat) for repeat in range(self.repeats)]
        asked = min(self.samples, len(case.data.positions(TEST, FORGET)))
        return Estimate.of_draws(shares, max(asked, 1))

    def _share(self, subject: Subject, case: Case, repeat: int) -> float:
        host = subject.host
        frame = Frame(self.width)
        trainable = [p for p in host.parameters() if p.requires_grad]
        host.requires_grad_(False)
        try:
            with frame.around(host):
                self._train(frame, host, case, repeat)
                return named_beyond_chance(host, case, self.samples)
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)

    def _train(self, frame: Frame, host: nn.Module, case: Case, repeat: int) -> None:
        rng = np.random.default_rng([case.seed, repeat])
        positions = {FORGET: self._examples(case, repeat)}
        if RETAIN in case.data.roles(TRAIN):
            others = np.asarray(case.data.positions(TRAIN, RETAIN))
            positions[RETAIN] = rng.permutation(others)[: len(positions[FORGET])]
        optimizer = None
        for _ in range(self.steps):
            half = max(self.batch_size // len(positions), 1)
            chosen = [int(p) for each in positions.values() for p in rng.choice(each, half)]
            (batch,) = case.data.batches(TRAIN, chosen, len(chosen))
            with torch.enable_grad(), as_in_training(host):
                data = host.data_preprocessor(batch, True)
                loss, _ = host.parse_losses(host.loss(data['inputs'], data['data_samples']))
                if optimizer is None:  # the frame is as large as the first images
                    optimizer = torch.optim.Adam([frame.pixels], lr=self.lr)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _examples(self, case: Case, repeat: int) -> np.ndarray:
        """Positions of training samples of the forgotten classes, so many a class as are to be."""
        positions = np.asarray(case.data.positions(TRAIN, FORGET))
        labels = case.before.units(TRAIN, FORGET).labels
        if len(labels) == len(positions):  # a unit is a sample
            (chosen,) = draw_examples(labels, self.shots, 1, case.seed + repeat)
            return positions[chosen]
        count = self.shots * len(case.data.labels(FORGET))
        return np.random.default_rng([case.seed, repeat]).permutation(positions)[:count]


class Frame:
    """Pixels around the images that a host is shown.

    Args:
        width (float): Width as a share of the image's side.

    Attributes:
        pixels (Tensor | None): What is added, ``(1, channels, H, W)``, of the size of the first
            images; it is stretched for others. Zero but for the frame.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.pixels: Tensor | None = None

    @contextmanager
    def around(self, host: nn.Module) -> Iterator[None]:
        """Let the host's data preprocessor add the frame, in the block."""
        handle = host.data_preprocessor.register_forward_hook(self._add)
        try:
            yield
        finally:
            handle.remove()

    def _add(self, module: nn.Module, inputs: tuple[Any, ...], output: dict[str, Any]) -> None:
        images = output['inputs']
        if self.pixels is None:
            self.pixels = torch.zeros_like(images[:1]).requires_grad_(True)
        pixels = self.pixels
        if pixels.shape[-2:] != images.shape[-2:]:
            pixels = interpolate(pixels, size=images.shape[-2:], mode='bilinear')
        output['inputs'] = images + pixels * self._mask(images)

    def _mask(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        mask = images.new_ones(height, width)
        rows, columns = (max(round(self.width * size), 1) for size in (height, width))
        mask[rows : height - rows, columns : width - columns] = 0
        return mask
