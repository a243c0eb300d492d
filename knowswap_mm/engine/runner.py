"""The runner of a swap."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS

from knowswap_mm.console import import_quietly
from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.holdout import held_share
from knowswap_mm.distributed.cluster_runner import storage_error
from knowswap_mm.engine.checked_runner import CheckedRunner
from knowswap_mm.engine.checks import check_config, check_modules, check_run_config, hand_on_classes
from knowswap_mm.engine.config import (
    ReadableConfig,
    check_class_count,
    complete_hooks,
    prepare_libraries,
)
from knowswap_mm.engine.decisions import decide, replay
from knowswap_mm.engine.foreign_hooks import check_hooks
from knowswap_mm.engine.hooks.checkpoint import ATOMIC
from knowswap_mm.engine.hooks.nonfinite import NonfiniteHook
from knowswap_mm.engine.hooks.stall import StallHook
from knowswap_mm.engine.old_outputs import report_old_outputs
from knowswap_mm.engine.optim import PhaseSchedulers
from knowswap_mm.engine.recipe import Recipe, facts_of
from knowswap_mm.engine.words import ending_of
from knowswap_mm.errors import CheckpointError, ConfigError, PhaseError, SwapError
from knowswap_mm.installation import check_scope
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.models import RoleModel
from knowswap_mm.models.loading import load_weights
from knowswap_mm.registry import RUNNERS, name_types, type_name
from knowswap_mm.runs.checkpoints import ResumePoint, check_shared, taken_over
from knowswap_mm.runs.plan import Plan
from knowswap_mm.schedule import Decision, ScheduleChange, SwapSchedule


@RUNNERS.register_module()
class SwapRunner(CheckedRunner):
    """mmengine's runner with one source of truth for the phases: the config's ``swap`` field.

    Before training it builds the role data set, resolves ``swap`` into a :class:`SwapSchedule`, and
    hands that value to the sampler, the loop, the learning rate schedulers, the model and the
    hooks. Weight files are read as data only: nothing stored in them is executed.

    Set ``runner_type = 'knowswap_mm.SwapRunner'``; the hosts' ``train.py`` and ``test.py`` honour
    it. ``swap.classes`` reaches every role data set of the config, and ``swap.allow_random_host``
    permits training a host whose weights were never loaded.

    Hooks with a method ``after_stop(runner, ending)`` learn why a run ended before it was done:
    ``iteration`` (those done), ``reason`` and ``change`` (what to do).

    Attributes:
        plan (Plan): The numbers of the run, if some of them were left to the recipe.
    """

    recipe: Recipe | None = None
    plan = Plan()
    resume_point: ResumePoint | None = None
    began_ns: int = 0

    @classmethod
    def from_cfg(cls, cfg: Config) -> SwapRunner:
        """Build a runner from a config.

        Raises:
            ConfigError: If the config has no ``swap`` field.
        """
        prepare_libraries()  # the hosts' own tools start here, too
        cfg = ReadableConfig.adopt(name_types(copy.deepcopy(cfg)))
        if (cfg.get('randomness') or {}).get('deterministic'):
            # cuBLAS reads it when it is first used; without it torch refuses matrix products.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        if not isinstance(cfg.get('swap'), dict) or 'classes' not in cfg['swap']:
            fix = "add swap = dict(classes=dict(old=[...], ...), order='learn-forget', ...)"
            raise ConfigError('swap', cfg.get('swap'), 'the config describes no swap', fix)
        check_scope(cfg.get('default_scope'))
        import_quietly(cfg.get('default_scope'))
        check_config(cfg)
        recipe = Recipe(cfg)
        hand_on_classes(cfg)
        check_run_config(cfg)
        complete_hooks(cfg)
        try:
            runner = super().from_cfg(cfg)
            runner.recipe = recipe
            return runner
        except SwapError:
            raise
        except Exception as error:  # a part of the host library that its config does not fit
            if isinstance(error, OSError) and (full := storage_error(error, cfg.get('work_dir'))):
                raise full from error
            reason = f'cannot be built ({type(error).__name__}: {error})'
            fix = 'fix the part that the message names'
            raise ConfigError('config', cfg.filename, reason, fix) from error

    @property
    def swapper(self) -> RoleModel:
        """The model without the wrapper of distributed training."""
        return self.bare_model

    def train(self) -> Any:
        """Train.

        Raises:
            ConfigError: If the config does not fit the data or the model.
            PhaseError: If losses or weights are not finite.
        """
        try:
            return self._train()
        except PhaseError as error:
            self.call_hook('after_stop', ending=ending_of(self.iter, error))
            raise

    def _train(self) -> Any:
        try:
            return super().train()
        except (ValueError, RuntimeError) as error:
            for hook in self.hooks:
                if isinstance(hook, (NonfiniteHook, StallHook)):
                    hook.explain(self, error)
            raise

    def prepare(self) -> None:
        """Resolve the schedule, and check everything that can be checked.

        Raises:
            ConfigError: If the config does not fit the data or the model.
        """
        if not isinstance(self.swapper, RoleModel):
            fix = "use model = dict(type='knowswap_mm.KnowledgeSwapper', host=...)"
            raise ConfigError('model.type', type(self.swapper).__name__, 'is no swapper', fix)
        loader = self.loader_config('train')
        if not isinstance(loader, Mapping) or 'dataset' not in loader:
            fix = "give it dataset = dict(type='knowswap_mm.RoleDataset', ...)"
            raise ConfigError('train_dataloader', None, 'there is no training data', fix)
        config = dict(loader['dataset'])
        config.setdefault('seed', self.seed)
        config.setdefault('holdout', self._held_share())
        if self.resumes is True and self.resume_point is not None:
            self.resume_point.name_first_weights(self.cfg)
        for key, wanted in self.swapper.swapping_loss.held_out.items():
            config.setdefault(key, wanted)
        dataset = DATASETS.build(config)
        if not isinstance(dataset, RoleDataset):
            fix = "use type='knowswap_mm.RoleDataset'"
            kind = type(dataset).__name__
            raise ConfigError('train_dataloader.dataset.type', kind, 'has no roles', fix)
        check_class_count(self.swapper.class_rows, dataset.classes)
        self._choose_numbers(dataset, loader.get('batch_size'))
        given = self.cfg['swap'], dataset.role_sizes, loader.get('batch_size'), get_world_size()
        schedule = SwapSchedule.from_config(*given)
        self.swapper.check(schedule)
        for phase in schedule.phases:
            self.swapper.set_trainable(phase)
        self.swapper.set_trainable(schedule.phases[0])
        self.rewrap_model()
        self.swap_schedule = self.swapper.schedule = schedule
        sampler = dict(type='knowswap_mm.SwapSampler') | dict(loader.get('sampler') or {})
        loader = ConfigDict(loader)
        loader['dataset'], loader['sampler'] = dataset, dict(sampler, schedule=schedule)
        # Images in pinned memory are copied to the device while the CPU goes on.
        loader.setdefault('pin_memory', get_device() == 'cuda')
        loop = dict(self.train_loop_config)
        if loop.pop('by_epoch', False) or 'Epoch' in str(loop.get('type')):
            fix = "use train_cfg = dict(type='IterBasedTrainLoop')"
            given = dict(self.train_loop_config)
            raise ConfigError('train_cfg', given, 'a swap runs by iterations', fix)
        check_hooks(self, schedule.total)
        check_modules(self.cfg, self.swapper)
        if loop.get('max_iters', schedule.total) != schedule.total:
            said = f'train_cfg.max_iters = {loop["max_iters"]} is not used'
            self.logger.warning(f'{said}: the phases have {schedule.total} iterations.')
        loop.setdefault('type', 'IterBasedTrainLoop')
        loop.setdefault('val_interval', sys.maxsize)  # the loop evaluates the end anyway
        self.set_training(loader, dict(loop, max_iters=schedule.total))
        self.phase_schedulers = PhaseSchedulers(self.param_schedulers, schedule)
        self.param_schedulers = None  # the phase hook builds them phase by phase
        self.phase_schedulers.try_out(self)
        if uneven := schedule.uneven():
            self.logger.warning(uneven)
        self.logger.info(f'Swap of {schedule.total} iterations:\n{schedule.describe()}')

    def _choose_numbers(self, dataset: RoleDataset, batch_size: Any) -> None:
        """Ask the recipe for what the config leaves to it, and put that where it is used."""
        wrapper = self.cfg.get('optim_wrapper')
        optimizer = wrapper.get('optimizer') if isinstance(wrapper, Mapping) else None
        kind = type_name(optimizer.get('type')) if isinstance(optimizer, Mapping) else ''
        facts = facts_of(self.swapper, dataset, batch_size, get_world_size(), kind)
        self.plan = (self.recipe or Recipe(self.cfg)).resolve(self.cfg, facts)
        if not self.plan.entries:
            return
        if isinstance(wrapper, Mapping):
            self.optim_wrapper = copy.deepcopy(wrapper)
        if hinge := (self.cfg['model'].get('loss') or {}).get('hinge'):
            self.swapper.swapping_loss.hinge = hinge
        self.logger.info(self.plan.line())

    def decide(self, decision: Decision | None) -> None:
        """Change the schedule from the next iteration on, see :func:`engine.decisions.decide`."""
        decide(self, decision)

    def start_phase_schedulers(self) -> None:
        """Build the learning rate schedulers that the present iteration is under."""
        self.param_schedulers = self.phase_schedulers.build(self, self.iter)

    def _held_share(self) -> float:
        """The share of each class that is held out: that of the run that goes on, if one does."""
        if not self.has_loaded:
            self.resume_point = ResumePoint(
                self.work_dir, self.resumes, self.weights_file, self.launches, self.config_hash
            )
            if self.resume_point.resumes:  # a run of an earlier version held nothing out
                stored = self.resume_point.stored('holdout')
                return stored if isinstance(stored, float) else 0.0
        # Without a reader nobody could look at them.
        return held_share(self.cfg['swap']) if self.swapper.samples is not None else 0.0

    def load_or_resume(self) -> None:
        """Load the weights that the config names.

        Raises:
            CheckpointError: If a host would train whose weights were never loaded.
        """
        training = self.swap_schedule is not None
        point = self.resume_point
        if training and not self.has_loaded and point is not None:
            self.begin_with(point.path, point.resumes)
            if point.missing:
                here = self.work_dir
                self.logger.info(f'Nothing to resume in {here}: starting from the beginning.')
        if not training:  # a config that a resumed run kept; only a training has a state to resume
            self.begin_with(self.weights_file, False)
        super().load_or_resume()
        # Earlier adapters mean nothing on a random host.
        random_host = self.cfg['swap'].get('allow_random_host') and not self.swapper.stack
        if training and not self.has_loaded and not random_host:
            raise CheckpointError(
                'load_from = None: the host would be swapped with random weights. Fix: set '
                'load_from to a checkpoint of the pretrained host, or '
                'swap.allow_random_host = True for a test.'
            )
        if training and not self.resumes:
            self.swapper.class_rows.check_rest()
            if self.has_loaded and is_main_process():
                report_old_outputs(self)

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Save a checkpoint; a local one is there whole or not at all.

        Raises:
            CheckpointError: If it cannot be written.
            PhaseError: If there was a loss, or is a weight, that is not finite.
        """
        self.check_finite()  # mmengine calls the hooks of a checkpoint in one process only
        if file_client_args is None and backend_args is None and '://' not in str(out_dir):
            backend_args = dict(backend=ATOMIC)
        super().save_checkpoint(
            out_dir,
            filename,
            file_client_args,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=backend_args,
        )

    def check_finite(self) -> None:
        """Look at the losses so far and at the weights, in all processes together.

        Raises:
            PhaseError: If one of them is not finite.
        """
        for hook in self.hooks:
            if isinstance(hook, NonfiniteHook):
                hook.look(self)
                hook.check_weights(self)

    @taken_over
    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool = True,
        revise_keys: Any = None,
    ) -> dict[str, Any]:
        """Load weights strictly; a plain host checkpoint may lack the adapters only.

        It is a local ``.pth`` or ``.safetensors`` file. ``strict`` and ``revise_keys`` are kept for
        compatibility: loading is always strict, and takes off the prefix of a distributed wrapper.

        Raises:
            CheckpointError: If the file cannot be read as data or does not fit.
        """
        check_shared(filename, 'resume' if self.resumes else 'load_from')
        checkpoint = self.resume_point and self.resume_point.read(filename)
        checkpoint = checkpoint or safe_load(filename, map_location)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(self.swapper, state_dict_of(checkpoint), filename)
        self.has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    @taken_over
    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        """Go on from a checkpoint of a swap: weights, optimizer, schedulers, position, results.

        The config stored in the checkpoint is never executed. It is loaded to the CPU by default.

        Raises:
            CheckpointError: If the file is no training state of this swap.
        """
        # Weights and moments find their device by themselves. The step counts of an optimizer that
        # is not fused must stay here: on a device, each of them would be waited for in each step.
        device = 'cpu' if map_location == 'default' else map_location
        checkpoint = self.load_checkpoint(filename, map_location=device)
        if not {'meta', 'optimizer', 'message_hub', 'swap'} <= set(checkpoint):
            raise CheckpointError(
                f'{filename} holds weights but no training state. Fix: resume from an iter_*.pth '
                'or phase*.pth of a swap, or use load_from without resume.'
            )
        stored = checkpoint['swap'].get('schedule')
        if ScheduleChange(filename, stored, self.swap_schedule).check():
            self.logger.warning(
                f'The run goes on with {get_world_size()} processes instead of '
                f'{stored["world_size"]}. The samples of each step and their augmentation stay the '
                'same; dropout and other random numbers of the model do not.'
            )
        self.plan.check_resumed(filename, checkpoint['swap'].get('plan'))
        replay(self, filename, checkpoint['swap'].get('decisions'))
        self.run_id = checkpoint['swap'].get('run', self.run_id)
        iteration = checkpoint['meta']['iter']
        self.set_position(checkpoint['meta']['epoch'], iteration)
        self.message_hub.load_state_dict(checkpoint['message_hub'])
        self._take_over_seed(checkpoint['meta'].get('seed'))
        phase = self.swap_schedule.phase_at(iteration)
        if self.swapper.set_trainable(phase):
            self.rewrap_model()
        if resume_optimizer:
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        # Where a schedule begins, the phase hook builds the schedulers.
        if iteration > self.swap_schedule.lr_span(iteration).begin and resume_param_scheduler:
            self.start_phase_schedulers()
            states = checkpoint.get('param_schedulers') or []
            for scheduler, state in zip(self.param_schedulers or [], states, strict=True):
                scheduler.load_state_dict(state)
            # Building a scheduler writes its first value; the optimizer has the right one.
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        self.logger.info(f'Resumed at iteration {iteration} in {phase.name}')

    def _take_over_seed(self, seed: int | None) -> None:
        drawn = self.seed
        if seed is None or seed == drawn:
            return
        self.logger.warning(f'The run goes on with the seed {seed} of the checkpoint, not {drawn}.')
        self.change_seed(seed)
        for part in (self.train_dataloader.sampler, self.train_dataloader.dataset):
            if getattr(part, 'seed', None) == drawn:
                part.seed = seed

    def rewrap_model(self) -> None:
        """Wrap the model anew after the set of trainable parameters changed."""
        if is_model_wrapper(self.model):
            self.model = self.wrap_model(self.cfg.get('model_wrapper_cfg'), self.swapper)
