"""mmengine's own loading, as data only."""

from __future__ import annotations

from typing import Any

from mmengine.runner import CheckpointLoader

from knowswap_mm.engine.safe_load import safe_load

#: A pattern that fits every path and comes before all others: mmengine sorts them backwards, and no
#: letter is behind a bar.
_EVERYTHING = '|'


def use_data_only_loader() -> None:
    """Let mmengine read weight files with :func:`safe_load`, in all of this process.

    A plain runner, and a host with ``init_cfg=dict(type='Pretrained')``, would unpickle a file in
    full, and download an address.
    """
    CheckpointLoader.register_scheme(_EVERYTHING, loader=load_from_data_only, force=True)


def load_from_data_only(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local weight file as data.

    Args:
        filename (str): The file.
        map_location: Device to load to.

    Raises:
        CheckpointError: As :func:`safe_load`.
    """
    return safe_load(filename, 'cpu' if map_location is None else map_location)
