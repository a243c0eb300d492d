"""The audit of a swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowswap_mm.audit.attacks import PARTS
from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TEST, TRAIN, AuditData
from knowswap_mm.audit.findings import DepthCurve, Finding, Table
from knowswap_mm.audit.models import HostStore, ModelFile, Subject
from knowswap_mm.audit.progress import Progress
from knowswap_mm.audit.readers import UnitReader
from knowswap_mm.audit.references import ReferenceCheck
from knowswap_mm.audit.report import AuditReport
from knowswap_mm.checks import (
    check_arguments,
    check_mapping,
    check_number,
    check_text,
    check_texts,
    check_whole,
    did_you_mean,
)
from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAGroups
from knowswap_mm.models import RoleModel, merged_host, original_host
from knowswap_mm.registry import AUDITS, DATASETS, EVALUATORS, class_of, type_name


@EVALUATORS.register_module()
class Auditor:
    """Attacks a swapped model: is what was to be forgotten really gone?

    Built from the field ``audit`` of a config, or with defaults.

    Args:
        parts (Sequence[dict | str] | None): The parts, as configs (of the registry ``AUDITS``) or
            by name; all of :data:`PARTS` by default.
        settings (Mapping[str, dict]): Settings of parts that are given by name.
        skip (Sequence[str]): Names of parts to leave out.
        reader (dict | None): How the task is read; by default as the role view says.
        samples (int): At most so many samples of a role and a split are read.
        margin (float): Tolerated share of the scale, see :class:`Verdict`.
        seed (int): Seed of every choice.
        workers (int): Processes that load images.
        device (str | None): Where the models run; the accelerator if there is one.

    Attributes:
        progress (Progress): Tells how far an audit is, to whom its ``say`` is set.

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        parts: Sequence[Mapping[str, Any] | str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        skip: Sequence[str] = (),
        reader: Mapping[str, Any] | None = None,
        samples: int = 1000,
        margin: float = 0.1,
        seed: int = 0,
        workers: int = 0,
        device: str | None = None,
    ) -> None:
        check_whole('audit.samples', samples, 1, 1000)
        check_whole('audit.seed', seed, 0)
        check_whole('audit.workers', workers, 0)
        check_texts('audit.skip', skip, 'Similarity')
        if settings is not None:
            check_mapping('audit.settings', settings, 'dict(LinearProbe=dict(folds=3))')
        if reader is not None:
            example = "dict(type='knowswap_mm.DetectionReader', features='maps')"
            check_mapping('audit.reader', reader, example)
            kind = class_of(reader.get('type'), AUDITS)
            if kind is None:
                raise ConfigError('audit.reader.type', reader.get('type'), 'no reader', example)
            check_arguments('audit.reader', reader, kind)
        if parts is not None and not isinstance(parts, (list, tuple)):
            raise ConfigError('audit.parts', parts, 'no list', "e.g. ['LinearProbe']")
        if device is not None:
            check_text('audit.device', device, 'cuda')
        check_number('audit.margin', margin, 'in [0, 1)', 0.1)
        chosen = PARTS if parts is None else parts
        settings = settings or {}
        for key, names in (('skip', skip), ('settings', settings)):
            if unknown := [name for name in names if name not in PARTS]:
                fix = did_you_mean(unknown[0], PARTS)
                raise ConfigError(f'audit.{key}', unknown[0], 'no part of an audit', fix)
        built = [_build_part(part, settings) for part in chosen]
        self.parts = [part for part in built if type(part).__name__ not in skip]
        self.reader = reader
        self.samples, self.margin, self.seed, self.workers = samples, margin, seed, workers
        self.device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        self.progress = Progress()
        self._opened: dict[str, tuple[UnitReader, AuditData]] = {}
        self._hosts = HostStore(self.device)
        self._subjects: dict[tuple[int, int], Subject] = {}

    def audit_files(
        self,
        config: Mapping[str, Any],
        checkpoint: str | Path,
        references: Sequence[str | Path] = (),
        original: str | Path | None = None,
        merged: bool = False,
    ) -> AuditReport:
        """Audit a weight file. The others are read once, however many files are audited.

        Args:
            config (Mapping): The config of the swap.
            checkpoint (str | Path): A state of the swap, or an exported or any other plain host.
            references (Sequence): Models that were trained without the forget set.
            original (str | Path | None): The model before the swap; by default what the checkpoint
                itself holds beneath its adapters, or ``load_from`` of the config.
            merged (bool): Whether to audit what an export of the checkpoint would be: without
                adapters that could be dropped.

        Raises:
            ConfigError: If the model before the swap is not known.
            CheckpointError: If a file does not fit.
        """
        audited = ModelFile(config, checkpoint)
        unloaded = original_host(audited.swapper) if audited.adapted else None
        if original is not None:
            before = self._hosts.of_file(config, original)
        elif not audited.adapted and config.get('load_from'):
            before = self._hosts.of_file(config, config['load_from'], base=True)
        elif unloaded is not None:
            before = self._hosts.kept(unloaded)
        else:
            fix = 'give the pretrained host with --original'
            raise ConfigError('load_from', None, 'the model before the swap is not known', fix)
        after = self._hosts.opened(audited)
        others = [self._hosts.of_file(config, path) for path in references]
        unloaded = None if merged else unloaded
        report = self._run(config, audited.swapper, before, after, others, references, unloaded)
        report.about |= dict(
            checkpoint=str(checkpoint), references=[str(path) for path in references]
        )
        return report

    def audit(
        self, config: Mapping[str, Any], swapper: RoleModel, references: Sequence[str | Path] = ()
    ) -> AuditReport:
        """Audit a model in memory, as an export of it would be; it is left as it is.

        The references are files of models that were trained without the forget set.
        """
        others = [self._hosts.of_file(config, path) for path in references]
        before, after = map(self._hosts.kept, (original_host(swapper), merged_host(swapper)))
        report = self._run(config, swapper, before, after, others, references, None)
        report.about |= dict(references=[str(path) for path in references])
        return report

    def _run(
        self,
        config: Mapping[str, Any],
        swapper: RoleModel,
        before: nn.Module,
        after: nn.Module,
        references: Sequence[nn.Module],
        files: Sequence[str | Path],
        unloaded: nn.Module | None,
    ) -> AuditReport:
        reader, data = self._read(config)
        blocks = LoRAGroups(swapper.host, 'block').names

        def subject(host: nn.Module) -> Subject:
            key = (id(data), id(host))  # both are kept as long as this auditor
            if key not in self._subjects:
                self._subjects[key] = Subject(host, data, reader, blocks)
            return self._subjects[key]

        case = Case(
            before=subject(before),
            after=subject(after),
            references=[subject(host) for host in references],
            data=data,
            reader=reader,
            unloaded=None if unloaded is None else unloaded.to(self.device),
            margin=self.margin,
            seed=self.seed,
        )
        check = ReferenceCheck.of(case, files)
        case.doubt = check.doubt
        results: list[Finding | Table | DepthCurve] = []
        plan = [(type(part).__name__, part.images(case)) for part in self.parts]
        roles = [(split, role) for split in (TRAIN, TEST) for role in data.roles(split)]
        images = sum(len(data.positions(*each)) for each in roles) * len(case.subjects)
        self.progress.begin(plan, images)
        for part in self.parts:
            self.progress.next()
            results += part.run(case)
        return AuditReport(
            findings=[result for result in results if isinstance(result, Finding)],
            tables=[result for result in results if isinstance(result, Table)],
            curves=[result for result in results if isinstance(result, DepthCurve)],
            references=check.table,
            warnings=[check.doubt] * bool(check.doubt) + check.warnings,
            about=dict(
                forgotten=data.classes.forget,
                learned=data.classes.learn,
                samples=self.samples,
                margin=self.margin,
                seed=self.seed,
            ),
        )

    def _read(self, config: Mapping[str, Any]) -> tuple[UnitReader, AuditData]:
        """The data of a config, opened once: audits of several files share what was measured."""
        loaders = [config.get(f'{split}_dataloader') or {} for split in ('train', 'test')]
        train = loaders[0].get('dataset', {}).get('roles', {})
        roles = {r: {k: v for k, v in o.items() if k != 'view'} for r, o in train.items()}
        key = repr((roles, loaders[1], config['swap']['classes']))
        if key not in self._opened:
            reader = AUDITS.build(dict(self.reader or self._default_reader(config)))
            data = AuditData(config, reader, self.samples, self.seed, self.workers)
            data.progress = self.progress
            self._opened[key] = (reader, data)
        return self._opened[key]

    @staticmethod
    def _default_reader(config: Mapping[str, Any]) -> dict[str, Any]:
        dataset = config['test_dataloader']['dataset']
        view = dataset.get('view', 'knowswap_mm.ClassificationRoleView')
        reader = getattr(class_of(view, DATASETS) or DATASETS.get(view), 'audit_reader', None)
        if reader is None:
            fix = "set audit.reader = dict(type='...'), a UnitReader of your own"
            raise ConfigError('audit.reader', None, f'{view} names no reader', fix)
        return dict(type=reader)


def build_auditor(config: Mapping[str, Any] | None, key: str = 'audit') -> Auditor:
    """Build what ``audit`` describes; a wrong key or value is told before anything is audited.

    Raises:
        ConfigError: If it is no dict, or a key or a value cannot be used.
    """
    config = {} if config is None else config
    check_mapping(key, config, 'dict(samples=500)')
    kind = class_of(config.get('type', Auditor), EVALUATORS)
    if kind is None:
        raise ConfigError(f'{key}.type', config['type'], 'no auditor', "use 'knowswap_mm.Auditor'")
    check_arguments(key, config, kind)
    return EVALUATORS.build(dict(config, type=kind))


def _build_part(
    part: Mapping[str, Any] | str, settings: Mapping[str, Mapping[str, Any]]
) -> AuditPart:
    named = isinstance(part, str)
    if not named:
        check_mapping('audit.parts', part, "dict(type='knowswap_mm.LinearProbe')")
    if named and part in settings:
        check_mapping(f'audit.settings.{part}', settings[part], 'dict(...)')
    config = dict(settings.get(part, {}), type=f'knowswap_mm.{part}') if named else dict(part)
    kind = class_of(config.get('type'), AUDITS)
    if kind is None or not issubclass(kind, AuditPart):
        fix = f'{did_you_mean(type_name(config.get("type")), PARTS)}, or dict(type=...)'
        raise ConfigError('audit.parts', part, 'no part of an audit', fix)
    where = f'audit.settings.{part}' if named else f'audit.parts.{kind.__name__}'
    if named and kind.like:
        config = {**settings.get(kind.like, {}), **config}
    check_arguments(where, config, kind)
    return AUDITS.build(config)
