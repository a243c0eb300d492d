"""Loading weights into a model: all of them or none, with a message that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.checkpoints import safe_load, state_dict_of


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], source: str | Path, fix: str = ''
) -> None:
    """Load weights strictly.

    Args:
        model (nn.Module): A :class:`~knowswap_mm.models.role_model.RoleModel`, which takes those of
            a swap and those of a plain host, or a plain host.
        weights (Mapping[str, Tensor]): The state dict.
        source (str | Path): Where they come from, for the message.
        fix (str): What the message says to do.

    Raises:
        CheckpointError: If they do not fit; a role model is then as it was.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        fix = fix or 'give the config and the checkpoint of one model'
        more = '' if 'Fix: ' in str(error) else f' Fix: {fix}.'
        reason = _shortened(str(error))
        raise CheckpointError(f'{source} does not fit the model: {reason}.{more}') from None


#: Lines of torch's list of differences, and names in a line, that a message has.
_LINES, _NAMES = 3, 3


def _shortened(text: str) -> str:
    """What torch says of weights that do not fit, without most of the names."""
    head, *lines = text.splitlines()
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f'{lines[_LINES - 1]} And {len(lines) - _LINES} more.']
    for place, line in enumerate(lines):
        names = line.split('", "')
        if len(names) > _NAMES:
            lines[place] = '", "'.join(names[:_NAMES]) + f'" and {len(names) - _NAMES} more.'
    return '\n'.join((head, *lines)).rstrip('. ')


def load_file_into(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Read a file as data, load its weights (:func:`load_weights`) and return the checkpoint."""
    checkpoint = safe_load(path)
    load_weights(model, state_dict_of(checkpoint), path)
    return checkpoint


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """Give a model its weights back when loading others fails.

    ``nn.Module`` copies what fits before it raises an error at what does not.

    Args:
        model (nn.Module): The model that is loaded in the block.

    Raises:
        RuntimeError: If a tensor that was finite holds NaN or an infinity afterwards.
    """
    kept = {key: value.detach().to('cpu', copy=True) for key, value in _parts(model).items()}
    try:
        yield
        broken = [
            key
            for key, value in _parts(model).items()
            if key in kept and _is_broken(value) and not _is_broken(kept[key])
        ]
        if broken:
            raise RuntimeError(
                f'{len(broken)} tensors hold numbers that are not finite: {broken[:5]}. Fix: use '
                'a checkpoint from before the training diverged'
            )
    except BaseException:
        with torch.no_grad():
            for key, value in _parts(model).items():
                if key in kept and kept[key].shape == value.shape:
                    value.copy_(kept[key])
        raise


def check_types(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse weights that a copy would turn into other numbers without a word.

    Weights that are not under one of the model's names are passed over.

    Raises:
        RuntimeError: If whole or complex numbers stand where the model has fractions, or the other
            way round. Floating types of other precision fit.
    """
    wanted = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    wrong = [
        f'{key} has type {value.dtype} instead of {wanted[key].dtype}'
        for key, value in weights.items()
        if key in wanted and _kind(value) != _kind(wanted[key])
    ]
    if wrong:
        raise RuntimeError('; '.join(wrong[:5]))


def _parts(model: nn.Module) -> dict[str, Tensor]:
    """What is stored; a state dict may show tensors that are made of several (new head rows)."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _is_broken(tensor: Tensor) -> bool:
    # One that is not finite makes the sum so, which is far faster than to ask each of them.
    return not bool(torch.isfinite(tensor.sum())) and not bool(torch.isfinite(tensor).all())
