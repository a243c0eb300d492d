"""While a host is built, nothing is fetched and nothing is unpickled, whoever asks for it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch import nn

from knowswap_mm.errors import ConfigError

#: Names by which a pickle may hold arrays and ordered dicts; none of them runs code.
_DATA = frozenset(
    {('collections', 'OrderedDict'), ('numpy', 'dtype'), ('numpy', 'ndarray')}
    | {('_codecs', 'encode')}
    | {
        (f'numpy.{core}.multiarray', name)
        for core in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    }
)
_FETCHES = ('urllib.Request', 'http.client.connect', 'socket.getaddrinfo', 'socket.gethostbyname')
_STARTS = ('subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn')
_WATCHED = frozenset({'pickle.find_class', 'socket.connect', *_FETCHES, *_STARTS})
#: Modules of Python that start a program to look at the machine.
_LOOKING = ('importlib._bootstrap', 'ctypes.util', 'platform', 'uuid')


class _Watch:
    """One block in which foreign code is refused."""

    def __init__(self, key: str, config: Any) -> None:
        self.key = key
        self.texts = dict(_texts(config, key))
        self.kind = config.get('type') if isinstance(config, dict) else None
        here = threading.get_ident()
        # Threads that run already do other things; those that the block starts belong to it.
        self.others = {thread.ident for thread in threading.enumerate()} - {here}
        self.refused: ConfigError | None = None

    def refuse(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = _attempt(event, arguments)
        frames = list(_frames(inspect.currentframe()))
        if what is None or (event in _STARTS and any(_module(f) in _LOOKING for f in frames)):
            return
        key, value = self._named(frames)
        kind = next((type(o).__name__ for f in frames if (o := _module_of(f)) is not None), None)
        problem = f'{kind or "a part of the host"} {what} while the host is built'
        fix = (
            'leave the key out: all weights come from load_from, read as data. What else a host '
            'reads must be local (for Hugging Face a folder, or HF_HUB_OFFLINE=1)'
        )
        error = ConfigError(key, value, problem, fix)
        self.refused = self.refused or error
        raise error

    def _named(self, frames: list[FrameType]) -> tuple[str, Any]:
        """The config key whose value the code at work holds in its hands."""
        for frame in frames:
            for value in frame.f_locals.values():
                if isinstance(value, (str, os.PathLike)) and (text := str(value)) in self.texts:
                    return self.texts[text], text
        return self.key, self.kind


_watches: list[_Watch] = []
_hooked = False


@contextmanager
def no_foreign_code(key: str, config: Any = None) -> Iterator[None]:
    """Refuse to fetch, to unpickle and to start programs in a block.

    Python reports all of that to audit hooks, so that no route has to be known by name: the loaders
    of mmengine, ``torch.load``, ``torch.hub``, Hugging Face and any other. Weights that are read as
    data (``weights_only``) are not concerned. An attempt counts even if the host passes over the
    error.

    Args:
        key (str): Config key of what is built, e.g. ``model.host``.
        config: Its config, in which the message looks for the key that names the file.

    Raises:
        ConfigError: At the end of the block, if there was an attempt.
    """
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_look)
    watch = _Watch(key, config)
    _watches.append(watch)
    try:
        yield
    except Exception as error:
        if watch.refused in (None, error):
            raise
        raise watch.refused from error
    finally:
        _watches.remove(watch)
    if watch.refused is not None:
        raise watch.refused


def closed_to_foreign_code(key: str, argument: str) -> Callable[[Callable], Callable]:
    """Decorator: run a constructor under :func:`no_foreign_code`; ``argument`` has its config."""

    def decorate(function: Callable) -> Callable:
        names = inspect.signature(function)

        @functools.wraps(function)
        def closed(*args: Any, **kwargs: Any) -> Any:
            config = names.bind_partial(*args, **kwargs).arguments.get(argument)
            with no_foreign_code(key, config):
                return function(*args, **kwargs)

        return closed

    return decorate


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watches or event not in _WATCHED:
        return
    watch = _watches[-1]
    if threading.get_ident() not in watch.others:
        watch.refuse(event, arguments)


def _attempt(event: str, arguments: tuple[Any, ...]) -> str | None:
    """What an event means in words; None if it is harmless."""
    if event == 'pickle.find_class':
        module, name = arguments
        return None if (module, name) in _DATA else f'would unpickle {module}.{name}, which is code'
    if event == 'socket.connect':
        address = arguments[1]
        return f'would fetch from {address[0]}' if isinstance(address, tuple) else None
    if event in _FETCHES:
        place = arguments[1] if event == 'http.client.connect' else arguments[0]
        return f'would fetch {place}'
    return f'would start {arguments[0]!r}'


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if _module(frame) != __name__:
            yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '')


def _module_of(frame: FrameType) -> nn.Module | None:
    owner = frame.f_locals.get('self')
    return owner if isinstance(owner, nn.Module) else None


def _texts(config: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(config, dict):
        for name, value in config.items():
            if name not in ('type', '_scope_'):
                yield from _texts(value, f'{key}.{name}')
    elif isinstance(config, (list, tuple)):
        for i, value in enumerate(config):
            yield from _texts(value, f'{key}.{i}')
    elif isinstance(config, (str, os.PathLike)) and set('/.-') & set(str(config)):
        yield str(config), key  # looks like a file, an address or a published model
