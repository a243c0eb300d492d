"""Wrong labels for forget samples, in training alone."""

from collections import Counter

import pytest

from knowswap_mm.datasets import ClassRoles, RandomLabelRoleView, RoleDataset, SampleAddress

CLASSES = dict(old=['d', 'b', 'a', 'e', 'c'], learn=['y', 'x'], forget=['e', 'a'])
VIEW = 'knowswap_mm.RandomLabelRoleView'
ALLOWED = {0, 1, 4, 5, 6}  # d, b, c, y, x


@pytest.fixture(scope='module')
def dataset(picture_tree, host):
    role = dict(dataset=host(picture_tree / 'train'))
    roles = dict(learn=role, forget=dict(role, view=VIEW), retain=role)
    return RoleDataset(roles, CLASSES, seed=5)


def draw(dataset, role, index, number):
    return dataset[SampleAddress(role, role, index, number, 0)]['data_samples']


def test_never_the_true_class_and_never_a_forgotten_one(dataset):
    samples = [draw(dataset, 'forget', i % 24, i) for i in range(300)]
    counts = Counter(int(sample.gt_label) for sample in samples)
    assert set(counts) == ALLOWED
    # 60 of each are expected; five standard deviations are 35.
    assert min(counts.values()) > 25
    for sample in samples:
        folder = sample.img_path.split('/')[-2]
        assert dataset.classes.names[sample.true_label] == folder in 'ae'


def test_a_draw_has_one_label(dataset, picture_tree, host):
    numbers = list(range(40))
    first = [int(draw(dataset, 'forget', 3, n).gt_label) for n in numbers]
    assert first == [int(draw(dataset, 'forget', 3, n).gt_label) for n in numbers]
    assert len(set(first)) == len(ALLOWED)
    role = dict(dataset=host(picture_tree / 'train'))
    roles = dict(learn=role, forget=dict(role, view=VIEW), retain=role)
    other = RoleDataset(roles, CLASSES, seed=6)
    assert first != [int(draw(other, 'forget', 3, n).gt_label) for n in numbers]


def test_read_by_a_number_the_labels_are_true(dataset):
    for role in ('learn', 'forget', 'retain'):
        for number in dataset.span(role):
            sample = dataset[number]['data_samples']
            folder = sample.img_path.split('/')[-2]
            assert sample.role == role and 'true_label' not in sample
            assert dataset.classes.names[int(sample.gt_label)] == folder


def test_other_roles_are_left_alone(dataset):
    for role in ('learn', 'retain'):
        for number in range(10):
            sample = draw(dataset, role, number, number)
            assert dataset.classes.names[int(sample.gt_label)] == sample.img_path.split('/')[-2]


def test_spans_follow_each_other(dataset):
    assert [dataset.span(role) for role in ('learn', 'forget', 'retain')] == [
        range(0, 24), range(24, 48), range(48, 84)
    ]  # fmt: skip


def test_only_for_the_forget_role(picture_tree, host, raises_config_error):
    view = RandomLabelRoleView(host(picture_tree / 'train'), 'retain')
    with raises_config_error('dataset.roles.retain.view', 'RandomLabelRoleView', 'wrong labels'):
        view.bind(ClassRoles(**CLASSES))


def test_needs_another_class(picture_tree, host, raises_config_error):
    view = RandomLabelRoleView(host(picture_tree / 'train'), 'forget')
    classes = ClassRoles(['a', 'b', 'c', 'd', 'e'], [], ['a', 'b', 'c', 'd', 'e'])
    with raises_config_error('swap.classes.forget', classes.forget, 'no class is left'):
        view.bind(classes)
