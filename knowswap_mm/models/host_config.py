"""What happens to a host's config before it is built."""

from __future__ import annotations

from typing import Any


def without_pretrained(config: Any) -> Any:
    """Copy a config without the ``init_cfg`` that would load or download weights.

    A swap loads the whole host from ``load_from``, strictly; a part's own pretrained file would be
    fetched from the network, read by the engine's loader, and overwritten a moment later.

    Args:
        config: Config of a host, or a part of it.

    Returns:
        The copy; every ``init_cfg`` of type ``Pretrained`` is None.
    """
    if isinstance(config, dict):
        kept = {
            key: None if key == 'init_cfg' and _is_pretrained(value) else without_pretrained(value)
            for key, value in config.items()
        }
        return type(config)(kept)  # hosts may read a ConfigDict by attribute
    if isinstance(config, (list, tuple)):
        return type(config)(without_pretrained(value) for value in config)
    return config


def _is_pretrained(init_cfg: Any) -> bool:
    return isinstance(init_cfg, dict) and str(init_cfg.get('type')).endswith('Pretrained')
