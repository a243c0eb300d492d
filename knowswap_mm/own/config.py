"""The config of a swap, from a host and data of one's own."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from knowswap_mm.datasets.classes import composed, match_names
from knowswap_mm.errors import ConfigError
from knowswap_mm.installation import shipped
from knowswap_mm.io.config_text import Name, config_text
from knowswap_mm.models.host_config import change_values, one_count, replace_counts
from knowswap_mm.own.host import COUNT_KEYS, TASKS, Host, place_of
from knowswap_mm.own.task import OwnData
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES

#: Configs of ours of which a made one has a part as it is: the usual one, and for deep forgetting.
BASE, DEEP = 'configs/_base_/swap_auto.py', 'configs/_base_/forget_deep.py'
#: What a made config says itself.
_OWN_KEYS = ('model', 'swap', 'custom_imports')


def made_by(command: str) -> str:
    """What a made config says of its origin."""
    return f'Written by `{command}`.'


@dataclass
class Wishes:
    """What a user asks for; the options of the commands by the same names.

    Attributes:
        learn (Path | None): Data with classes to learn.
        forget (list[str]): Classes to forget.
        deep (bool): Whether their features are emptied, too.
        new (list[str] | None): Classes of the learn data to learn; None: all that are not known.
        data (Path | None): Data of the old classes, in place of that of the host's config.
        retain (Path | None): Data of the classes to retain, in place of that.
        test (Path | None): Data to test with.
        images (Path | None): Folder of the images of a json.
        iters (int | None): Iterations of each phase; None leaves them to the recipe.
        batch_size (int | None): Of all roles together.
    """

    learn: Path | None = None
    forget: list[str] = field(default_factory=list)
    deep: bool = False
    new: list[str] | None = None
    data: Path | None = None
    retain: Path | None = None
    test: Path | None = None
    images: Path | None = None
    iters: int | None = None
    batch_size: int | None = None


class OwnConfig:
    """Makes the config of a swap and writes the data that it reads, as links.

    Args:
        host (Host): The host.
        wishes (Wishes): What is asked for.
        folder (Path): Folder of the run.

    Attributes:
        notes (list[str]): Decisions that a user should know.
        batch_size (int): Samples of an iteration.
        mixed (dict[str, str]): By role, another rule than the usual one for images that hold
            classes of several roles.

    Raises:
        ConfigError: If classes or data do not fit the host or one another.
        SourceError: If data is damaged.
        FileError: If our configs are not installed.
    """

    def __init__(self, host: Host, wishes: Wishes, folder: Path) -> None:
        self.host, self.wishes, self.folder, self.task = host, wishes, folder, host.task
        self.notes = list(host.notes)
        self.mixed: dict[str, str] = {}
        least, most = self.task.batch_size
        self.batch_size = wishes.batch_size or min(max(host.batch_size, least), most)
        old = [composed(name) for name in host.classes]
        self.forget = match_names('--forget', wishes.forget, old, 'the old classes')
        if not wishes.learn and not self.forget:
            fix = 'give --learn DATA, --forget CLASSES, or both'
            raise ConfigError('--learn', None, 'nothing is to be learned or forgotten', fix)
        if wishes.deep and not self.forget:
            fix = 'give --forget CLASSES, or leave --deep out'
            raise ConfigError('--deep', True, 'nothing is to be forgotten', fix)
        if set(self.forget) >= {composed(name) for name in host.classes}:
            fix = 'leave some to retain'
            raise ConfigError('--forget', self.forget, 'these are all classes of the host', fix)
        self._preset = Config.fromfile(str(shipped(DEEP if wishes.deep else BASE))).to_dict()
        test = self._read('--test', wishes.test, only='test')
        learn = self._read_learn(test)
        self.new = self._choose_new(learn)
        self.retain = [n for n in host.classes if composed(n) not in set(self.forget)]
        self.data = self._datasets(learn, test)

    def _read(self, option: str, path: Path | None, only: str = '') -> OwnData | None:
        if path is None:
            return None
        others = [task for task in TASKS.values() if task is not self.task]
        found = self.task.read(option, Path(path), self.wishes.images, others, only)
        self.notes.append(f'{option} {path}: {found.told}.')
        return found

    def _read_learn(self, test: OwnData | None) -> OwnData | None:
        old = {composed(name) for name in self.host.classes}
        tested = test is not None and any(composed(name) not in old for name in test.classes)
        return self._read('--learn', self.wishes.learn, 'train' if tested else '')

    def _choose_new(self, learn: OwnData | None) -> list[str]:
        """The classes to learn."""
        if learn is None:
            return []
        old = {composed(name) for name in self.host.classes}
        there = [composed(name) for name in learn.classes]
        if self.wishes.new:
            new = match_names('--new', self.wishes.new, there, 'the learn data')
        else:
            new = [name for name in there if name not in old]
        if both := [name for name in new if name in old]:
            fix = 'learn it under another name, or leave it out of --new'
            raise ConfigError('--new', both[0], 'is a class of the host already', fix)
        if not new:
            fix = 'give data with a class that the model does not know'
            problem = f'all its classes are known already: {there[:5]}'
            raise ConfigError('--learn', str(self.wishes.learn), problem, fix)
        if self.task.one_class:
            if both := [name for name in there if name in self.forget]:
                fix = 'take it out of --forget or out of the learn data, or name others in --new'
                if not self.wishes.new:
                    problem = 'is to be forgotten, and the learn data has it, too'
                    raise ConfigError('--forget', both[0], problem, fix)
            if known := [name for name in there if name not in new]:
                self.notes.append(f'Not used of --learn: {", ".join(known)}.')
        return new

    def _datasets(self, learn: OwnData | None, test: OwnData | None) -> dict[str, dict]:
        """Host data sets by ``<variable>``: ``new_train``, ``old_test``, ..."""
        task, found, wishes = self.task, {}, self.wishes
        if learn is not None:
            chosen = learn.of_classes(self.new) if task.one_class else learn
            written = task.write(chosen, self.folder / 'data' / 'learn')
            found.update({f'new_{split}': each for split, each in written.items()})
        given = self._read('--data', wishes.data)
        own = dict(self.host.data)
        if given is not None:
            self._keep(given)
            given = given.of_classes(self.host.classes) if task.one_class else given
            own = task.write(given, self.folder / 'data' / 'old')
        splits = dict(train='--data', test='--test')
        if (kept := self._read('--retain', wishes.retain)) is not None:
            self._keep(kept)
            kept = kept.of_classes(self.retain) if task.one_class else kept
            written = task.write(kept, self.folder / 'data' / 'retain')
            found['retain_train'] = written['train']
            own.setdefault('test', written['test'])
            splits = splits if self.forget else dict(test='--test')
        if test is not None:
            written = task.write(test, self.folder / 'data' / 'test')['test']
            self._take_test(test, written, found, own)
        for split, option in splits.items():
            if split not in own:
                fix = f'give data of the old classes with {option} DATA'
                problem = f'the config of the host names no data to {split} with'
                raise ConfigError(option, None, problem, fix)
            place = place_of(own[split])
            if place and '://' not in place and not os.path.exists(place):
                fix = f'give it with {option} DATA, or fix the path in the config of the host'
                problem = f'the data to {split} with that the host names is not there ({place})'
                raise ConfigError(option, None, problem, fix)
            found[f'old_{split}'] = own[split]
        return found

    def _take_test(self, test: OwnData, written: dict, found: dict, own: dict) -> None:
        """Test new classes, old ones or both with the given data, as it has them."""
        names = {composed(name) for name in test.classes}
        old = [*self.forget, *(composed(name) for name in self.retain)]
        for wanted, place, key in ((self.new, found, 'new_test'), (old, own, 'test')):
            if not names & set(wanted):
                continue
            if lacks := [name for name in wanted if name not in names]:
                fix = 'add images of them, or leave --test out'
                problem = f'it has images of some classes, and none of {lacks[:5]}'
                raise ConfigError('--test', str(self.wishes.test), problem, fix)
            place[key] = written

    def _keep(self, data: OwnData) -> None:
        """Retain the classes that the given data has."""
        there = {composed(name) for name in data.classes}
        kept = [name for name in self.retain if composed(name) in there]
        if not kept:
            fix = f'give data of some of {self.retain[:5]}'
            raise ConfigError('--retain', data.classes[:5], 'has no class to retain', fix)
        if bare := [name for name in self.retain if name not in kept]:
            shown = ', '.join(name.split(',')[0] for name in bare[:8]) + (
                ' and more' if len(bare) > 8 else ''
            )
            self.notes.append(f'Without data, so that nothing keeps them: {shown}.')
        self.retain = kept

    def make_easier(self, role: str) -> bool:
        """Choose another rule for images of several roles, where the usual one leaves too few.

        Returns:
            bool: Whether there is one that was not chosen before.
        """
        if not self.task.easier or role in self.mixed or role not in ROLES:
            return False
        self.mixed[role] = self.task.easier
        self.notes.append(
            f'Too few images show classes of {role} alone: those of several roles train, too, and '
            f'objects of other roles count as background there (mixed={self.task.easier!r}).'
        )
        return True

    @property
    def order(self) -> str:
        """Name of the order of phases."""
        wanted = dict(learn=bool(self.new), forget=bool(self.forget))
        return '-'.join(kind for kind, asked in wanted.items() if asked)

    def model(self) -> dict[str, Any]:
        """Config of the swapper: the host with rows for the new classes."""
        model = copy.deepcopy(self.host.model)
        old, new = one_count(model, COUNT_KEYS), len(self.new)

        def longer(path: str, value: Any) -> Any:
            if path.endswith('class_weight') and isinstance(value, (list, tuple)):
                return [*value[:old], *[1.0] * new, *value[old:]]
            return value

        change_values(model, longer)
        replace_counts(model, COUNT_KEYS, old, old + new)
        options = self.task.model_options(model)
        if loss := self._preset['model'].get('loss'):
            options['loss'] = loss
        return dict(
            type='knowswap_mm.KnowledgeSwapper',
            host=model,
            lora={},
            head=dict(old_classes=old),
            **options,
        )

    def roles(self, split: str) -> dict[str, Any]:
        """Options of the roles of a data set."""
        retain = 'retain' if split == 'train' and 'retain_train' in self.data else 'old'
        sources = {LEARN: 'new', FORGET: 'old', RETAIN: retain}
        used = {LEARN: bool(self.new), FORGET: bool(self.forget), RETAIN: True}
        options = self.task.role_options(split == 'train')
        if split == 'train':
            options = {r: {**options[r], **self._rule(r)} for r in ROLES}
        return {
            role: dict(dataset=Name(f'{sources[role]}_{split}'), **options[role])
            for role in ROLES
            if used[role]
        }

    def _rule(self, role: str) -> dict[str, str]:
        return dict(mixed=self.mixed[role]) if role in self.mixed else {}

    def sections(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Parts of the config: comment and variables."""
        host, task = self.host, self.task
        settings = copy.deepcopy(self._preset['swap'].get('phase_settings', {}))
        for kind in self.order.split('-') if self.wishes.iters else ():
            settings.setdefault(kind, {})['iters'] = self.wishes.iters
        phases = dict(phase_settings=settings) if settings else {}
        classes = dict(old=host.classes, learn=self.new, forget=self.forget)
        if len(self.retain) + len(self.forget) < len(host.classes):
            classes['retain'] = self.retain
        imports = dict.fromkeys(['knowswap_mm', *host.imports])
        datasets = {}
        for name, each in self.data.items():
            split = name.partition('_')[2]
            options = task.test_options if split == 'test' else {}
            datasets[name] = _with_pipeline(dict(each, **options), Name(f'{split}_pipeline'))
        workers = min(4, (os.cpu_count() or 1) - 1)
        loader = dict(
            num_workers=workers,
            persistent_workers=workers > 0,
            **task.loader_options(),
        )
        data = dict(type='knowswap_mm.RoleDataset', view=task.view)
        test = dict(
            batch_size=max(self.batch_size // 2, 1),
            **loader,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(data, roles=self.roles('test')),
        )
        train = dict(
            batch_size=self.batch_size, **loader, dataset=dict(data, roles=self.roles('train'))
        )
        # The runner, the loops and the hooks.
        shared = {k: v for k, v in self._preset.items() if k not in _OWN_KEYS}
        return [
            ('', dict(
                default_scope=task.scope,
                custom_imports=dict(imports=list(imports), allow_failed_imports=False),
                load_from=host.checkpoint,
                work_dir=str(self.folder),
            )),
            ('Which class plays which role: what is not forgotten is retained. The recipe chooses '
             'the numbers of the training; any that is given wins (docs/recipe.md).',
             dict(swap=dict(recipe='auto', order=self.order, classes=classes, **phases))),
            ('The host, with rows for old and new classes.', dict(model=self.model())),
            ('The data.', dict(
                train_pipeline=host.pipelines['train'],
                test_pipeline=host.pipelines['test'],
                **datasets,
            )),
            ('Half of a batch is of the role of the phase, the rest is to retain.',
             dict(train_dataloader=train)),
            ('What is measured at the start and after each phase, role by role.', dict(
                val_dataloader=test,
                test_dataloader=Name('val_dataloader'),
                val_evaluator=task.evaluator(),
                test_evaluator=Name('val_evaluator'),
            )),
            ('What all swaps share.', shared),
        ]  # fmt: skip

    def text(self, command: str, options: Mapping[str, Any]) -> str:
        """The config file; ``options`` are overrides by dotted key."""
        path = self.folder / 'config.py'
        told = {LEARN: self.new, FORGET: self.forget}
        head = [
            f'A swap of {self.host.name}: '
            + '; '.join(f'{role} {", ".join(names)}' for role, names in told.items() if names)
            + '.',
            f'{made_by(command)} Run it: knowswap train {path}',
            f'Paths that do not begin with / count from {os.getcwd()}.',
        ]
        sections = self.sections()
        if options:
            from knowswap_mm.engine.config import override

            config = Config.fromstring(config_text(head, sections), '.py')
            override(config, options)
            values = config.to_dict()
            sections = [(t, {k: values.pop(k) for k in part}) for t, part in sections]
            sections.append(('Given by --cfg-options.', values))
        return config_text(head, sections)


def _with_pipeline(dataset: dict[str, Any], steps: Name) -> dict[str, Any]:
    """A data set with a pipeline, which goes to the inner ones of a wrapper."""
    inner = dataset.get('datasets') or dataset.get('dataset')
    if isinstance(inner, Mapping):
        return dict(dataset, dataset=_with_pipeline(dict(inner), steps))
    if isinstance(inner, (list, tuple)):
        return dict(dataset, datasets=[_with_pipeline(dict(each), steps) for each in inner])
    return {k: v for k, v in dataset.items() if k != 'pipeline'} | dict(pipeline=steps)


def role_line(names: Sequence[str], counts: Mapping[str, int], most: int = 8) -> str:
    """Classes with their numbers of images, the first of many."""
    shown = [f'{name} {counts.get(name, 0)}' for name in names[:most]]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(shown) + more
