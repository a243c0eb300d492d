"""The guard looks at detectors and segmentors alike: the core knows no task."""

import pytest
import torch

from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.runs import train


def detection(folder, phases):
    scenes = detection_configs.write_scenes(folder / 'scenes')
    host = detection_configs.write_host(folder / 'host.pth')
    return detection_configs.detection_config(scenes, folder / 'run', host, phases)


def segmentation(folder, phases):
    scenes = segmentation_configs.write_scenes(folder / 'scenes')
    host = segmentation_configs.write_host(folder / 'host.pth')
    return segmentation_configs.segmentation_config(scenes, folder / 'run', host, phases)


@pytest.mark.parametrize('task', [detection, segmentation])
def test_looks_by_image_and_class(task, tmp_path, any_cost, script, monkeypatch):
    """Held-out images of several classes are measured, and measured again with the same numbers."""
    script()
    phases = [dict(kind='forget', iters=3, bound=90.0)]
    config = task(tmp_path, phases)
    config.swap.update(guard=dict(looks=1), holdout=0.3)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.pop('pictures', None)
    config.default_hooks.checkpoint.interval = 1000
    seen = []
    judge = 'knowswap_mm.engine.hooks.guard.judge'
    monkeypatch.setattr(judge, lambda watched, looks, good, best: seen.extend(looks))
    runner = train(config)
    start, end = seen
    assert (start.at, end.at) == (0, 3) and 'retain' in start.nats
    labels = {label for _, label in start.nats['retain']}
    assert len(labels) > 1 and len(start.nats['retain']) >= 4
    for role, found in start.nats.items():
        assert found.keys() == end.nats[role].keys() and found != end.nats[role]
    hook = next(h for h in runner.hooks if type(h).__name__ == 'GuardHook')
    state, modes = torch.get_rng_state(), [m.training for m in runner.swapper.modules()]
    again = hook._held.measure(runner, hook._plan.ends)
    assert again == end.nats  # a pure function of the weights
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in runner.swapper.modules()]
