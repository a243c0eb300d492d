"""One sample, from config to loss: through how many of our files it goes (issue 25)."""

import re
import sys
from itertools import islice
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

import knowswap_mm
from tests.helpers.swap_configs import learn, swap_config

PACKAGE = Path(knowswap_mm.__file__).parent
PAGE = PACKAGE.parent / 'docs' / 'design.md'
HEADING = '## One sample, from config to loss'


class Walk(Hook):
    """Takes a batch from the data set to the total loss once more, and notes who is called."""

    def __init__(self):
        self.files, self.total = set(), None

    def after_train(self, runner):
        loader, model = runner.train_dataloader, runner.model
        addresses = list(islice(iter(loader.sampler), loader.batch_size))
        model.train()
        sys.setprofile(self._note)
        try:
            batch = loader.collate_fn([loader.dataset[address] for address in addresses])
            losses = model(**model.data_preprocessor(batch, True), mode='loss')
            self.total, _ = model.parse_losses(losses)
        finally:
            sys.setprofile(None)

    def _note(self, frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == 'call' and path.is_relative_to(PACKAGE):
            self.files.add(path.relative_to(PACKAGE).as_posix())


@pytest.fixture(scope='module')
def walk(picture_tree, host, tmp_path_factory):
    """What an iteration of a classifier's swap passed through."""
    folder = tmp_path_factory.mktemp('walk')
    runner = RUNNERS.build(swap_config(picture_tree, folder, [learn(iters=1)], host=host))
    hook = Walk()
    runner.register_hook(hook)
    runner.train()
    assert hook.total.requires_grad
    return hook.files


def test_a_sample_passes_few_files(walk):
    assert {'datasets/role_dataset.py', 'models/role_model.py', 'models/losses/swapping.py'} <= walk
    assert len(walk) <= 25, sorted(walk)


def test_the_page_names_each_of_them(walk):
    section = PAGE.read_text(encoding='utf-8').partition(HEADING)[2].partition('\n## ')[0]
    named = {path.removeprefix('knowswap_mm/') for path in re.findall(r'`([\w/]+\.py)`', section)}
    assert walk - named == set(), 'not in the walk of docs/design.md'
    assert all((PACKAGE / path).is_file() for path in named), named
