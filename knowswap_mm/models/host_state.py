"""Whether all of a host is in its state dict, and what its own loading leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from knowswap_mm.errors import ConfigError

_FIX = 'use a host whose checkpoint holds all of its weights'
#: What torch keeps beside the attributes of a module.
_OF_TORCH = frozenset(vars(nn.Module()))


def prepare_state(host: nn.Module, key: str = 'model.host') -> tuple[str, ...]:
    """Refuse a host whose weights cannot be loaded, and let it load what it saves.

    Some hosts delete buffers from every checkpoint as they load it, because they compute them
    (SwinV2: ``relative_position_index`` and ``relative_coords_table``); a strict load then misses
    them. Exactly those names are allowed to be missing, in this host and its copies: what is
    reported when the host loads its own state dict. The same goes for names that it reports as
    unexpected there. Others give a module a second name in their first training step (DDQ), under
    which a new host of the same config would not know the weights: such names stay out of the state
    dict.

    Args:
        host (nn.Module): A host as it was built.
        key (str): Its config key, for messages.

    Returns:
        tuple[str, ...]: Names of the buffers that the host computes whatever a checkpoint has.

    Raises:
        ConfigError: If parameters are not in its state dict, or are not loaded from it (issue 24).
    """
    _check_complete(host, key)
    try:  # as a plain dict, without torch's versions of modules, which weight files lack
        gaps = host.load_state_dict(dict(host.state_dict()), strict=False)
    except RuntimeError as error:
        problem = f'it does not take its own weights back ({error})'
        raise ConfigError(key, type(host).__name__, problem, _FIX) from error
    missing, unexpected = tuple(gaps.missing_keys), tuple(gaps.unexpected_keys)
    if lost := [name for name, _ in host.named_parameters() if name in set(missing)]:
        problem = f'it does not load {len(lost)} of its parameters ({_some(lost)})'
        raise ConfigError(key, type(host).__name__, problem, _FIX)
    if missing or unexpected:
        host.register_load_state_dict_post_hook(partial(_drop_own_gaps, missing, unexpected))
    host.register_state_dict_post_hook(partial(_drop_later_names, frozenset(host.state_dict())))
    return missing


def _drop_own_gaps(
    missing: tuple[str, ...], unexpected: tuple[str, ...], module: nn.Module, reported: Any
) -> None:
    """Take out of what a load reports what the host leaves out of every load."""
    for keys, own in ((reported.missing_keys, missing), (reported.unexpected_keys, unexpected)):
        # The host may be a part of the model that is loaded, hence the ends of names.
        ends = tuple(f'.{name}' for name in own)
        keys[:] = [key for key in keys if not f'.{key}'.endswith(ends)]


def _drop_later_names(
    names: frozenset[str], module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any
) -> None:
    """Take second names of tensors out of a state dict that the host did not have when built."""
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    later = {key for key in own if key.removeprefix(prefix) not in names}
    if later:
        known = {_place(value) for key, value in own.items() if key not in later}
        for key in later:
            if _place(own[key]) in known:
                del state[key]


def _place(value: Any) -> Any:
    """What two names of one tensor have in common; an empty one has no place."""
    if isinstance(value, Tensor) and value.numel():
        return value.data_ptr(), value.shape
    return id(value)


def _check_complete(host: nn.Module, key: str) -> None:
    state = host.state_dict()
    parameters = dict(host.named_parameters())
    lacking = [name for name in parameters if name not in state]
    known = {id(parameter) for parameter in host.parameters()}
    for name, module in host.named_modules():
        for attribute, value in vars(module).items():
            if attribute not in _OF_TORCH and any(id(p) not in known for p in _hidden(value)):
                lacking.append(f'{name}.{attribute}'.lstrip('.'))
    if lacking:
        problem = (
            f'its state dict lacks {len(lacking)} parameters or parts with parameters '
            f'({_some(lacking)}), so that no checkpoint could give them their values'
        )
        raise ConfigError(key, type(host).__name__, problem, _FIX)


def _hidden(value: Any, depth: int = 4) -> Iterator[nn.Parameter]:
    """Parameters in an attribute that torch does not know as a part of the module."""
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif depth and isinstance(value, (dict, list, tuple, set)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _hidden(each, depth - 1)


def _some(names: list[str]) -> str:
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
