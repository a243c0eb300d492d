"""A swap of each task from one command, over odd data."""

import pytest

from knowswap_mm.cli.main import main
from tests.helpers import own_data

ITERS = dict(mmpretrain=30, mmdet=2, mmseg=2)


@pytest.fixture(scope='session')
def told(picture_tree, host, tmp_path_factory):
    """What the commands are told, by task; made when it is asked for."""
    made = {}

    def tell(task):
        if task not in made:
            root = tmp_path_factory.mktemp(task) / 'my data'
            root.mkdir()
            if task == 'mmpretrain':
                made[task] = own_data.classifier(root, picture_tree, host)
            else:
                made[task] = dict(mmdet=own_data.detector, mmseg=own_data.segmentor)[task](root)
        return made[task]

    return tell


@pytest.fixture(scope='session')
def swapped(told, tmp_path_factory):
    """Folder of a run of ``knowswap swap``, by task."""
    runs = {}

    def swap(task):
        if task not in runs:
            out = tmp_path_factory.mktemp('runs') / f'run {task}'
            given = dict(out=out, iters=ITERS[task], device='cpu')
            with pytest.MonkeyPatch.context() as patch:
                # Processes that load data take longer to start than these runs.
                patch.setattr('os.cpu_count', lambda: 1)
                main(['swap', *own_data.words(told(task), **given)])
            runs[task] = out
        return runs[task]

    return swap
