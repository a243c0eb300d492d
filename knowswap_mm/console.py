"""What the console shows of a run: our own words. The log file has everything.

mmengine's dump of the environment, its list of hooks, and what libraries say and warn of, are for
whoever looks for the reason of something; ``log_level = 'DEBUG'`` brings all back to the console.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowswap_mm.installation import quick_imports

#: ``extra`` of a record that only the log file should have.
DETAIL = dict(detail=True)
#: Their records, up to warnings, stay in the log file.
_LIBRARIES = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
_PRINT_LOG = 'mmengine/logging/logger.py'
#: They print four lines for each json and twenty for each measurement. What is wrong they raise.
_PRINTING = (
    'pycocotools.coco',
    'pycocotools.cocoeval',
    'mmdet.datasets.api_wrappers.coco_api',
    'mmdet.datasets.api_wrappers.cocoeval_mp',
)
_OWN = str(Path(__file__).parent)
#: Seconds between two lines of progress where no line can be written over.
_PAUSE = 30.0
#: So many messages are kept for a log file that may never come.
_KEPT = 500


class ShortLine(str):
    """A line of the log file that has a shorter form for the console.

    Args:
        text (str): The whole line.
        short (str): What the console shows.
        progress (bool): Whether the next one of its kind may take its place.
    """

    short: str
    progress: bool

    def __new__(cls, text: str, short: str, progress: bool = False) -> ShortLine:
        """Make a line."""
        line = super().__new__(cls, text)
        line.short, line.progress = short, progress
        return line


class Console(logging.StreamHandler):
    """Writes records for people: no prefix but the time, progress on one line of a terminal.

    Args:
        stream: Where to; ``sys.stdout``, as it is when a handler is made.
    """

    def __init__(self, stream: Any = None) -> None:
        super().__init__(sys.stdout if stream is None else stream)
        self._open, self._last = False, -_PAUSE
        self.addFilter(_is_for_people)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = isinstance(record.msg, ShortLine)
            text = record.msg.short if line else record.getMessage()
            if record.levelno >= logging.WARNING:
                text = f'{record.levelname.lower()}: {text}'
            text = f'{time.strftime("%H:%M:%S", time.localtime(record.created))}  {text}'
            self._write(text, progress=line and record.msg.progress)
        except Exception:  # as every handler: what cannot be shown must not end a run
            self.handleError(record)

    def _write(self, text: str, progress: bool) -> None:
        now = time.monotonic()
        if progress and self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f'\r\x1b[K{text[:width]}')
            self._open = True
        elif not progress or now - self._last >= _PAUSE:
            self.end_line()
            self.stream.write(f'{text}\n')
            self._last = now if progress else self._last
        self.flush()

    def end_line(self) -> None:
        """Leave the line of progress, so that others may write."""
        if self._open:
            self.stream.write('\n')
            self.flush()
        self._open = False


def _origin(record: logging.LogRecord) -> str:
    """The file whose code said it: behind mmengine's ``print_log`` stands somebody else."""
    between = {__file__, logging.__file__, record.pathname}
    if not record.pathname.endswith(_PRINT_LOG):
        return record.pathname
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename in between:
        frame = frame.f_back
    return record.pathname if frame is None else frame.f_code.co_filename


def _is_for_people(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, ShortLine) or record.levelno >= logging.ERROR:
        return True
    if getattr(record, 'detail', False):
        return False
    modules = [sys.modules[name] for name in _LIBRARIES if name in sys.modules]
    folders = [folder for module in modules for folder in getattr(module, '__path__', ())]
    if not _origin(record).startswith(tuple(folders)):
        return True
    # A log processor of somebody else has no short lines.
    return Path(record.pathname).name == 'logger_hook.py' and 'Iter(' in record.getMessage()


class _Said:
    """What libraries said, for the log file of the run that begins."""

    waiting: list[str] = []
    logger: logging.Logger | None = None
    console: Console | None = None


def note(text: str) -> None:
    """Write a text into the log file of the run, now or when it begins."""
    if _Said.logger is not None:
        _Said.logger.warning(text, extra=DETAIL)
    elif len(_Said.waiting) < _KEPT:
        _Said.waiting.append(text)


def _print_for_debugging(*words: Any, **_: Any) -> None:
    """In the place of ``print`` in a library that tells each step of its work."""
    if _Said.logger is not None:
        _Said.logger.debug(' '.join(map(str, words)))


def use_console(logger: logging.Logger) -> None:
    """Let a logger of mmengine write to the console as :class:`Console` does."""
    for place, handler in enumerate(logger.handlers):
        if type(handler) is logging.StreamHandler:
            if 0 < handler.level <= logging.DEBUG:
                break
            console = _Said.console = Console(handler.stream)
            console.setLevel(handler.level)
            for each in handler.filters:
                console.addFilter(each)
            logger.handlers[place] = console
    _Said.logger = logger
    while _Said.waiting:
        note(_Said.waiting.pop(0))


def end_progress() -> None:
    """Leave the line of progress of the run, if it is on one."""
    if _Said.console is not None:
        _Said.console.end_line()


def quiet_warnings() -> None:
    """Keep what libraries warn of for the log file; those of ours and of users are shown."""
    plain = warnings.showwarning

    def show(message: Any, category: type, filename: str, lineno: int, *rest: Any) -> None:
        installed = {'site-packages', 'dist-packages'} & set(Path(filename).parts)
        if installed and not filename.startswith(_OWN):
            note(f'{filename}:{lineno}: {category.__name__}: {message}')
        else:
            plain(message, category, filename, lineno, *rest)

    warnings.showwarning = show


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep what is printed for the log file."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        if text := printed.getvalue().strip():
            note(text)


def import_quietly(scope: Any) -> None:
    """Import what the registries of a host would import, without what it prints meanwhile.

    Args:
        scope: Name of its library; anything else than a known one is left alone.
    """
    if scope not in _LIBRARIES:
        return
    from mmengine.logging import MMLogger

    # It keeps the stream of the moment in which it is made.
    logger = MMLogger.get_current_instance()
    levels = [(handler, handler.level) for handler in logger.handlers]
    for handler, _ in levels:
        handler.setLevel(logging.ERROR)
    # A classifier of mmpretrain would import all of mmdet for the one detector of that library.
    needless = ('mmdet',) if scope == 'mmpretrain' else ()
    try:
        if scope == 'mmdet':
            _complete(_FOR_MMDET)
        with quick_imports(*needless):
            for name in ('datasets', 'models', 'engine', 'evaluation', 'visualization'):
                # What cannot be imported says so when it is built, with the key of the config.
                with _unheard(), contextlib.suppress(Exception):
                    importlib.import_module(f'{scope}.{name}')
    finally:
        for handler, level in levels:
            handler.setLevel(level)
    for name in _PRINTING:
        if name in sys.modules:
            sys.modules[name].print = _print_for_debugging


#: What mmpretrain registers in mmdet, where that can be imported.
_FOR_MMDET = 'mmpretrain.models.utils.res_layer_extra_norm'


def _complete(name: str) -> None:
    """Import a module again that was imported while mmdet seemed to be absent."""
    module = sys.modules.get(name)
    if module is not None and module.ResLayerExtraNorm is None:
        with _unheard(), contextlib.suppress(ImportError):
            importlib.reload(module)


#: Set where a launcher of ours shows the reason for a failure itself.
SUMMARY = 'KNOWSWAP_SUMMARY'


def tell_launcher(text: str) -> bool:
    """Hand the reason for a failure to torchrun, whose summary shows it.

    Args:
        text (str): The message.

    Returns:
        bool: Whether it is shown there, so that this process need not show it. The first process of
        a machine does so all the same, unless the launcher is ours; where processes are started
        again, each does, because torchrun shows the last failure only.
    """
    path = os.environ.get('TORCHELASTIC_ERROR_FILE')
    if not path:
        return False
    again = os.environ.get('TORCHELASTIC_MAX_RESTARTS', '0') != '0'
    first = os.environ.get('LOCAL_RANK', '0') == '0'
    # torchrun's format; the stack is what it shows. It calls the first of all failures the cause,
    # by whole seconds, and among these are the processes that it ends within the same one itself.
    second = int(time.time()) - 1
    extra = dict(py_callstack=text, timestamp=str(second), knowswap=True)
    with contextlib.suppress(OSError):
        # Only the launcher reads it, after this process has ended.
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(dict(message=dict(message=text, extraInfo=extra)), file)
        return not again and (SUMMARY in os.environ or not first)
    return False
