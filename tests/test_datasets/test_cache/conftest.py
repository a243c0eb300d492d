import shutil
import sys

import pytest

from knowswap_mm.datasets.cache import cache as sample_cache
from knowswap_mm.datasets.cache import pack_file as warn_once

_opened: list[str] = []
_watching: list[bool] = []


def _watch(event, arguments):
    if event == 'open' and _watching and isinstance(arguments[0], str):
        _opened.append(arguments[0])


sys.addaudithook(_watch)  # an audit hook stays forever; it does nothing outside of the fixture


@pytest.fixture
def opened():
    """Paths of the files that this process opens during a test; clear it at will."""
    _opened.clear()
    _watching.append(True)
    yield _opened
    _watching.clear()


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    """What the cache says."""
    messages = []
    for module in (sample_cache, warn_once):
        monkeypatch.setattr(module, 'print_log', lambda text, **_: messages.append(text))
    return messages


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test sees what another one keeps, or the user's caches."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache_home'))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))


@pytest.fixture
def pictures(picture_tree, tmp_path):
    """A copy of the image tree that a test may change."""
    return shutil.copytree(picture_tree, tmp_path / 'pictures')
