import pytest

from tests.helpers.audit_models import FORGOTTEN, NEW, OLD, train_host, write_pictures

KEPT = tuple(name for name in (*OLD, *NEW) if name not in FORGOTTEN)


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp('audit') / 'pictures')


@pytest.fixture(scope='session')
def models(pictures, tmp_path_factory):
    """Files: the model before a swap, and three that never saw the forget set."""
    folder = tmp_path_factory.mktemp('models')
    found = dict(original=train_host(pictures, folder / 'original.pth', OLD, 0))
    for seed in (1, 2, 3):
        path = folder / f'retrained{seed}.pth'
        found[f'retrained{seed}'] = train_host(pictures, path, KEPT, seed)
    return found
