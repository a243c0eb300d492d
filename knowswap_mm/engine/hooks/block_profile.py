"""Where learning and forgetting happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from knowswap_mm.checks import check_whole
from knowswap_mm.compat import goes_on
from knowswap_mm.io.files import write_json
from knowswap_mm.lora.groups import BlockNorms
from knowswap_mm.registry import HOOKS
from knowswap_mm.runs.files import PROFILE_FILE
from knowswap_mm.schedule import Decision, SwapPhase

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
        """Open the entry of a phase, unless it is open."""
        if self._open is not None and self._open['name'] == phase.name:
            return
        parts = min(self.parts, phase.length)
        shape, device = (parts, len(self.norms.names)), self.norms.device
        self._open = dict(
            name=phase.name,
            kind=phase.kind,
            begin=phase.begin,
            end=phase.end,
            ends=[phase.begin + round(phase.length * (i + 1) / parts) for i in range(parts)],
            steps=[0] * parts,
            **{name: torch.zeros(shape, device=device) for name in (*_SUMS, 'update', 'change')},
            start=self.norms.matrices(),
        )

    def change(self, phase: SwapPhase, done: int) -> None:
        """Follow a phase whose end was moved while its iteration ``done - 1`` runs.

        Parts that have ended stay; the others are spread over the rest.
        """
        entry = self._open
        ended = [end for end in entry['ends'] if end < done]
        last = ended[-1] if ended else entry['begin']
        rest = len(entry['ends']) - len(ended) if phase.end > done else 1
        ends = [last + round((phase.end - last) * (i + 1) / rest) for i in range(rest)]
        entry['end'], entry['ends'] = phase.end, ended + ends
        for name in ('steps', *_SUMS, 'update', 'change'):
            entry[name] = entry[name][: len(entry['ends'])]

    def step(self, iteration: int) -> None:
        """Take the gradients over with which the optimizer is about to step."""
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
        """Write ``block_profile.json`` into the folder of a run.

        It holds names of the blocks, norms of their weights, and phases.
        """
        path, weight = Path(folder) / PROFILE_FILE, self.norms.weights().cpu().tolist()
        data = dict(blocks=self.norms.names, weight=weight, phases=self.phases)
        write_json(path, data, indent=None)
        return path

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(phases=self.phases, open=self._open)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.phases, self._open = list(state['phases']), state['open']
        if self._open is not None:
            device = self.norms.device
            for key, value in self._open.items():
                if isinstance(value, Tensor):
                    self._open[key] = value.to(device)


@HOOKS.register_module()
class BlockProfileHook(Hook):
    """Follows gradients and adapters of each transformer block, phase by phase.

    The result is ``block_profile.json`` in the work dir, which :class:`BlockProfile` describes;
    ``knowswap block-profile`` and the report draw it. The gradients are those with
    which the optimizer steps: averaged over the processes, and clipped if the config clips. Each
    step is counted, and none of it waits for the device before a phase ends. A model without
    adapters has no profile.

    Args:
        parts (int): A phase is cut into so many parts of equal length, to see movement in it.

    Raises:
        ConfigError: If ``parts`` is no integer from 1 on.
    """

    #: After decisions, which may end a part; before the checkpoint of the iteration is written.
    priority = 85

    def __init__(self, parts: int = 4) -> None:
        check_whole('custom_hooks.BlockProfileHook.parts', parts, 1, 4)
        self.parts = parts
        self.profile: BlockProfile | None = None
        self._resumed: dict[str, Any] | None = None
        self._watch: Any = None

    def before_train(self, runner: Any) -> None:
        """Find the blocks, and listen to the optimizer."""
        if not runner.swapper.adapters:
            return
        norms = BlockNorms(runner.swapper.host, runner.swapper.adapter_name)
        self.profile = BlockProfile(norms, self.parts)
        if self._resumed is not None:
            self.profile.load_state_dict(self._resumed)
            self._resumed = None
        optimizer = runner.optim_wrapper.optimizer
        self._watch = optimizer.register_step_pre_hook(lambda *_: self.profile.step(runner.iter))

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Open the phase; one that a resumed run has not watched from its beginning as well."""
        if self.profile is not None:
            self.profile.begin(runner.swap_schedule.phase_at(runner.iter))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Measure the adapter at the end of a part, and write at the end of a phase."""
        if self.profile is None or not self.profile.end_iteration(runner.iter + 1):
            return
        if is_main_process():
            self.profile.write(runner.work_dir)

    def after_decision(self, runner: Any, decision: Decision) -> None:
        """Follow a phase whose end was moved."""
        if self.profile is not None:
            self.profile.change(runner.swap_schedule.phases[decision.phase], decision.at)

    def after_train(self, runner: Any) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the profile into the checkpoint."""
        if self.profile is not None:
            checkpoint['block_profile'] = self.profile.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the profile of the run that is resumed until the blocks are known."""
        if goes_on(runner) and 'block_profile' in checkpoint:
            self._resumed = checkpoint['block_profile']
