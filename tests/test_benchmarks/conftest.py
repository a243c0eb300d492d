"""Fixtures for tests of benchmarks."""

import pytest

from tests.helpers.benchmark_runs import own_modules


@pytest.fixture(scope='module', autouse=True)
def modules():
    """The modules of benchmarks/ can be imported, as their scripts import them."""
    with own_modules():
        yield
