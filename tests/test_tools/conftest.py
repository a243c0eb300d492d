"""Fixtures of the tests of the command line tools."""

import pytest

from tests.swap_configs import plain_config_texts


@pytest.fixture(scope='module', autouse=True)
def fast_configs():
    """No formatting of config texts."""
    with plain_config_texts():
        yield
