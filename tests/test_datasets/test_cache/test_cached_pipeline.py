"""What is kept of a pipeline, and what becomes of results that cannot be kept."""

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.roles import ROLES
from tests.helpers.cached_data import CLASSES, classification, read


def test_an_unknown_step_ends_what_is_kept(pictures, host):
    steps = dict(type='Halve'), dict(type='mmpretrain.Resize', scale=(8, 8))
    dataset = classification(pictures, host, dict(), *steps)
    pipeline = dataset.views['learn'].cached_pipeline
    assert [type(s).__name__ for s in pipeline.kept_steps] == ['LoadImageFromFile']
    declared = classification(pictures, host, dict(deterministic=['Halve']), *steps)
    pipeline = declared.views['learn'].cached_pipeline
    assert [type(s).__name__ for s in pipeline.kept_steps] == [
        'LoadImageFromFile', 'Halve', 'Resize',
    ]  # fmt: skip
    numbers = range(len(dataset))
    expected = read(classification(pictures, host, None, *steps), numbers)
    assert read(dataset, numbers) == expected == read(dataset, numbers)
    assert read(declared, numbers) == expected == read(declared, numbers)


def test_nothing_to_keep(picture_tree, host, logged):
    role = dict(dataset=host(picture_tree / 'train', load=dict(type='Halve')))
    dataset = RoleDataset(dict(retain=role), CLASSES, cache=dict())
    assert dataset.views['retain'].cached_pipeline is None
    assert any('no step of its pipeline can be kept' in text for text in logged)


def test_a_result_that_cannot_be_stored(pictures, host, logged):
    step = dict(type='AddModule')
    dataset = classification(pictures, host, dict(deterministic=['AddModule']), step)
    expected = read(classification(pictures, host, None, step), range(len(dataset)))
    assert read(dataset, range(len(dataset))) == expected
    assert sum('builtins.object cannot be stored' in text for text in logged) == len(ROLES)


def test_a_declared_step_that_draws(pictures, host, raises_config_error):
    step = dict(type='AddNoise')
    dataset = classification(pictures, host, dict(deterministic=['AddNoise']), step)
    names = ['LoadImageFromFile', 'AddNoise']
    with raises_config_error('dataset.cache.deterministic', names, 'draws random numbers'):
        dataset[0]
