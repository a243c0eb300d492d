"""A whole swap with accelerations, as the runner makes it."""

import torch

from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    pretrain_host,
    swap_config,
    train,
    weights_of,
)

NAMES = ['LeanLoRA', 'PackedAttention']
PHASES = [learn(iters=3), forget(iters=3, restart_optimizer=True)]


def test_a_run_ends_as_without_and_can_be_resumed(picture_tree, tmp_path):
    host = pretrain_host(picture_tree, tmp_path / 'host.pth')

    def config(name, accelerations, **changes):
        settings = dict(
            host=host, dropout=0.1, policy='new_rows', default_hooks__checkpoint__interval=2
        )
        made = swap_config(picture_tree, tmp_path / name, PHASES, **settings, **changes)
        made.model.accelerations = accelerations
        return made

    _, plain = train(config('plain', []))
    runner, whole = train(config('whole', NAMES))
    assert runner.model.accelerated == dict(LeanLoRA=4, PackedAttention=2)
    again = config('again', NAMES)
    again.resume, again.load_from = True, str(tmp_path / 'whole' / 'iter_4.pth')
    train(again)
    for column in ('samples', 'phases', 'trainable', 'lr'):
        assert whole.column(column) == plain.column(column)
    ends = [weights_of(tmp_path / n / 'phase2_forget.pth') for n in ('plain', 'whole', 'again')]
    assert_same_weights(ends[2], ends[1])
    assert list(ends[0]) == list(ends[1])
    for key, wanted in ends[0].items():
        if 'lora' not in key and 'head' not in key:
            assert torch.equal(ends[1][key], wanted), key
        else:  # AdamW divides by the size of the gradient, which makes more of a rounding
            torch.testing.assert_close(ends[1][key], wanted, rtol=1e-3, atol=1e-4)
