"""The hooks that every swap has."""

from __future__ import annotations

from mmengine.config import Config

from knowswap_mm.engine.hooks.nonfinite_hook import nonfinite_settings
from knowswap_mm.registry import type_name

#: Default hooks of our configs that only look at a run.
_SEEING = ('block_profile', 'pictures', 'report')


def complete_hooks(cfg: Config) -> None:
    """Add to a config, in place, the hooks that a swap needs, and take away those set to None.

    Args:
        cfg (Config): The config of a swap.

    Raises:
        ConfigError: If ``swap.nonfinite`` cannot be used.
    """
    hooks = list(cfg.get('custom_hooks') or [])
    settings = nonfinite_settings(cfg['swap'].get('nonfinite'))
    untrained = dict(action=cfg['swap'].get('untrained', 'stop'))
    added = dict(Phase={}, Nonfinite=settings, Untrained=untrained, Preemption={}, Stall={})
    for name, arguments in added.items():
        kind = f'knowswap_mm.{name}Hook'
        if not any(hook['type'] == kind for hook in hooks):
            hooks.append(dict(arguments, type=kind))
    cfg['custom_hooks'] = hooks
    for name in _SEEING:  # None takes a hook away; mmengine knows that of its own hooks only
        if name in (given := cfg.get('default_hooks') or {}) and given[name] is None:
            del given[name]
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoint and type_name(checkpoint.get('type')) == 'CheckpointHook':
        checkpoint['type'] = 'knowswap_mm.SwapCheckpointHook'
