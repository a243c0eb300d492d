"""A host as its own training begins: random weights behind the backbone of a detector."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings

from knowswap_mm.engine.config import open_config
from knowswap_mm.errors import SwapError
from knowswap_mm.io.checkpoints import safe_load, safe_save, state_dict_of

_BACKBONE = 'host.backbone.'


def write_start(config: Path, detector: Path, seed: int, out: Path) -> None:
    """Write what the training of a host would begin with.

    Args:
        config (Path): The config of that training.
        detector (Path): A state of a swapper with the same backbone.
        seed (int): Of the random weights.
        out (Path): The file to write.

    Raises:
        SwapError: If the detector has a tensor that the backbone lacks, or the reverse.
    """
    cfg = open_config(config)
    cfg.model.backbone.init_cfg = None
    import_modules_from_strings(**cfg.custom_imports)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        logging.disable(logging.INFO)  # mmengine tells of each tensor
        try:
            model.init_weights()
        finally:
            logging.disable(logging.NOTSET)
    state = state_dict_of(safe_load(detector))
    weights = {k[len(_BACKBONE) :]: v for k, v in state.items() if k.startswith(_BACKBONE)}
    gaps = model.backbone.load_state_dict(weights, strict=False)
    # Norms of the stages that a host reads belong to its head: others read other stages.
    if lost := [key for key in (*gaps.missing_keys, *gaps.unexpected_keys) if key[:4] != 'norm']:
        raise SwapError(f'{detector} has another backbone than {config}: {", ".join(lost[:3])}')
    out.parent.mkdir(parents=True, exist_ok=True)
    safe_save(dict(state_dict=model.state_dict()), out)
