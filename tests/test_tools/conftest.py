"""Fixtures of the tests of the command line tools."""

import pytest

from tests.swap_configs import plain_config_texts, pretrain_host


@pytest.fixture(scope='session')
def host(picture_tree, tmp_path_factory):
    """A plain checkpoint of the host, trained on the old classes."""
    return pretrain_host(picture_tree, tmp_path_factory.mktemp('host') / 'host.pth')


@pytest.fixture(scope='module', autouse=True)
def fast_configs():
    """No formatting of config texts."""
    with plain_config_texts():
        yield
