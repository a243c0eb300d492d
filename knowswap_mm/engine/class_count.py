"""Rows of the head and classes of the config."""

from __future__ import annotations

from typing import Any

from knowswap_mm.errors import ConfigError


def check_class_count(rows: Any, classes: Any) -> None:
    """Check that a model has a row for each class.

    Args:
        rows (ClassRows): Rows of the head.
        classes (ClassSplit): Classes by role.

    Raises:
        ConfigError: If the old classes are more or fewer, or the head has too few rows.
    """
    if rows.old != len(classes.old):
        fix = f'set model.head.old_classes = {len(classes.old)} or mend swap.classes.old'
        problem = f'swap.classes.old lists {len(classes.old)} classes'
        raise ConfigError('model.head.old_classes', rows.old, problem, fix)
    if rows.total < len(classes.names):
        fix = f'give the head of model.host num_classes = {len(classes.names)}'
        problem = f'there are {len(classes.names)} old and new classes'
        raise ConfigError('model.host', rows.total, problem, fix)
