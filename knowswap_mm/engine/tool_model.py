"""The model of a config, for commands that train nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.engine.tool_config import open_config


def build_model(path: str, adapters: list[Path] | None = None) -> tuple[torch.nn.Module, Config]:
    """The model of a config; `adapters` replace those beneath it."""
    cfg = open_config(path)
    for name in cfg.get('custom_imports', {}).get('imports', []):
        __import__(name)
    MMLogger.get_instance('model', log_level='ERROR')
    if adapters is not None:
        cfg.model.adapters = [str(folder) for folder in adapters]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model), cfg
