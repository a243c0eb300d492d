"""An export is the host of a next swap."""

import json

from tests.helpers.exports import export
from tests.helpers.swap_configs import FORGOTTEN, forget, learn, swap_config, train, write_config


def test_what_was_forgotten_is_learnt_again(classifier, tmp_path):
    config, path, checkpoint = classifier
    export(path, checkpoint, tmp_path / 'exported', '--drop', 'forgotten', '--check', '0')
    root = config.test_dataloader.dataset.roles.learn.dataset.data_root
    old = str(tmp_path / 'exported' / 'classes.txt')
    following = swap_config(
        root,
        tmp_path / 'run',
        [learn(iters=1), forget(iters=1)],
        host=tmp_path / 'exported' / 'model.pth',
        swap__classes=dict(old=old, learn=[FORGOTTEN], forget=['x']),
        model__head__old_classes=6,
    )
    train(following)
    path = write_config(following, tmp_path / 'config.py')
    export(path, tmp_path / 'run' / 'phase2_forget.pth', tmp_path / 'again')
    names = json.loads((tmp_path / 'again' / 'classes.json').read_text())['classes']
    assert names == ['a', 'c', 'd', 'e', 'x', 'y', FORGOTTEN]
