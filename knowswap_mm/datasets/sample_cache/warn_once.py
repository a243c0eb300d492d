"""Warnings that every process of a data loader would give."""

from __future__ import annotations

import logging

from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch.utils.data import get_worker_info


def warn_once(text: str) -> None:
    """Warn from the first worker of the first process alone.

    Args:
        text (str): The warning.
    """
    worker = get_worker_info()
    if get_dist_info()[0] == 0 and (worker is None or worker.id == 0):
        print_log(text, logger='current', level=logging.WARNING)
