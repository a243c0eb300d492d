"""Where, among the transformer blocks, the phases of a swap changed a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowswap_mm.engine.atomic_file import write_atomic
from knowswap_mm.lora.block_norms import BlockNorms
from knowswap_mm.schedule import SwapPhase

PROFILE_FILE = 'block_profile.json'
_SUMS = ('gradient', 'share')


class BlockProfile:
    """Collects a profile over the blocks for each phase, cut into parts of equal length.

    Everything stays on the device until a phase ends. An entry of :attr:`phases` has the ``name``,
    ``kind``, ``begin`` and ``end`` of the phase, and lists with one item a part: ``ends``
    (iteration), ``steps`` (steps of the optimizer), and, with one number a block,

    - ``gradient``: mean over the steps of the norm of the gradient of the block's LoRA matrices;
    - ``share``: mean over the steps of the block's share of the sum of these norms, in which no
      single step outweighs the others;
    - ``update``: norm of what the adapter adds to the block's weights at the end of the part;
    - ``change``: norm of the difference between that and what it added when the phase began.

    Args:
        norms (BlockNorms): Measures the model.
        parts (int): Parts of a phase.

    Attributes:
        phases (list[dict]): The phases that have ended.
    """

    def __init__(self, norms: BlockNorms, parts: int = 4) -> None:
        self.norms, self.parts = norms, parts
        self.phases: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    def begin(self, phase: SwapPhase) -> None:
        """Open the entry of a phase, unless it is open.

        Args:
            phase (SwapPhase): The phase.
        """
        if self._open is not None and self._open['name'] == phase.name:
            return
        parts = min(self.parts, phase.length)
        blocks = len(self.norms.names)
        device = self.norms.device
        self._open = dict(
            name=phase.name,
            kind=phase.kind,
            begin=phase.begin,
            end=phase.end,
            ends=[phase.begin + round(phase.length * (i + 1) / parts) for i in range(parts)],
            steps=[0] * parts,
            gradient=torch.zeros(parts, blocks, device=device),
            share=torch.zeros(parts, blocks, device=device),
            update=torch.zeros(parts, blocks, device=device),
            change=torch.zeros(parts, blocks, device=device),
            start=self.norms.matrices(),
        )

    def step(self, iteration: int) -> None:
        """Take the gradients over with which the optimizer is about to step.

        Args:
            iteration (int): The iteration that runs.
        """
        entry = self._open
        part = next(i for i, end in enumerate(entry['ends']) if iteration < end)
        gradients = self.norms.gradients()
        entry['gradient'][part] += gradients
        entry['share'][part] += gradients / gradients.sum().clamp_min(1e-30)
        entry['steps'][part] += 1

    def end_iteration(self, done: int) -> bool:
        """Measure the adapter where a part ends, and close the entry where its phase does.

        Args:
            done (int): Iterations done.

        Returns:
            bool: Whether a phase ended.
        """
        entry = self._open
        if done in entry['ends']:
            part = entry['ends'].index(done)
            entry['update'][part] = self.norms.updates()
            entry['change'][part] = self.norms.updates(entry['start'])
        if done != entry['end']:
            return False
        steps = torch.tensor(entry['steps']).clamp_min(1)[:, None]
        closed = {}
        for key, value in entry.items():
            if isinstance(value, Tensor):
                value = value.double().cpu()
                value = (value / steps if key in _SUMS else value).tolist()
            closed[key] = value
        del closed['start']
        self.phases = [each for each in self.phases if each['name'] != entry['name']] + [closed]
        self._open = None
        return True

    def write(self, folder: str | Path) -> Path:
        """Write ``block_profile.json``: names of the blocks, norms of their weights, phases.

        Args:
            folder (str | Path): Folder of the run.

        Returns:
            Path: The file.
        """
        data = dict(
            blocks=self.norms.names, weight=self.norms.weights().cpu().tolist(), phases=self.phases
        )
        text = json.dumps(data) + '\n'
        path = Path(folder) / PROFILE_FILE
        write_atomic(path, lambda file: file.write(text.encode()))
        return path

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(phases=self.phases, open=self._open)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint.

        Args:
            state (dict): What :meth:`state_dict` gave.
        """
        self.phases, self._open = list(state['phases']), state['open']
        if self._open is not None:
            device = self.norms.device
            for key, value in self._open.items():
                if isinstance(value, Tensor):
                    self._open[key] = value.to(device)
