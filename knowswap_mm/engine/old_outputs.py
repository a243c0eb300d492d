"""What a host says of its old classes before and after its head was enlarged."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from knowswap_mm.console import DETAIL
from knowswap_mm.datasets.seeding import seeded_cpu
from knowswap_mm.engine.hooks.importance import role_batches
from knowswap_mm.errors import reason_of
from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.lora.tensors import is_adapter_key, plain_key
from knowswap_mm.models import original_host
from knowswap_mm.roles import RETAIN

#: Relative to the largest output: matrices of other sizes are multiplied in another order.
ROUNDING = 1e-4


def report_old_outputs(runner: Any) -> None:
    """Log by how much new rows change what a host says of old classes, before it trains.

    In most heads a class has rows of its own, and new ones change nothing. In some the classes act
    on one another (K-Net's kernels, Segmenter's class tokens, queries that are chosen by score):
    then old classes are not what they were in the checkpoint, with any initialisation of new rows.
    The weights of the runner are loaded.
    """
    rows = runner.swapper.class_rows
    if rows.old == rows.total:
        return
    name = type(runner.swapper.host).__name__
    begin = f'Outputs of {name} for the {rows.old} old classes, beside {rows.total - rows.old} new'
    try:
        found = compare_old_outputs(runner.swapper, _one_sample(runner))
    except Exception as error:  # a host, its data or a full device may raise anything
        runner.logger.warning(
            f'{begin} ones: not compared with the plain host ({reason_of(error)}).'
        )
        return
    if found is None:
        runner.logger.warning(
            f'{begin} ones: none of its outputs has entries for each class, so they could not be '
            'compared with the plain host.'
        )
        return
    said = (
        f'{begin} ones, differ from those of the plain host by {found.difference:.1e} of the '
        f'largest one; the best old class changes in {100 * found.changed:.2g} % of the places.'
    )
    if found.difference <= ROUNDING:
        runner.logger.info(f'{said} That is rounding.', extra=DETAIL)
        return
    if found.predictions and not found.changed:
        runner.logger.info(f'{said} These are predictions, of which new classes take a share.')
        return
    runner.logger.warning(
        f'{said} In this host the classes act on one another: old ones change before training, and '
        'a part of what the swap is said to cost at its start comes from the enlarged head.'
    )


class OldOutputs(NamedTuple):
    """How far the outputs for old classes are from those of the plain host.

    Attributes:
        difference (float): The largest difference as a share of the largest output.
        changed (float): Share of places (pixels, boxes, images) with another best old class.
        predictions (bool): Whether these are predictions (probabilities), for want of raw outputs.
    """

    difference: float
    changed: float
    predictions: bool


@torch.no_grad()
def compare_old_outputs(swapper: nn.Module, batch: Mapping[str, Any]) -> OldOutputs | None:
    """Compare a plain host that has the old classes with one that has all of them.

    Both are built anew, one after the other, and have the weights with which the swap begins,
    without its adapter; the model itself is left alone. None if no output has entries for each
    class.

    Args:
        swapper (nn.Module): A :class:`KnowledgeSwapper` with loaded weights.
        batch (Mapping): ``inputs`` and ``data_samples``, preprocessed for the host.
    """
    rows = swapper.class_rows
    source = original_host(swapper) if swapper.stack else swapper.host
    state = source.state_dict()
    wanted, given = (_outputs(swapper, state, classes, batch) for classes in (rows.old, rows.total))
    layouts = {RowLayout(), *(tensor.layout for tensor in rows.tensors)}
    difference, changed, places = None, 0, 0
    for one, other in zip(wanted[1], given[1], strict=True):
        layout = _layout_of(one, other, rows.old, rows.total, layouts)
        if layout is None:
            continue
        kept = layout.old_part(other, rows.old)
        largest = one.abs().max().clamp(min=1e-12)
        difference = max(difference or 0.0, float((kept - one).abs().max() / largest))
        if layout.outer == layout.inner == 1:
            best = [t.narrow(layout.axis, layout.before, rows.old) for t in (one, kept)]
            best = [t.argmax(layout.axis) for t in best]
            changed += int((best[0] != best[1]).sum())
            places += best[0].numel()
    if difference is None:
        return None
    return OldOutputs(difference, changed / max(places, 1), wanted[0] or given[0])


def _outputs(
    swapper: nn.Module, state: Mapping[str, Tensor], classes: int, batch: Mapping[str, Any]
) -> tuple[bool, list[Tensor]]:
    """Whether they are predictions, and what a plain host says."""
    rows = swapper.class_rows
    host = rows.build(classes)
    names = set(host.state_dict())
    weights = {}
    for key, value in state.items():
        name = key if key in names else plain_key(key)
        if name in names or not is_adapter_key(key):
            weights[name] = value
    if classes == rows.old:
        for tensor in rows.tensors:
            weights[tensor.name] = tensor.layout.old_part(weights[tensor.name], rows.old)
    host.load_state_dict(weights)
    inputs = batch['inputs']
    host.eval().to(inputs.device)
    parts = dict.fromkeys(tensor.name.partition('.')[0] for tensor in rows.tensors)
    failed: Exception | None = None
    for number, run in enumerate(
        (
            lambda samples: host(inputs, samples, mode='tensor'),
            # Some hosts cannot hand their samples to a head that wants them.
            lambda samples: [
                host.get_submodule(n)(host.extract_feat(inputs), samples) for n in parts
            ],
            lambda samples: host(inputs, samples, mode='predict'),
        )
    ):
        devices = [inputs.device] if inputs.device.type == 'cuda' else []
        with seeded_cpu(0), torch.random.fork_rng(devices), _full_precision():
            torch.manual_seed(0)
            try:
                found = run(copy.deepcopy(batch['data_samples']))
                return number == 2, [tensor.float().cpu() for tensor in _tensors(found)]
            except Exception as error:  # some hosts have one of the ways only
                failed = failed or error
    raise failed


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without TensorFloat-32, whose rounding would hide small changes."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _layout_of(
    one: Tensor, other: Tensor, old: int, total: int, layouts: set[RowLayout]
) -> RowLayout | None:
    """How the classes lie in a pair of outputs; None if they have none."""
    axes = [i for i in range(one.ndim) if one.ndim == other.ndim and one.shape[i] != other.shape[i]]
    if len(axes) != 1:
        return None
    fitting = [
        layout
        for layout in layouts
        if layout.size(old) == one.shape[axes[0]] and layout.size(total) == other.shape[axes[0]]
    ]
    return dataclasses.replace(fitting[0], axis=axes[0]) if fitting else None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, BaseDataElement):
        yield from _tensors([part for _, part in sorted(value.items())])
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from _tensors(part)


def _one_sample(runner: Any) -> dict[str, Any]:
    views = runner.train_dataloader.dataset.views
    role = RETAIN if RETAIN in views else next(iter(views))
    return next(role_batches(runner, role, 1, 1, 'old outputs'))
