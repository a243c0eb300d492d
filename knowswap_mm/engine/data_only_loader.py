"""mmengine's own loading, as data only."""

from __future__ import annotations

import pickle
from typing import Any

import yaml
from mmengine.fileio import PickleHandler, YamlHandler, register_handler
from mmengine.runner import CheckpointLoader

from knowswap_mm.engine.array_pickle import arrays_of
from knowswap_mm.engine.safe_load import safe_load
from knowswap_mm.errors import FileError

#: A pattern that fits every path and comes before all others: mmengine sorts them backwards, and no
#: letter is behind a bar.
_EVERYTHING = '|'


def use_data_only_loader() -> None:
    """Let mmengine read files as data, in all of this process.

    A plain runner, and a host with ``init_cfg=dict(type='Pretrained')``, would unpickle a weight
    file in full, and download an address. ``mmengine.load``, by which data sets, metrics and losses
    read what their configs name (``ann_file``, ``proposal_file``, ``class_weight``), would run what
    is in a ``.pkl`` and a ``.yaml``.
    """
    CheckpointLoader.register_scheme(_EVERYTHING, loader=load_from_data_only, force=True)
    register_handler(['pickle', 'pkl'])(ArrayHandler)
    register_handler(['yaml', 'yml'])(PlainYamlHandler)


def load_from_data_only(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local weight file as data.

    Args:
        filename (str): The file.
        map_location: Device to load to.

    Raises:
        CheckpointError: As :func:`safe_load`.
    """
    return safe_load(filename, 'cpu' if map_location is None else map_location)


class ArrayHandler(PickleHandler):
    """Reads pickles of arrays, numbers and texts in dicts and lists; writes any."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read a pickle.

        Args:
            file: An open file.
            **kwargs: Options of ``pickle.load``, which are not needed.

        Raises:
            FileError: If it holds anything else, which would be executed.
        """
        try:
            return arrays_of(file.read())
        except (pickle.UnpicklingError, ValueError, EOFError) as error:
            name = getattr(file, 'name', 'A pickle that the config names')
            fix = 'use json, or if you trust its author write its arrays into a new file'
            raise FileError(name, f'is not read, as it is no data ({error})', fix) from error


class PlainYamlHandler(YamlHandler):
    """Reads yaml without the tags that call Python."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read yaml.

        Args:
            file: An open file.
            **kwargs: Options of ``yaml.load``; the loader is always the safe one.
        """
        return yaml.load(file, **dict(kwargs, Loader=yaml.SafeLoader))
