"""One shipped host config: built, enlarged, trained for two steps, exported and compared.

The parts of a trial use the package as a run does: weights of the plain host go into a file and
come back by the reader of ``load_from``, a batch goes through the host's data preprocessor, and the
export is checked by the check of ``knowswap export``.
"""

from __future__ import annotations

import copy
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from host_inputs import NEW, sample, small_config
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from knowswap_mm.engine.hooks.untrained import UntrainedHook
from knowswap_mm.engine.old_outputs import ROUNDING, compare_old_outputs
from knowswap_mm.errors import SwapError
from knowswap_mm.exporting.check import ExportCheck
from knowswap_mm.exporting.export import build
from knowswap_mm.exporting.host import ExportedHost
from knowswap_mm.io.checkpoints import safe_load, safe_save, state_dict_of
from knowswap_mm.models import KnowledgeSwapper
from knowswap_mm.models.foreign_code import no_foreign_code
from knowswap_mm.models.host_config import replace_counts
from knowswap_mm.schedule import SwapSchedule

STEPS = 2
#: Relative deviation of the outputs for old classes above which a host is said to change them.
TOLERANCE = 1e-4
#: What is computed at predicted boxes, among which are those of the new classes.
AT_PREDICTIONS = 'roi_head.mask_'


class SilentError(Exception):
    """Something went wrong and nobody said so."""


def try_host(library: str, config: str, options: dict[str, Any]) -> dict[str, str]:
    """Try a host by default, then with the keys that it is said to need.

    Returns:
        dict[str, str]: ``outcome`` (``works``, ``works with keys``, ``refused``, ``silent`` or
        ``crashes``), ``keys`` and ``message``.
    """
    first = _outcome(library, config, options, {})
    needs = [f'host.{name} = {value!r}' for name, value in options.get('needs', {}).items()]
    if first['outcome'] == 'works' and needs:
        return dict(first, outcome='works with keys', keys=', '.join(needs))
    if first['outcome'] in ('refused', 'silent') and options.get('keys'):
        second = _outcome(library, config, options, options['keys'])
        if second['outcome'] == 'works':
            keys = ', '.join(
                needs
                + [
                    f'{part}.{name} = {value!r}'
                    for part, settings in options['keys'].items()
                    for name, value in settings.items()
                ]
            )
            return dict(second, outcome='works with keys', keys=keys, message=first['message'])
        if first['outcome'] == 'refused' and second['outcome'] != 'refused':
            return second
    return first


def _outcome(library: str, config: str, options: dict, keys: dict) -> dict[str, str]:
    try:
        note = _try(library, config, options, keys)
    except SwapError as error:
        return dict(outcome='refused', keys='', message=_short(str(error)))
    except SilentError as error:
        return dict(outcome='silent', keys='', message=_short(str(error)))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f'{Path(frame.filename).name}:{frame.lineno}'
        message = _short(f'{type(error).__name__} in {place}: {error}')
        return dict(outcome='crashes', keys='', message=message)
    return dict(outcome='works', keys='', message=_short(note))


def _short(text: str) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= 400 else f'{text[:397]}...'


def _try(library: str, config: str, options: dict[str, Any], keys: dict[str, Any]) -> str:
    torch.manual_seed(0)
    np.random.seed(0)
    import_module(f'{library}.models')
    import_module('mmpretrain.models')  # backbones of the other two come from here
    import_module('mmdet.models')
    with DefaultScope.overwrite_default_scope(library):
        host = small_config(library, config, options)
        count_keys = keys.get('head', {}).get('count_keys', ['num_classes'])
        old = max(_counts(host, count_keys), default=0)
        try:
            with no_foreign_code('model.host', host):
                plain = MODELS.build(ConfigDict(copy.deepcopy(host)))
                plain.init_weights()
        except Exception:
            with _as_a_runner():  # what a user would see, who has the weights already
                KnowledgeSwapper(ConfigDict(host), lora=keys.get('lora', {}))
            raise
        shake(plain)
        state = _by_file(plain)
        enlarged = copy.deepcopy(host)
        replace_counts(enlarged, count_keys, old, old + NEW)
        _lengthen_weights(enlarged, old)
        head = dict(old_classes=old, **keys.get('head', {}))
        with _as_a_runner():
            swapper = KnowledgeSwapper(ConfigDict(enlarged), lora=keys.get('lora', {}), head=head)
        swapper.schedule = SwapSchedule.from_config(
            dict(phases=[dict(kind='learn', iters=STEPS)]), dict(learn=8, retain=8), 4
        )
        try:
            swapper.load_state_dict(state, strict=True)
        except RuntimeError as error:  # as the runner says it
            raise SwapError(f'does not fit the model: {error}') from error
        samples = [sample(library, options, old, number) for number in range(4)]
        notes = _compare_old(plain, swapper, samples[2:], old)
        _steps(swapper, samples)
        tensors = [tensor.name for tensor in swapper.class_rows.tensors]
        check = ExportCheck(swapper.host, _alone(samples[:1]), tensors)
        names = [str(label) for label in range(old + NEW)]
        exported = ExportedHost(copy.deepcopy(swapper), enlarged, names, count_keys)
        check.compare(build(exported.config, exported.state_dict()))
        check.refuse_deviations('float32')
    return notes


@contextmanager
def _as_a_runner() -> Iterator[None]:
    """What a host says of a config that does not fit it is a refusal, as SwapRunner words it."""
    try:
        yield
    except SwapError:
        raise
    except Exception as error:
        raise SwapError(f'cannot be built ({type(error).__name__}: {error})') from error


def _counts(value: Any, keys: list[str]) -> list[int]:
    if isinstance(value, dict):
        own = [each for key, each in value.items() if key in keys and isinstance(each, int)]
        return own + [count for each in value.values() for count in _counts(each, keys)]
    if isinstance(value, (list, tuple)):
        return [count for each in value for count in _counts(each, keys)]
    return []


def _lengthen_weights(value: Any, old: int) -> None:
    """Give `class_weight` lists an entry for each new class, as a user has to."""
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, (dict, list, tuple)):
            _lengthen_weights(each, old)
    if isinstance(value, dict) and isinstance(value.get('class_weight'), (list, tuple)):
        weights = list(value['class_weight'])
        if len(weights) >= old:
            value['class_weight'] = weights[:old] + weights[:NEW] + weights[old:]


@torch.no_grad()
def shake(host: nn.Module) -> None:
    """Add noise to all weights: hosts start with heads and biases of zero, which hide mistakes."""
    for parameter in host.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.02)


def _by_file(host: nn.Module) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'host.pth'
        safe_save(dict(state_dict=host.state_dict()), path)
        return state_dict_of(safe_load(path))


def _alone(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies, as a host may write into its samples."""
    return copy.deepcopy(samples)


@torch.no_grad()
def _compare_old(plain: nn.Module, swapper: KnowledgeSwapper, samples: list, old: int) -> str:
    """Outputs of all modules in a prediction, where classes are counted only those of the old ones.

    Raises:
        SilentError: If the old outputs differ from those of the plain host, and nothing says so.
    """
    wanted, given = _outputs(plain, samples), _outputs(swapper.host, samples)
    worst, where = 0.0, ''
    for name in wanted.keys() & given.keys():
        if name.startswith(AT_PREDICTIONS):
            continue
        deviation = _deviation(wanted[name], given[name], old)
        if deviation > worst:
            worst, where = deviation, name
    if worst <= TOLERANCE:
        return ''
    note = f'old outputs differ by {worst:.0e} from the plain host ({where})'
    batch = swapper.host.data_preprocessor(
        dict(
            inputs=[each['inputs'] for each in _alone(samples[:1])],
            data_samples=[each['data_samples'] for each in _alone(samples[:1])],
        ),
        False,
    )
    told = compare_old_outputs(swapper, batch)  # what a run logs before it trains
    if told is not None and told.difference <= ROUNDING:
        raise SilentError(note)
    return f'{note}, which a run says in a warning before it trains'


def _outputs(host: nn.Module, samples: list) -> dict[str, Tensor]:
    """What each module gave when it was called first, under its name in the plain host."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                found.setdefault(name, output.detach().clone())

        return hook

    names = {n: m for n, m in host.named_modules() if 'lora_' not in n and 'parametriz' not in n}
    handles = [
        module.register_forward_hook(keep(name.removesuffix('.base_layer')))
        for name, module in names.items()
    ]
    host.eval()
    try:
        for number, each in enumerate(_alone(samples)):
            torch.manual_seed(number)
            host.test_step(dict(inputs=[each['inputs']], data_samples=[each['data_samples']]))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _deviation(wanted: Tensor, given: Tensor, old: int) -> float:
    if wanted.shape == given.shape:
        pairs = [(wanted, given)]
    elif wanted.ndim != given.ndim:
        return 0.0
    else:
        axes = [a for a in range(wanted.ndim) if wanted.shape[a] != given.shape[a]]
        if len(axes) != 1:
            return 0.0
        pairs = list(_old_parts(wanted.movedim(axes[0], 0), given.movedim(axes[0], 0), old))
    scale = float(wanted.abs().max().clamp(min=1e-12))
    return min((float((a - b).abs().max()) / scale for a, b in pairs), default=0.0)


def _old_parts(wanted: Tensor, given: Tensor, old: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The old rows in each order of rows that there is: by class, and by anchor."""
    times = max((len(given) - len(wanted)) // NEW, 1)
    if len(given) - len(wanted) != times * NEW or len(wanted) < times * old:
        return
    yield wanted[: times * old], given[: times * old]
    if len(wanted) == times * old:
        parts = given.reshape(times, old + NEW, *given.shape[1:])
        yield wanted, parts[:, :old].reshape(wanted.shape)


def _steps(swapper: KnowledgeSwapper, samples: list) -> None:
    """Two steps of a learn phase, with the hook that looks whether adapters train.

    Raises:
        PhaseError: If the hook says so.
        SilentError: If something frozen moves, or it does not say of an adapter without a gradient.
    """
    swapper.train()
    trains = {name for name, p in swapper.named_parameters() if p.requires_grad}
    before = {name: value.detach().clone() for name, value in swapper.state_dict().items()}
    # Plain steps, so that weights without a gradient keep their value.
    optimizer = torch.optim.SGD([p for p in swapper.parameters() if p.requires_grad], lr=1e-3)
    moved: set[str] = set()
    hook = UntrainedHook()
    run = SimpleNamespace(
        swapper=swapper, model=swapper, swap_schedule=swapper.schedule, iter=0,
        optim_wrapper=SimpleNamespace(optimizer=optimizer),
    )  # fmt: skip
    for run.iter in range(STEPS):
        hook.before_train_iter(run, run.iter)
        swapper.train()
        batch = _alone(samples)
        data = dict(
            inputs=[each['inputs'] for each in batch],
            data_samples=[each['data_samples'] for each in batch],
        )
        data = swapper.data_preprocessor(data, True)
        total, _ = swapper.parse_losses(swapper.loss(**data))
        optimizer.zero_grad()
        total.backward()
        moved |= {n for n, p in swapper.named_parameters() if _has_gradient(p)}
        optimizer.step()
        hook.after_train_iter(run, run.iter)
    lost = trains - {name for name, p in swapper.named_parameters() if p.requires_grad}
    if lost:
        raise SilentError(f'{len(lost)} parameters are frozen by train(): {sorted(lost)[:2]}')
    layers = {name.split('.lora_')[0] for name in swapper.adapters}
    still = sorted(layers - {name.removeprefix('host.').split('.lora_')[0] for name in moved})
    if still:
        raise SilentError(f'{len(still)} of {len(layers)} adapters get no gradient: {still[:2]}')
    after = swapper.state_dict()
    rows = {f'host.{tensor.name}' for tensor in swapper.class_rows.tensors}
    wrong = [
        name
        for name, value in before.items()
        if '.lora_' not in name and name not in rows and not torch.equal(value, after[name])
    ]
    if wrong:
        raise SilentError(f'{len(wrong)} frozen tensors moved: {wrong[:2]}')


def _has_gradient(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and bool(parameter.grad.any())
