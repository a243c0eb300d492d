import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict

from knowswap_mm.datasets import ClassRoles
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES

OLD = ['dog', 'ant', 'bee', 'cow']


class TestPartition:
    def test_labels_are_the_old_classes_in_order_then_the_new(self):
        classes = ClassRoles(OLD, ['yak', 'fox'], ['bee'])
        assert classes.names == ['dog', 'ant', 'bee', 'cow', 'yak', 'fox']
        assert classes.of(LEARN) == ['yak', 'fox']
        assert classes.of(FORGET) == ['bee']
        assert classes.of(RETAIN) == ['dog', 'ant', 'cow']

    def test_given_retain_leaves_the_other_old_classes_alone(self):
        classes = ClassRoles(OLD, forget=['bee'], retain=['cow', 'dog'])
        assert classes.of(RETAIN) == ['cow', 'dog']
        assert classes.names == OLD

    def test_nothing_to_retain(self):
        assert ClassRoles(OLD, forget=OLD).retain == []
        assert ClassRoles(OLD, retain=[]).retain == []

    @given(st.data())
    def test_roles_are_disjoint_and_old_is_split_between_forget_and_retain(self, data):
        names = [f'c{i}' for i in range(data.draw(st.integers(1, 12)))]
        cut = data.draw(st.integers(1, len(names)))
        old, new = names[:cut], names[cut:]
        forget = data.draw(st.lists(st.sampled_from(old), unique=True))
        classes = ClassRoles(old, new, forget)
        assert sorted(classes.forget + classes.retain) == sorted(old)
        assert not set(classes.forget) & set(classes.retain)
        assert classes.names[: len(old)] == old
        assert classes.names[len(old) :] == classes.of(LEARN) == new

    def test_to_dict_makes_the_same_again(self):
        classes = ClassRoles(OLD, ['yak'], ['bee'])
        plain = json.loads(json.dumps(classes.to_dict()))
        assert ClassRoles(**plain).to_dict() == classes.to_dict() == plain
        assert ClassRoles.resolve(plain, {}).to_dict() == plain


class TestErrors:
    @pytest.mark.parametrize('role', [FORGET, RETAIN])
    def test_unknown_class_with_near_match(self, role, raises_config_error):
        with raises_config_error(f'swap.classes.{role}', 'beee', 'old classes', "['bee']"):
            ClassRoles(OLD, **{role: ['dog', 'beee']})

    def test_learning_an_old_class(self, raises_config_error):
        with raises_config_error('swap.classes.learn', 'bee', 'an old class', 'rename'):
            ClassRoles(OLD, ['yak', 'bee'])

    def test_class_to_forget_and_to_retain(self, raises_config_error):
        with raises_config_error('swap.classes.retain', 'bee', 'under forget and', 'one of them'):
            ClassRoles(OLD, forget=['bee'], retain=['dog', 'bee'])

    def test_class_to_learn_and_to_forget(self, raises_config_error):
        with raises_config_error('swap.classes.forget', 'yak', 'old classes'):
            ClassRoles(OLD, ['yak'], forget=['yak'])


class TestResolve:
    def test_learn_and_forget_default_to_the_classes_of_their_data(self):
        data = dict(learn=['yak', 'fox'], forget=['cow', 'ant'], retain=['bee', 'dog'])
        classes = ClassRoles.resolve(dict(old=OLD), data)
        assert (classes.learn, classes.forget) == (['yak', 'fox'], ['cow', 'ant'])
        assert classes.retain == ['dog', 'bee']

    def test_roles_without_data_are_empty(self):
        classes = ClassRoles.resolve(dict(old=OLD), {})
        assert (classes.learn, classes.forget, classes.retain) == ([], [], OLD)

    def test_given_lists_go_before_the_data(self):
        everything = [*OLD, 'yak', 'fox']
        config = ConfigDict(old=OLD, learn=['fox'], forget=['cow'])
        classes = ClassRoles.resolve(config, dict.fromkeys(ROLES, everything))
        assert (classes.learn, classes.forget) == (['fox'], ['cow'])

    def test_two_host_classes_of_one_name_are_one_class(self):
        classes = ClassRoles.resolve(dict(old=OLD), dict(learn=['fox', 'yak', 'fox']))
        assert classes.learn == ['fox', 'yak']
        assert classes.names == [*OLD, 'fox', 'yak']

    def test_files_of_names(self, tmp_path):
        (tmp_path / 'old.txt').write_text('\n'.join(OLD))
        (tmp_path / 'learn.json').write_text('["yak"]')
        config = dict(old=str(tmp_path / 'old.txt'), learn=str(tmp_path / 'learn.json'))
        classes = ClassRoles.resolve(config, {})
        assert (classes.old, classes.learn) == (OLD, ['yak'])

    def test_missing_file_of_names(self, raises_config_error):
        with raises_config_error('swap.classes.forget', 'no/such.txt', 'no such file'):
            ClassRoles.resolve(dict(old=OLD, forget='no/such.txt'), {})

    @pytest.mark.parametrize('key', ['old', LEARN, FORGET, RETAIN])
    def test_duplicates(self, key, raises_config_error):
        config = dict(old=OLD) | {key: ['dog', 'ant', 'dog']}
        with raises_config_error(f'swap.classes.{key}', config[key], "'dog' is listed twice"):
            ClassRoles.resolve(config, {})

    def test_unknown_key(self, raises_config_error):
        with raises_config_error('swap.classes.keep', ['dog'], 'unknown key', 'retain'):
            ClassRoles.resolve(dict(old=OLD, keep=['dog']), {})

    def test_old_classes_are_needed(self, raises_config_error):
        with raises_config_error('swap.classes.old', None, 'missing', 'order'):
            ClassRoles.resolve(dict(learn=['yak']), {})


class TestLeadingInteger:
    def resolve(self, forget, retain, learn=()):
        data = dict(learn=learn, forget=forget, retain=retain)
        return ClassRoles.resolve(dict(old='leading_integer'), data)

    def test_official_layout(self):
        # As a folder listing gives them: 10 sorts before 2.
        retain = ['0_n01', '10_n11', '3_n04', '4_n05', '5_n06', '6_n07', '7_n08', '8_n09', '9_n10']
        classes = self.resolve(['1_n02', '2_n03'], retain, learn=['n90', 'n80'])
        assert classes.old == [f'{i}_n{i + 1:02d}' for i in range(11)]
        assert classes.learn == ['n90', 'n80']
        assert classes.forget == ['1_n02', '2_n03']
        assert classes.retain == sorted(retain, key=lambda n: int(n.split('_')[0]))
        assert classes.names.index('10_n11') == 10

    def test_number_of_a_learn_folder_means_nothing(self):
        classes = self.resolve(['1_b'], ['0_a'], learn=['5_x', '0_y'])
        assert classes.names == ['0_a', '1_b', '5_x', '0_y']

    def test_zero_padded_numbers(self):
        assert self.resolve(['01_b'], ['00_a', '02_c']).old == ['00_a', '01_b', '02_c']

    def test_given_roles_go_before_the_folders(self):
        names = ['0_a', '1_b', '2_c']
        config = dict(old='leading_integer', forget=['1_b'], retain=['2_c'])
        classes = ClassRoles.resolve(config, dict(forget=names, retain=names))
        assert classes.old == names
        assert (classes.forget, classes.retain) == (['1_b'], ['2_c'])

    @given(st.permutations(range(12)), st.integers(1, 11))
    def test_any_deal_of_the_folders_gives_the_same_head(self, deal, cut):
        folders = [f'{number}_n{number:08d}' for number in deal]
        classes = self.resolve(folders[:cut], folders[cut:])
        assert classes.old == [f'{number}_n{number:08d}' for number in range(12)]
        assert set(classes.retain) == set(folders[cut:])

    def test_gap(self, raises_config_error):
        fix = 'must hold every old class'
        with raises_config_error('swap.classes.old', 'leading_integer', '[1, 3]', fix):
            self.resolve(['0_a'], ['2_c', '4_e'])

    def test_number_given_twice(self, raises_config_error):
        with raises_config_error(
            'swap.classes.old', 'leading_integer', "'1_b' and '1_c' have the same", 'own number'
        ):
            self.resolve(['1_c'], ['0_a', '1_b'])

    @pytest.mark.parametrize('name', ['n01537544', '_a', '-1_a', 'x1_a', '²_a', '٣_a'])
    def test_no_number(self, name, raises_config_error):
        with raises_config_error('swap.classes.old', name, 'no leading number', 'rename'):
            self.resolve(['0_a'], [name])

    def test_no_folder_at_all(self, raises_config_error):
        with raises_config_error('swap.classes.old', 'leading_integer', 'no folder', 'data'):
            self.resolve([], [], learn=['x'])

    def test_folder_in_forget_and_in_retain(self, raises_config_error):
        with raises_config_error('swap.classes.retain', '1_b', 'under forget and under retain'):
            self.resolve(['1_b'], ['0_a', '1_b'])
