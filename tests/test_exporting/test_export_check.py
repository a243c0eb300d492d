"""The check finds what is wrong, and nothing else."""

import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.errors import CheckpointError
from knowswap_mm.exporting import ExportCheck, ExportedHost
from knowswap_mm.exporting.check import _in_order, _mean_deviation
from tests.helpers.exports import own_runner


@pytest.fixture(params=['detector', 'segmentor'])
def checked(request):
    """A check and the plain host that it passes."""

    config, _, checkpoint = request.getfixturevalue(request.param)
    runner = own_runner(config, checkpoint)
    runner.load_or_resume()
    data = runner.test_dataloader.dataset
    swapper = runner.model
    samples = [data[0], data[len(data) - 1]]
    names = [tensor.name for tensor in swapper.class_rows.tensors]
    check = ExportCheck(swapper.host, samples, names)
    exported = ExportedHost(swapper, config.model.host, data.metainfo['classes'])
    with DefaultScope.overwrite_default_scope(config.default_scope):
        plain = MODELS.build(copy.deepcopy(config.model.host))
    plain.load_state_dict(exported.state_dict())
    return check, plain


def test_every_changed_tensor_is_watched(checked):
    """One number off in any layer that a swap changes is found; what is right passes."""
    check, plain = checked
    found = check.compare(plain)
    assert set(found) == {'layers', 'features', 'predictions'}
    check.refuse_deviations('float32')
    right = copy.deepcopy(plain.state_dict())
    watched = list(check.probe.seen)
    assert any('backbone' in name for name in watched)
    assert any('decoder' in name and 'ffn' in name for name in watched)
    assert any('cls' in name for name in watched)
    for name in (watched[0], watched[-1]):
        wrong = copy.deepcopy(right)
        wrong[f'{name}.bias'][0] += 0.1 * wrong[f'{name}.weight'].abs().max()
        plain.load_state_dict(wrong)
        assert check.compare(plain)['layers'] > 1e-4, name
        with pytest.raises(CheckpointError, match='layers deviate by'):
            check.refuse_deviations('float32')
    assert 'extract_feat' not in vars(plain)


def test_what_is_no_number_is_refused(checked):
    check, _ = checked
    for wrong in (float('nan'), float('inf')):
        check.deviations = dict(features=wrong)
        with pytest.raises(CheckpointError, match='features deviate'):
            check.refuse_deviations('float16')


def test_the_order_of_detections_does_not_count():
    scores = torch.tensor([0.9, 0.5, 0.1])

    def deviation(given):
        return _mean_deviation(_in_order(scores), _in_order(given))

    assert deviation(scores.flip(0)) == 0
    assert deviation(scores[:2]) == pytest.approx(1 / 3)
    assert deviation(scores * 2) == pytest.approx(1.5 / 3 / 1.8)


def test_large_maps_are_compared_at_some_values():
    kept = _in_order(torch.rand(1000, 1000))
    assert len(kept) == 100_000
    assert torch.equal(kept, kept.sort(descending=True).values)
