import pytest

from tests.helpers.segmentation_configs import write_host, write_scenes


@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp('scenes'))


@pytest.fixture(scope='session')
def host(tmp_path_factory):
    return write_host(tmp_path_factory.mktemp('segmentor') / 'host.pth')
