"""Fixtures of the tests with files and values from elsewhere."""

import pytest
from mmengine.registry import RUNNERS

from tests.helpers.swap_configs import swap_config, write_config


@pytest.fixture(scope='module')
def config(picture_tree, host, tmp_path_factory):
    """A small swap."""
    return swap_config(picture_tree, tmp_path_factory.mktemp('run'), host=host)


@pytest.fixture(scope='module')
def config_file(config, tmp_path_factory):
    """Its config as a file."""
    return write_config(config, tmp_path_factory.mktemp('config') / 'config.py')


@pytest.fixture(scope='module')
def trained(picture_tree, host, tmp_path_factory):
    """Folder of a finished swap."""
    folder = tmp_path_factory.mktemp('trained')
    RUNNERS.build(swap_config(picture_tree, folder, host=host)).train()
    return folder
