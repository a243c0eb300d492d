import mmdet.datasets.transforms  # noqa: F401
import mmpretrain.datasets.transforms  # noqa: F401
import mmseg.datasets.transforms  # noqa: F401
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, Resize
from mmengine.registry import TRANSFORMS, DefaultScope

from knowswap_mm.datasets.cache.pipeline import KNOWN, count_leading, fingerprint, is_declared

LIBRARIES = dict(mmcv='mmengine', mmdet='mmdet', mmpretrain='mmpretrain', mmseg='mmseg')


class Mine(BaseTransform):
    def transform(self, results):
        return results


class MyResize(Resize):
    pass


def build(*configs):
    return [TRANSFORMS.build(dict(config)) for config in configs]


def count(*configs, more=()):
    return count_leading(build(*configs), more)


def random_methods(name):
    """What the hosts mark as random, for pipelines that repeat a draw."""
    library, kind = name.split('.')
    found = TRANSFORMS.get(f'{LIBRARIES[library]}.{kind}')
    assert found.__module__.startswith(f'{library}.'), name
    return getattr(found, '_methods_with_randomness', [])


def test_every_known_step_exists_and_draws_no_random_number():
    assert random_methods('mmcv.RandomFlip') and random_methods('mmdet.PhotoMetricDistortion')
    for name in KNOWN:
        assert not random_methods(name), name


@pytest.mark.parametrize(
    ('expected', 'types'),
    [
        (0, []),
        (0, ['mmpretrain.PackInputs']),
        (1, ['mmpretrain.LoadImageFromFile', 'mmpretrain.PackInputs']),
        (1, ['mmdet.LoadImageFromFile', 'mmdet.PhotoMetricDistortion', 'mmdet.LoadAnnotations']),
        (2, ['mmseg.LoadImageFromFile', 'mmseg.LoadAnnotations', 'mmseg.PackSegInputs']),
    ],
)
def test_counts_up_to_the_first_other_step(expected, types):
    with DefaultScope.overwrite_default_scope('mmengine'):  # whatever a test before left
        assert count(*(dict(type=kind) for kind in types)) == expected


def test_floats_are_made_anew():
    normalise = dict(type='mmpretrain.Normalize', mean=[0] * 3, std=[1] * 3)
    load = dict(type='mmpretrain.LoadImageFromFile')
    assert count(load, normalise) == 1
    assert count(load, normalise, more=[TRANSFORMS.get('mmpretrain.Normalize')]) == 2


def test_a_subclass_is_another_step_and_can_be_declared():
    steps = [MyResize(scale=(8, 8)), Mine()]
    assert count_leading(steps) == 0
    assert count_leading(steps, [MyResize]) == 1
    assert count_leading(steps, [MyResize, Mine]) == 2
    assert is_declared(steps[0], [MyResize])
    assert not is_declared(steps[1], [MyResize])
    assert not is_declared(Resize(scale=(8, 8)), [Resize])


def test_a_step_inside_a_step_counts():
    inner = dict(type='mmseg.ResizeShortestEdge', scale=8, max_size=99)
    assert count(inner) == 1
    (step,) = build(inner)
    step.resize = Mine()
    assert count_leading([step]) == 0


class TestFingerprint:
    config = dict(type='mmpretrain.Resize', scale=(8, 8))

    def of(self, config):
        return fingerprint(build(config), [config])

    def test_equal_steps_have_the_same(self):
        assert self.of(self.config) == self.of(dict(self.config))

    @pytest.mark.parametrize(
        'change', [dict(scale=(8, 9)), dict(backend='pillow'), dict(type='mmdet.Resize')]
    )
    def test_another_config_has_another(self, change):
        assert self.of(self.config) != self.of(self.config | change)

    def test_another_version_of_a_library_has_another(self, monkeypatch):
        before = self.of(self.config)
        monkeypatch.setattr('cv2.__version__', '0')
        assert self.of(self.config) != before

    def test_other_code_of_a_step_has_another(self, monkeypatch):
        before = fingerprint([Mine()], [{}])
        monkeypatch.setattr('inspect.getsource', lambda kind: 'other code')
        assert fingerprint([Mine()], [{}]) != before


def test_known_steps_leave_the_generators_alone(picture_tree):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        steps = build(
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(12, 12)),
            dict(type='ResizeEdge', scale=10),
            dict(type='CenterCrop', crop_size=8),
            dict(type='Pad', size=(9, 9)),
        )
    assert count_leading(steps) == len(steps)
    torch.manual_seed(0), np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1]
    results = dict(img_path=str(picture_tree / 'train' / 'a' / '00.png'))
    for step in steps:
        results = step(results)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
