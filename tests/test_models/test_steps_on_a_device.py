"""What a training step copies to the device: on `meta`, from which nothing can be read."""

from contextlib import nullcontext

import pytest
import torch

from knowswap_mm.engine import SwapOptimWrapper
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    swap_schedule,
    swin_host,
    trainable,
    vit_host,
)
from tests.helpers.waits import waits

KINDS = ('learn', 'forget', 'joint')


@pytest.mark.parametrize('index', range(len(KINDS)), ids=KINDS)
@pytest.mark.parametrize('host', [vit_host, swin_host])
def test_pictures_and_labels_and_nothing_else(host, index, monkeypatch):
    # Autocast, which is off here, knows no `meta`.
    monkeypatch.setattr(torch, 'autocast', lambda *args, **settings: nullcontext())
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda device: False)
    monkeypatch.setattr(torch, 'get_autocast_dtype', lambda device: torch.float32)
    swapper = build_swapper(host()).to('meta').train()
    # Other than on a real device, parameters do not stay the same objects.
    swapper.swapping_loss.attach(swapper.host)
    swapper.swapping_loss.to('meta')
    optimizer = torch.optim.AdamW(trainable(swapper).values(), lr=1e-2)
    wrapper = SwapOptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    inputs, samples = batch(swap_schedule().phases[index].roles, phase=index)
    data = dict(
        inputs=torch.cat(list(inputs.values())),
        data_samples=[sample for role in samples for sample in samples[role]],
    )

    def lies_on_host(tensor):  # the step counts of the optimizer
        return any(tensor is state.get('step') for state in optimizer.state.values())

    with waits(lies_on_host) as found:
        logs = swapper.train_step(data, wrapper)
    assert [entry.split()[0] for entry in found] == ['_to_copy', '_to_copy'], found
    assert all('models/preprocessor.py' in entry for entry in found)
    assert {value.device.type for value in logs.values()} == {'meta'}
