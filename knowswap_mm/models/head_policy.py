"""Which rows of the class-indexed tensors train."""

from __future__ import annotations

from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.class_rows import ClassRows
from knowswap_mm.models.new_rows import NewRows

HEAD_POLICIES = ('frozen', 'new_rows', 'all')


def apply_head_policy(host: nn.Module, rows: ClassRows, policy: str) -> dict[str, nn.Parameter]:
    """Make the rows trainable that the policy names.

    ``frozen`` trains none, as the official code does: new classes are learned by moving features
    towards fixed random rows. ``new_rows`` trains the added rows only. ``all`` trains every
    class-indexed parameter.

    Args:
        host (nn.Module): The host, otherwise frozen.
        rows (ClassRows): Its class-indexed tensors.
        policy (str): One of :data:`HEAD_POLICIES`.

    Returns:
        dict[str, nn.Parameter]: What trains of the rows, by the name of their tensor.

    Raises:
        ConfigError: If the policy is unknown, or there are no new rows to train.
    """
    if policy not in HEAD_POLICIES:
        fix = f'use one of {HEAD_POLICIES}'
        raise ConfigError('model.head.policy', policy, 'unknown head policy', fix)
    if policy == 'new_rows' and rows.old == rows.total:
        fix = 'set model.head.old_classes below the number of classes of model.host'
        raise ConfigError('model.head.policy', policy, 'the head has no new rows', fix)
    if policy == 'frozen':
        return {}
    parameters = dict(host.named_parameters())
    done: set[int] = set()
    trained: dict[str, nn.Parameter] = {}
    for tensor in rows.tensors:
        # Heads may share a module; named_parameters lists it once, under its first name.
        parameter = parameters.get(tensor.name)
        if parameter is None or id(parameter) in done:
            continue
        done.add(id(parameter))
        if policy == 'all':
            trained[tensor.name] = parameter.requires_grad_(True)
        else:
            owner_name, _, leaf = tensor.name.rpartition('.')
            owner = host.get_submodule(owner_name)
            NewRows.apply_to(owner, leaf, rows.old, tensor.layout)
            trained[tensor.name] = owner.parametrizations[leaf].original
    return trained
