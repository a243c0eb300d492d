"""Fixtures for all tests."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from knowswap_mm.errors import ConfigError

# The machine may be busy, so an example has no time limit; the same examples in every run.
settings.register_profile('knowswap_mm', deadline=None, max_examples=60, derandomize=True)
settings.load_profile('knowswap_mm')

COLOURS = {
    'a': (200, 40, 40),
    'b': (40, 200, 40),
    'c': (40, 40, 200),
    'd': (200, 200, 40),
    'e': (200, 40, 200),
    'x': (40, 200, 200),
    'y': (120, 120, 120),
}
PICTURES = dict(train=12, val=6)


@pytest.fixture(scope='session', autouse=True)
def fast_files():
    """Configs are written unformatted, and files are not forced to the disk.

    yapf takes a second each time, several times a run, and a run waits for the disk sixty times.
    No test cuts the power; those that kill processes find what the kernel has.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))
        patch.setattr('os.fsync', lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def free_lock():
    """No test inherits a lock of mmengine.

    ``ManagerMixin.get_instance`` holds one while it makes an object. Where that raises, it stays
    held: nothing in the same thread notices, and a run in any other thread waits for ever.
    """
    yield
    if manager := sys.modules.get('mmengine.utils.manager'):
        manager._lock = threading.RLock()


@pytest.fixture(scope='session')
def picture_tree(tmp_path_factory) -> Path:
    """Root of ``{train,val}/<class>/<nn>.png``: 16x16 images, each class with its own colour.

    Old classes ``a`` to ``e``, new classes ``x`` and ``y``; 12 training and 6 validation images
    a class. Noise makes each image unlike every other. Copy the tree before you change it.
    """
    root = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    for part, count in PICTURES.items():
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(colour, 20, size=(16, 16, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f'{number:02d}.png')
    return root


@pytest.fixture(scope='session')
def host(picture_tree, tmp_path_factory):
    """A plain checkpoint of the host, trained on the old classes."""
    from tests.helpers.swap_configs import pretrain_host  # only now: it imports the host library

    return pretrain_host(picture_tree, tmp_path_factory.mktemp('host') / 'host.pth')


@pytest.fixture(scope='session')
def raises_config_error():
    """Context manager: a ConfigError that names this key, this value, these words and a fix."""

    @contextmanager
    def check(key, value, *words):
        with pytest.raises(ConfigError) as caught:
            yield
        message = str(caught.value)
        shown = repr(value) if len(repr(value)) <= 200 else f'{value!r}'[:197]
        assert message.startswith(f'{key} = {shown}'), message
        assert caught.value.key == key
        assert len(message.split('. Fix: ')[1]) > 3, message
        for word in words:
            assert word in message, message

    return check
