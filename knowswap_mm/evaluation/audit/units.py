"""What a model makes of the samples of a role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Units:
    """Features and answers by unit: a picture, an object or the region of a class in a picture.

    Attributes:
        features (np.ndarray): What the classifier of the host sees, or features pooled over the
            unit, ``(units, channels)``.
        labels (np.ndarray): True labels, ``(units,)``.
        predicted (np.ndarray): Predicted labels; the number of classes stands for "nothing".
        losses (np.ndarray): The host's loss by sample, ``(samples,)``.
        logits (np.ndarray | None): ``(units, classes)``, where a unit is a whole sample.
        blocks (dict[str, np.ndarray]): Output of each adapted block, averaged over its positions,
            ``(samples, channels)``.
    """

    features: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    losses: np.ndarray
    logits: np.ndarray | None = None
    blocks: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def right(self) -> np.ndarray:
        """Whether each unit was recognised."""
        return self.labels == self.predicted

    @classmethod
    def joined(cls, parts: Sequence[Units]) -> Units:
        """Those of several batches, in their order."""
        return cls(
            features=np.concatenate([part.features for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            predicted=np.concatenate([part.predicted for part in parts]),
            losses=np.concatenate([part.losses for part in parts]),
            logits=None
            if parts[0].logits is None
            else np.concatenate([part.logits for part in parts]),
            blocks={
                name: np.concatenate([part.blocks[name] for part in parts])
                for name in parts[0].blocks
            },
        )
