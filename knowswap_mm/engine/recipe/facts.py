"""What the formulas of the recipe may know."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knowswap_mm.checks import check_whole
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.models import RoleModel
from knowswap_mm.models.losses.swapping import SwappingLoss
from knowswap_mm.roles import RETAIN, ROLES
from knowswap_mm.schedule import PHASE_KINDS


@dataclass(frozen=True)
class Facts:
    """What is known of a swap once its model and its data are built; the same in all processes.

    Attributes:
        samples (Mapping[str, int]): Training samples by role.
        classes (Mapping[str, int]): Classes by role.
        batch (int): Samples in a batch of all processes together.
        processes (int): Their number; no number of the recipe may depend on it.
        chance (float): The loss of chance in nats: ln K, where the head chooses among K.
        silence (float): The loss from which the head does not answer with a class, in nats.
        reads_samples (bool): Whether the host's losses can be read sample by sample.
        bounded (bool): Whether the objective has a bound.
        width (int): Features of a block of the host, the median over the layers with adapters; 0
            without adapters.
        optimizer (str): Type of the optimizer, without its scope.
    """

    samples: Mapping[str, int]
    classes: Mapping[str, int]
    batch: int
    processes: int = 1
    chance: float = 1.0
    silence: float = 1.0
    reads_samples: bool = True
    bounded: bool = True
    width: int = 0
    optimizer: str = 'AdamW'


@dataclass(frozen=True)
class PhaseFacts:
    """What is known of one phase.

    Attributes:
        run (Facts): Of the whole swap.
        kinds (tuple[str, ...]): The kinds of all phases in their order.
        index (int): Position of this one.
        merges (bool): Whether learned data joins the retain set.
        split (Mapping[str, int]): Samples by role in a batch of all processes; empty while that is
            what is to be found.
    """

    run: Facts
    kinds: tuple[str, ...]
    index: int
    merges: bool = False
    split: Mapping[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of the phase."""
        return self.kinds[self.index]

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the phase, its own ones first."""
        return PHASE_KINDS[self.kind]

    @property
    def own(self) -> tuple[str, ...]:
        """Roles that the phase is about: all but retain."""
        return tuple(role for role in self.roles if role != RETAIN)


def facts_of(
    swapper: RoleModel, dataset: RoleDataset, batch_size: Any, processes: int, optimizer: str
) -> Facts:
    """Gather the facts of a run.

    The model has no weights yet when this is called: they are loaded when the training begins. A
    probe, which measures by running the model, belongs behind that, with its findings as further
    attributes of :class:`Facts`; there is none so far.

    Args:
        swapper (RoleModel): The model.
        dataset (RoleDataset): The training data.
        batch_size (Any): Of one process, as the config has it.
        processes (int): Number of processes.
        optimizer (str): Type of the optimizer.

    Raises:
        ConfigError: If the batch size is none.
    """
    check_whole('train_dataloader.batch_size', batch_size, 1, 160)
    reader = swapper.samples
    chance = math.log(max(swapper.class_rows.total, 2)) if reader is None else reader.chance
    widths = _widths(swapper.adapters)
    return Facts(
        samples={role: dataset.role_sizes.get(role, 0) for role in ROLES},
        classes={role: len(dataset.classes.of(role)) for role in ROLES},
        batch=batch_size * processes,
        processes=processes,
        chance=chance,
        silence=chance if reader is None else reader.silence,
        reads_samples=reader is not None,
        bounded=isinstance(swapper.swapping_loss, SwappingLoss),
        width=statistics.median_low(widths) if widths else 0,
        optimizer=optimizer,
    )


def _widths(adapters: Mapping[str, Any]) -> list[int]:
    """The smaller side of each layer with an adapter, by the matrices A and B by name.

    A is ``(rank, in, ...)``, B ``(out, rank, ...)``. A feed-forward layer leads from the width of
    the block to more, or back: the width is the smaller side.
    """
    return [
        min(matrix.shape[1], adapters[name.replace('.lora_A.', '.lora_B.')].shape[0])
        for name, matrix in adapters.items()
        if '.lora_A.' in name
    ]
