"""What happens between phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from knowswap_mm.checks import check_flag
from knowswap_mm.compat import goes_on
from knowswap_mm.datasets.seeding import derive_seed, seed_all
from knowswap_mm.distributed.process_group import of_rank_0
from knowswap_mm.engine.hooks.checkpoint import NOWHERE
from knowswap_mm.engine.log import bounded
from knowswap_mm.engine.optim import begin_windows
from knowswap_mm.engine.saved_weights import SavedWeights, fingerprint
from knowswap_mm.engine.words import say
from knowswap_mm.errors import PhaseError
from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.lora import AdapterFile
from knowswap_mm.registry import HOOKS
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.checkpoints import save_latest
from knowswap_mm.runs.files import (
    ADAPTER_FOLDER,
    PHASE_ADAPTERS,
    RESULTS_FILE,
    iteration_file,
    phase_file,
)
from knowswap_mm.runs.history import SwapHistory
from knowswap_mm.runs.record import begin_run_folder
from knowswap_mm.runs.results import START, SwapResults
from knowswap_mm.schedule import SwapPhase
from knowswap_mm.schedule.shares import role_counts

_PHASE_TERMS = ('train/loss', 'train/sparsity', *(f'train/{role}/' for role in ROLES))


@HOOKS.register_module()
class PhaseHook(Hook):
    """Ends and begins phases: checkpoint, evaluation, learning rate and optimizer restarts.

    Where a decision began another segment of a phase, its learning rate schedule starts anew.

    The state after each phase is saved as ``phase1_learn.pth`` and so on, and evaluated; the
    results are printed as a table at the end and written to ``swap_results.json``. Random numbers
    of the model (dropout), of Python and numpy are seeded from the iteration, so that a resumed run
    repeats them.

    Where hooks put other weights into checkpoints than those that train (``EMAHook``), those of the
    checkpoint are evaluated, described and written as adapter, and the run ends with them; each
    phase goes on with the weights that train. Windows of gradient accumulation end with the phase.

    Args:
        evaluate_start (bool): Whether to evaluate before the first phase.
        save_phases (bool): Whether to save a checkpoint after each phase.
        save_adapter (bool): Whether to write the adapter as safetensors at the end.
        save_phase_adapters (bool): Whether to write it after each phase, too, to
            ``adapters/phase1_learn`` and so on.
    """

    #: Before RuntimeInfoHook, which logs the learning rate of the iteration that begins.
    priority = 'HIGHEST'

    def __init__(
        self,
        evaluate_start: bool = True,
        save_phases: bool = True,
        save_adapter: bool = True,
        save_phase_adapters: bool = True,
    ) -> None:
        key = 'custom_hooks.PhaseHook'
        self.evaluate_start, self.save_phases = evaluate_start, save_phases
        self.save_adapter, self.save_phase_adapters = save_adapter, save_phase_adapters
        for name in ('evaluate_start', 'save_phases', 'save_adapter', 'save_phase_adapters'):
            check_flag(f'{key}.{name}', getattr(self, name))
        self.results = SwapResults()
        self.history = SwapHistory()
        self._evaluated_at: int | None = None
        self._measured: str | None = None
        self._ended: SwapPhase | None = None
        self._weights: SavedWeights | None = None

    def before_train(self, runner: Any) -> None:
        """Print what trains, and take up the window of accumulation of a resumed run.

        Raises:
            CheckpointError: If the run is resumed inside such a window.
        """
        begin_windows(runner)
        if is_main_process():
            # Only now: a run that is refused must not overwrite the files of an earlier one.
            runner.began_ns = begin_run_folder(runner)
        measures = _role_metric(runner) or SwapResults()
        self.results.primary, self.results.scale = measures.primary, measures.scale
        self.results.kinds = [phase.kind for phase in runner.swap_schedule.phases]
        runner.logger.info(_trainable_summary(runner.swapper))

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Evaluate the start, begin a phase where one begins, and check that the batch fits.

        Raises:
            PhaseError: If the roles of the batch are not those of the phase.
        """
        phase = runner.swap_schedule.phase_at(runner.iter)
        if runner.iter == phase.begin:
            if phase.index == 0 and self.evaluate_start:
                self._evaluate(runner, START)
            if phase.index > 0:
                self._finish(runner, runner.swap_schedule.phases[phase.index - 1])
            self._begin(runner, phase)
        elif runner.iter == phase.segment_at(runner.iter).begin:
            self._begin_segment(runner, phase)
        self._check_batch(phase, data_batch, runner.rank, runner.world_size)
        seed_all(derive_seed('model', runner.seed, runner.rank, runner.iter))

    def before_val(self, runner: Any) -> None:
        """Seed the random numbers of a model that has some when it predicts."""
        seed_all(derive_seed('evaluation', runner.seed, runner.rank))

    def before_test(self, runner: Any) -> None:
        """As before an evaluation in training, so that both give the same figures."""
        self.before_val(runner)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Step schedulers that count epochs of the phase."""
        span = runner.swap_schedule.lr_span(runner.iter)
        done, epoch_length = runner.iter + 1 - span.begin, span.phase.epoch_length
        if epoch_length and done % epoch_length == 0:
            for scheduler in runner.param_schedulers or []:
                if scheduler.by_epoch:
                    scheduler.step()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note which weights are measured at the end of a phase."""
        schedule = runner.swap_schedule
        if batch_idx == 0 and schedule and is_main_process():
            if any(runner.iter == phase.end for phase in schedule.phases):
                self._measured = fingerprint(runner.swapper)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Remember the metrics if they belong to the end of a phase."""
        if runner.swap_schedule is None:
            return
        for phase in runner.swap_schedule.phases:
            if runner.iter == phase.end and metrics:
                self._record(runner, phase.name, metrics)

    def after_train(self, runner: Any) -> None:
        """End the last phase, print the table and write the adapter."""
        if runner.iter < runner.swap_schedule.total:
            self._stop_early(runner)
            return
        weights = self._finish(runner, runner.swap_schedule.phases[-1])
        if self.results.states:
            runner.logger.info(
                f'{self.results.primary} by role, in percent:\n{self.results.table()}'
            )
            say(runner)
        weights.put()  # what comes now (an audit, the caller) sees what was saved
        if self.save_adapter:
            self._write_adapter(runner, ADAPTER_FOLDER)

    def after_stop(self, runner: Any, ending: dict[str, Any]) -> None:
        """Say what became of the roles so far."""
        if self.results.states:  # otherwise the folder may have results of an earlier run
            say(runner, ending)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put schedule and results into the checkpoint, and only the newest logged values."""
        hub = checkpoint.get('message_hub')
        if hub is not None:
            hub['log_scalars'] = bounded(hub['log_scalars'], runner.log_processor)
        if runner.swap_schedule is not None:
            checkpoint['swap'] = dict(
                run=runner.run_id,
                load_from=runner.cfg.get('load_from'),
                schedule=runner.swap_schedule.base.to_dict(),
                decisions=[each.to_dict() for each in runner.swap_schedule.decisions],
                plan=runner.plan.to_list(),
                holdout=runner.train_dataloader.dataset.holdout,
                results=self.results.state_dict(),
                history=self.history.state_dict(),
            )

    def seal_checkpoint(
        self, runner: Any, checkpoint: dict[str, Any], weights: SavedWeights
    ) -> None:
        """Describe a phase that ends by the weights of its checkpoint, which is final."""
        if self._ended is None:
            return
        self._weights = weights
        classes = runner.train_dataloader.dataset.classes.to_dict()
        with weights.in_model():
            self.history.add(self._ended, runner.swapper, classes, runner.seed)
        checkpoint['swap']['history'] = self.history.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take over the results of the run that is resumed."""
        if goes_on(runner) and 'swap' in checkpoint:
            self.results.load_state_dict(checkpoint['swap']['results'])
            self.history.load_state_dict(checkpoint['swap'].get('history', {}))

    def _begin(self, runner: Any, phase: SwapPhase) -> None:
        if runner.swapper.set_trainable(phase):
            runner.rewrap_model()
        optimizer = runner.optim_wrapper.optimizer
        if phase.restart_optimizer:
            optimizer.state.clear()
        rate = _begin_rate(runner)
        # Terms that the new phase does not have would otherwise stay in the log forever.
        scalars = runner.message_hub.log_scalars
        for key in [key for key in scalars if key.startswith(_PHASE_TERMS)]:
            del scalars[key]
        state = 'fresh' if phase.restart_optimizer or phase.index == 0 else 'kept'
        runner.logger.info(
            f'Phase {phase.index + 1} of {len(runner.swap_schedule.phases)}: {phase.kind}, '
            f'iterations {phase.begin} to {phase.end - 1}, learning rate {rate:g}, '
            f'optimizer state {state}'
        )

    @staticmethod
    def _begin_segment(runner: Any, phase: SwapPhase) -> None:
        segment, rate = phase.segment_at(runner.iter), _begin_rate(runner)
        runner.logger.info(
            f'{phase.name} goes on as decided: iterations {segment.begin} to {segment.end - 1}, '
            f'learning rate {rate:g}'
        )

    @staticmethod
    def _stop_early(runner: Any) -> None:
        """Keep what was trained when a hook ends the run before its last phase does."""
        done, schedule = runner.iter, runner.swap_schedule
        phase = schedule.phase_at(max(done - 1, 0))
        path = save_latest(runner, iteration_file(done), meta=dict(iter=done, epoch=runner.epoch))
        runner.logger.warning(
            f'A hook (EarlyStoppingHook?) ended the run after {done} of {schedule.total} '
            f'iterations, in {phase.name} ({done - phase.begin} of {phase.length}): the swap is '
            f'not done, and there is no adapter of it. {path} was saved; take the hook out and go '
            'on with --resume.'
        )
        change = 'take the hook out and go on with --resume'
        ending = dict(iteration=done, reason='a hook ended it', change=change)
        runner.call_hook('after_stop', ending=ending)

    def _finish(self, runner: Any, phase: SwapPhase) -> SavedWeights:
        runner.check_finite()
        weights = self._save(runner, phase)
        if self._evaluated_at != phase.end:
            self._evaluate(runner, phase.name)
        self._check_measured(runner, phase, weights)
        if self.save_phase_adapters:
            with weights.in_model():
                self._write_adapter(runner, f'{PHASE_ADAPTERS}/{phase.name}')
        return weights

    def _save(self, runner: Any, phase: SwapPhase) -> SavedWeights:
        """Save the end of a phase; give the weights of the checkpoint, in all processes."""
        self._ended, self._weights = phase, None
        meta = dict(iter=phase.end, epoch=runner.epoch)
        name = phase_file(phase.name)
        if self.save_phases:
            # Noted as the last one: a run may end before its first periodic checkpoint.
            save_latest(runner, name, meta=meta)
        else:  # only to learn from the hooks what it would hold
            settings = dict(meta=meta, by_epoch=False, backend_args=dict(backend=NOWHERE))
            runner.save_checkpoint(runner.work_dir, name, **settings)
        self._ended = None
        changed = of_rank_0(self._weights.changed if self._weights else {})
        return SavedWeights(runner.swapper, changed)

    def _check_measured(self, runner: Any, phase: SwapPhase, weights: SavedWeights) -> None:
        """Measure again if other weights were measured than those in the checkpoint.

        Raises:
            PhaseError: If hooks put in other weights whenever the model is evaluated.
        """
        if runner.val_loop is None:
            return
        wanted = of_rank_0(weights.fingerprint() if is_main_process() else None)
        if of_rank_0(self._measured) == wanted:
            return
        runner.logger.warning(
            f'A hook evaluates other weights at the end of {phase.name} than it saves: those of '
            f'the checkpoint are evaluated now, and are the results of {phase.name}.'
        )
        with weights.in_model():
            self._evaluate(runner, phase.name)
        if of_rank_0(self._measured) != wanted:
            raise PhaseError(
                f'A hook in custom_hooks puts other weights into the evaluation of {phase.name} '
                'than into its checkpoint, so that the results would not be those of the model '
                'that is saved. Fix: take the hook out, or let it change both, as EMAHook does; '
                'then go on with --resume.'
            )

    def _write_adapter(self, runner: Any, folder: str) -> None:
        if is_main_process() and runner.swapper.adapters:
            classes = runner.train_dataloader.dataset.classes.to_dict()
            history = self.history.to_list(self.results)
            AdapterFile(Path(runner.work_dir) / folder).save(runner.swapper, classes, history)

    def _evaluate(self, runner: Any, state: str) -> None:
        if runner.val_loop is None:
            return
        metrics = runner.val_loop.run()
        runner.model.train()  # the iteration that follows must not run in evaluation mode
        self._record(runner, state, metrics)

    def _record(self, runner: Any, state: str, metrics: dict[str, float]) -> None:
        self._evaluated_at = runner.iter
        metric = _role_metric(runner)
        self.results.add(state, runner.iter, metrics, metric.answers if metric else None)
        if is_main_process():
            path = Path(runner.work_dir) / RESULTS_FILE
            schedule = runner.swap_schedule.to_dict()
            self.results.write(path, seed=runner.seed, schedule=schedule)

    @staticmethod
    def _check_batch(
        phase: SwapPhase, data_batch: dict[str, Any] | None, rank: int = 0, world_size: int = 1
    ) -> None:
        counts: dict[str, int] = {}
        for sample in (data_batch or {}).get('data_samples', ()):
            # Not sample.metainfo, which is a new dict each time: this runs in every iteration.
            if sample.get('phase') != phase.index:
                raise PhaseError(
                    f'A sample of phase {sample.get("phase")} came in {phase.name}. Fix: '
                    "use sampler=dict(type='knowswap_mm.SwapSampler') and no other batch sampler."
                )
            role = sample.get('role')
            counts[role] = counts.get(role, 0) + 1
        expected = role_counts(phase, rank, world_size)
        if counts != expected:
            raise PhaseError(f'The batch has {counts}, but {phase.name} needs {expected}.')


def _begin_rate(runner: Any) -> float:
    """Begin windows of accumulation and, where one starts, a learning rate schedule.

    Returns the learning rate of the iteration, of the first group of parameters.
    """
    begin_windows(runner)
    optimizer, span = runner.optim_wrapper.optimizer, runner.swap_schedule.lr_span(runner.iter)
    if runner.iter == span.begin:
        for group in optimizer.param_groups:
            base = group.setdefault('base_lr', group.get('initial_lr', group['lr']))
            group['lr'] = group['initial_lr'] = base * span.lr_factor
        runner.start_phase_schedulers()
    return optimizer.param_groups[0]['lr']


def _role_metric(runner: Any) -> RoleMetric | None:
    evaluator = getattr(runner.val_loop, 'evaluator', None) if runner.val_loop else None
    found = getattr(evaluator, 'metrics', ())
    return next((metric for metric in found if isinstance(metric, RoleMetric)), None)


def _trainable_summary(swapper: Any) -> str:
    matrices = [p for p in swapper.adapters.values() if p.requires_grad]
    adapters = sum(p.numel() for p in matrices)
    trainable = sum(p.numel() for p in swapper.parameters() if p.requires_grad)
    total = sum(p.numel() for p in swapper.parameters())
    layers = len(matrices) // 2
    share = f'{trainable:,} of {total:,} parameters train ({100 * trainable / total:.2f} %)'
    if not layers:
        return f'{share}; no adapter does.'
    return (
        f'{share}: {adapters:,} in the adapters of {layers} linear layers, '
        f'{trainable - adapters:,} in head rows (head policy {swapper.head_policy!r}).'
    )
