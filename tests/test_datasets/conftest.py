"""Host data sets over image folders, as a user's config writes them."""

import gc

import mmpretrain.datasets  # noqa: F401
import pytest
from mmengine.logging import MMLogger

LOAD = dict(type='mmpretrain.LoadImageFromFile')
PACK = dict(type='mmpretrain.PackInputs')


@pytest.fixture(scope='session')
def host():
    """Config of mmpretrain's data set over a folder of class folders."""
    gc.collect()
    gc.freeze()  # the host collects garbage whenever it is built: 0.2 s with all modules loaded

    def config(folder, *transforms, load=LOAD, **options):
        pipeline = [load, *transforms, PACK]
        return dict(
            type='mmpretrain.CustomDataset', data_prefix=str(folder), pipeline=pipeline, **options
        )

    return config


@pytest.fixture(scope='session')
def augmentation():
    """Random crop and flip: two draws of one image are unlike each other."""
    return (
        dict(type='mmpretrain.RandomCrop', crop_size=8),
        dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    )


@pytest.fixture
def told(monkeypatch):
    """What is logged as a warning."""
    messages = []
    logger = MMLogger.get_current_instance()
    log = logger.handle
    monkeypatch.setattr(
        logger,
        'handle',
        lambda r: (messages.append(r.getMessage()) if r.levelno == 30 else None, log(r)),
    )
    return messages
