"""A host that computes its losses role by role: what all models of a swap share."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS as HOST_MODELS
from torch import Tensor, nn

from knowswap_mm.acceleration import accelerate
from knowswap_mm.checks import check_flag, check_keys, check_mapping, check_texts
from knowswap_mm.errors import ConfigError, PhaseError, SwapError
from knowswap_mm.lora import AdapterStack, HostStateDict
from knowswap_mm.lora.tensors import is_adapter_key
from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.foreign_code import closed_to_foreign_code
from knowswap_mm.models.fused_features import FusedFeatures
from knowswap_mm.models.head import StartRows
from knowswap_mm.models.host_config import set_aside_pretrained
from knowswap_mm.models.host_state import prepare_state
from knowswap_mm.models.loading import all_or_nothing, check_types
from knowswap_mm.models.losses.host_losses import parse_losses, spread_nonfinite
from knowswap_mm.models.preprocessor import RoleDataPreprocessor
from knowswap_mm.models.samples import SampleLosses, SampleReader, reader_of
from knowswap_mm.models.samples.depth import DepthStream
from knowswap_mm.models.samples.reader import as_in_training, unreadable
from knowswap_mm.registry import HOST_FIXES
from knowswap_mm.schedule import SwapPhase, SwapSchedule

_OBJECTIVE = dict(type='knowswap_mm.SwappingLoss')
_HEAD_KEYS = ('policy', 'old_classes', 'new_rows_init', 'count_keys', 'layouts')


class RoleModel(BaseModel):
    """A host with an enlarged head, the losses of its roles, and an objective that weighs them.

    A subclass says what trains: :meth:`choose_trained` once, when the model is built, so that the
    trainable set is final before an optimizer sees it, and :meth:`set_trainable` in each phase.
    Plain host checkpoints load as they are, with as many class rows as the host had before.

    Args:
        host (dict): Config of the host model with the number of old and new classes.
        lora (dict | None): Arguments of :class:`LoRAInjector`; None if the host brings adapters of
            its own (:class:`LoRABackbone`).
        head (dict | None): ``policy`` (``frozen``, ``new_rows`` or ``all``), ``old_classes``
            (classes of the pretrained weights, or those that the last of ``adapters`` ended with),
            ``new_rows_init`` (``host``, ``xavier``, ``zeros``), ``count_keys`` (config keys that
            hold the number of classes) and ``layouts`` (orders of rows by regular expressions of
            tensor names, for tensors whose order cannot be told).
        loss (dict | None): Config of the objective; its type is ``knowswap_mm.SwappingLoss`` by
            default.
        fuse (str): ``same_shape``, ``always`` or ``never``, see :class:`FusedFeatures`.
        fp32_losses (bool): Whether heads and losses leave autocast (detectors under bfloat16).
        data_preprocessor (dict | None): The host's data preprocessor, if its config has none.
        adapters (Sequence[str | Path]): Folders of the adapters of earlier swaps, the oldest first.
        accelerations (Sequence | None): What makes the host faster, see
            :func:`knowswap_mm.acceleration.acceleration.accelerate`.
        predict_dtype (str | None): ``bfloat16`` or ``float16`` lets evaluation run under autocast.

    Attributes:
        host (nn.Module): The host.
        stack (AdapterStack): Adapters of earlier swaps; empty without.
        class_rows (ClassRows): The class-indexed tensors of the host.
        start_rows (StartRows): Those of the start, where they alone bring the start back.
        adapter_name (str | None): Name of the adapter that trains; None without.
        adapters (dict[str, nn.Parameter]): Its matrices by full name.
        head_policy (str): Which class rows train.
        head_rows (dict[str, nn.Parameter]): What trains of the head, by the name of its tensor.
        samples (SampleReader | None): Reads losses and features by sample off the host; None if
            it is of no kind that a reader knows.
        schedule (SwapSchedule | None): The phases, which training needs.
        spread_nonfinite (bool): Whether one loss that is not finite makes all gradients so.

    Raises:
        ConfigError: If a part of the config does not fit the host.
        CheckpointError: If the earlier adapters do not fit the host or one another.
    """

    adapter_name: str | None = None

    @closed_to_foreign_code('model.host', 'host')
    def __init__(
        self,
        host: dict[str, Any],
        lora: dict[str, Any] | None = None,
        head: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        fuse: str = 'same_shape',
        fp32_losses: bool = False,
        data_preprocessor: dict[str, Any] | None = None,
        adapters: Sequence[str | Path] = (),
        accelerations: Sequence[str | dict[str, Any]] | None = None,
        predict_dtype: str | None = None,
    ) -> None:
        parts = dict(data_preprocessor=data_preprocessor, head=head, loss=loss)
        for key, value in parts.items():
            if value is not None:
                check_mapping(f'model.{key}', value, 'dict(...), or leave it out')
        check_mapping('model.host', host, "dict(type='ImageClassifier', ...)")
        check_flag('model.fp32_losses', fp32_losses)
        host = set_aside_pretrained(host, 'model.host')
        if data_preprocessor is not None:
            host.setdefault('data_preprocessor', data_preprocessor)
        head = dict(head or {})
        check_keys('model.head', head, _HEAD_KEYS)
        check_texts('model.head.count_keys', head.get('count_keys', ['num_classes']), 'num_classes')
        model = HOST_MODELS.build(copy.deepcopy(host))  # some hosts write into their config
        computed = prepare_state(model)
        stack = AdapterStack(adapters)
        class_rows = ClassRows(
            model,
            host,
            head.get('old_classes', stack.classes),
            head.get('count_keys', ('num_classes',)),
            head.get('layouts'),
        )
        # The runner calls init_weights after it built the optimizer; on an injected model that
        # would overwrite adapters. So it happens here, and later calls do nothing.
        try:
            model.init_weights()
        except SwapError:
            raise
        except Exception as error:  # some hosts can be initialised from a file only (SAN)
            fix = 'use a host that can be initialised without a weight file'
            problem = f'its init_weights() fails ({type(error).__name__}: {error})'
            raise ConfigError('model.host', str(host.get('type')), problem, fix) from error
        super().__init__(
            data_preprocessor=RoleDataPreprocessor(model.data_preprocessor, fuse == 'always')
        )
        self.stack, self.class_rows = stack, class_rows
        layouts = {tensor.name: tensor.layout for tensor in class_rows.tensors}
        stack.check_rows(layouts, class_rows.old)
        class_rows.initialise(model, head.get('new_rows_init', 'host'))
        self.adapters: dict[str, nn.Parameter] = {}
        self.head_policy = head.get('policy', 'all')
        self.head_rows = self.choose_trained(model, lora)
        self.accelerated = accelerate(model, accelerations)
        self.host = model
        self.samples: SampleReader | None = reader_of(model, class_rows)
        self.start_rows = StartRows(self.rows_of_the_start())
        self.swapping_loss = HOST_MODELS.build(_OBJECTIVE | dict(loss or {}))
        self.swapping_loss.attach(model)
        self.fused = FusedFeatures(fuse, fp32_losses)
        self.predict_dtype = _dtype_of(predict_dtype)
        self.schedule: SwapSchedule | None = None
        self.spread_nonfinite = False
        self._host_keys, self._computed = HostStateDict(self, 'host.'), computed
        self.register_load_state_dict_pre_hook(self._fit_state_dict)

    @abstractmethod
    def choose_trained(
        self, host: nn.Module, lora: dict[str, Any] | None
    ) -> dict[str, nn.Parameter]:
        """Let the parameters require gradients that train, and no others.

        Args:
            host (nn.Module): The host as it was built, with an enlarged head.
            lora (dict | None): ``model.lora``.

        Returns:
            dict[str, nn.Parameter]: What trains of the class rows, by the name of their tensor.
        """

    @abstractmethod
    def set_trainable(self, phase: SwapPhase) -> bool:
        """Let what a phase trains require gradients.

        Args:
            phase (SwapPhase): The phase that begins.

        Returns:
            bool: Whether anything changed.
        """

    def should_train(self, phase: SwapPhase) -> dict[str, nn.Parameter]:
        """Adapters and head rows that train in a phase, by name."""
        return self.head_rows | ({} if phase.kind == 'expand' else self.adapters)

    def rows_of_the_start(self) -> dict[str, Tensor]:
        """Class-indexed tensors that every checkpoint keeps as they were at the start."""
        return {}

    def init_weights(self) -> None:
        """Do nothing: the host was initialised when it was built."""

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights, all of them or none; the arguments are those of ``nn.Module``.

        Raises:
            RuntimeError: If they do not fit, or hold numbers that are not finite; the model is then
                as it was.
        """
        with all_or_nothing(self):
            return super().load_state_dict(state_dict, strict, assign)

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: Any = None,
        mode: str = 'tensor',
    ) -> Any:
        """Compute losses by role, or whatever the host does in another mode.

        Args:
            inputs (Tensor | dict[str, Tensor]): Images, ``(N, C, H, W)``; by role for
                ``mode='loss'``.
            data_samples: Samples of the host, likewise.
            mode (str): ``loss``, ``predict`` or ``tensor``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict' and self.predict_dtype is not None:
            device = next(self.host.parameters()).device.type
            with torch.autocast(device, dtype=self.predict_dtype):
                return self.fused.predict(self.host, inputs, data_samples)
        return self.host(inputs, data_samples, mode=mode)

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, list[Any]]
    ) -> dict[str, Tensor]:
        """Compute the terms of the phase's objective.

        Args:
            inputs (dict[str, Tensor]): Images by role, each ``(N, C, H, W)``.
            data_samples (dict[str, list]): Samples by role.

        Returns:
            dict[str, Tensor]: Named terms, scalars; those with ``loss`` in their key are summed.
        """
        phase = self._phase_of(data_samples)
        wanted, blocks = self.swapping_loss.wants(phase), self.swapping_loss.blocks_in(phase)
        self.swapping_loss.prepare(self, inputs, data_samples, phase)
        stream = self._stream(blocks)
        listening = nullcontext if stream is None else stream.listen
        with listening():
            features = self.fused.extract(self.host, inputs)
        role_losses: dict[str, Tensor] = {}
        measured: dict[str, dict[str, Tensor]] = {}
        logs: dict[str, Tensor] = {}
        for role, images in inputs.items():
            samples = data_samples[role]
            with self.fused.lend(self.host, features, role):
                asked: dict[str, SampleLosses] = {}
                with listening():
                    if role in wanted:
                        losses, asked['found'] = self._reader().run(self.host, images, samples)
                    else:
                        losses = self.host.loss(images, samples)
                if stream is not None and role in wanted:
                    asked['found'] = stream.add(asked['found'], len(images))
                elif stream is not None:
                    stream.take(len(images))
                measured[role] = self.swapping_loss.measure(
                    self, role, images, samples, phase, **asked
                )
            role_losses[role], terms = self._parse_host_losses(losses)
            logs[f'{role}/raw'] = role_losses[role].detach()
            logs.update({f'{role}/{k}': v for k, v in terms.items() if 'loss' not in k})
        return self.swapping_loss(role_losses, phase, measured) | logs

    def sample_losses(self, inputs: Tensor, samples: list[Any], blocks: int = 0) -> SampleLosses:
        """Measure the batch of one role, see :meth:`sample_losses_by_role`."""
        return self.sample_losses_by_role(dict(all=inputs), dict(all=samples), blocks)['all']

    def sample_losses_by_role(
        self, inputs: Mapping[str, Tensor], samples: Mapping[str, list[Any]], blocks: int = 0
    ) -> dict[str, SampleLosses]:
        """Measure each role's batch sample by sample, outside of training.

        As in training, features of all roles are extracted at once, and the loss is called by role.

        Dropout and norms stay in the mode they are in. Random numbers of the host (points of masks,
        noisy boxes) are the same in each call, so that two measurements can be compared sample by
        sample, and those of the caller go on as if none had been drawn. The losses of detectors
        exchange counts: all processes must call this equally often.

        Args:
            inputs (Mapping[str, Tensor]): Preprocessed images by role, each ``(N, C, H, W)``.
            samples (Mapping[str, list]): Their samples.
            blocks (int): Of so many blocks the features are read, too, where there are any.

        Raises:
            ConfigError: If no reader reads the host.
        """
        stream, images, measured = self._stream(blocks), dict(inputs), {}
        listening = nullcontext if stream is None else stream.listen
        with listening():
            reader, features = self._reader(), self.fused.extract(self.host, images)
        for role in images:
            with listening(), as_in_training(self.host):
                with self.fused.lend(self.host, features, role):
                    found = reader.run(self.host, images[role], samples[role])[1]
            measured[role] = found if stream is None else stream.add(found, len(images[role]))
        return measured

    def check(self, schedule: SwapSchedule) -> None:
        """Refuse a schedule, or a host, with which the objective makes no sense.

        Raises:
            ConfigError: Names the field.
        """
        self.swapping_loss.check(schedule)
        if self.samples is None and any(map(self.swapping_loss.wants, schedule.phases)):
            raise self.swapping_loss.refuse_host(type(self.host).__name__)

    def _reader(self) -> SampleReader:
        if self.samples is None:
            raise unreadable(self.host, 'no reader knows its head and loss')
        return self.samples

    def _stream(self, blocks: int) -> DepthStream | None:
        depth = self.samples.depth(self.host, blocks) if blocks and self.samples else None
        return None if depth is None else depth.stream(self.host)

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the terms, see :func:`~knowswap_mm.models.losses.host_losses.parse_losses`."""
        total, terms = parse_losses(losses)
        return spread_nonfinite(total, terms) if self.spread_nonfinite else total, terms

    def _parse_host_losses(self, losses: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        if type(self.host).parse_losses is BaseModel.parse_losses:
            return parse_losses(losses)
        return self.host.parse_losses(losses)

    def _phase_of(self, data_samples: dict[str, list[Any]]) -> SwapPhase:
        if self.schedule is None:
            raise PhaseError(
                "The model has no schedule. Fix: set runner_type = 'knowswap_mm.SwapRunner', or "
                'assign model.schedule.'
            )
        first = next(iter(data_samples.values()))[0]
        return self.schedule.phases[first.metainfo['phase']]

    def _fit_state_dict(
        self, module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        keys = [key for key in state_dict if key.startswith(prefix)]
        plain = not any(is_adapter_key(key) for key in keys)
        self._host_keys.translate(state_dict, prefix)
        named = {key.removeprefix(prefix): value for key, value in state_dict.items()}
        check_types(named, self)
        for kind in type(self.host).__mro__:
            if fix := HOST_FIXES.get(kind.__name__):
                fix(self.host, state_dict, f'{prefix}host.')
        with torch.no_grad():
            current = self.host.state_dict()
        for name in self._computed:  # by the host, which would not take them from a file
            state_dict.setdefault(f'{prefix}host.{name}', current[name])
        if self.stack:
            self._check_stack(state_dict, f'{prefix}host.', plain)
        for tensor in self.class_rows.tensors:
            key = f'{prefix}host.{tensor.name}'
            if key in state_dict:
                state_dict[key] = self.class_rows.grow(
                    tensor, state_dict[key], current[tensor.name]
                )
        if plain:
            names = self.start_rows.tensors()
            StartRows.record(state_dict, names, f'{prefix}host.', f'{prefix}start_rows.')

    def _check_stack(self, state_dict: dict[str, Tensor], prefix: str, plain: bool) -> None:
        """Verify the base beneath earlier adapters; a plain one gets the rows of the last."""
        current = self.host.state_dict()
        host = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        # What is missing or unexpected is listed by the strict load itself.
        if set(host) != set(current):
            return
        # A file may hold half precision; what counts is what the model makes of it.
        host = {key: value.to(current[key].dtype) for key, value in host.items()}
        beside = [key for key in host if plain and is_adapter_key(key)]
        self.stack.check_base({key: value for key, value in host.items() if key not in beside})
        if plain:
            state_dict.update({prefix + name: rows for name, rows in self.stack.rows.items()})


def _dtype_of(name: str | None) -> torch.dtype | None:
    if name not in (None, 'bfloat16', 'float16'):
        fix = "use 'bfloat16', 'float16' or None"
        raise ConfigError('model.predict_dtype', name, 'no type for autocast', fix)
    return None if name is None else getattr(torch, name)
