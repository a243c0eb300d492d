import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets import ClassRoles
from knowswap_mm.datasets.classes import ORDERS, order_classes

KEY = 'swap.classes.old'
COCO_ORDERS = ('category_id', 'raw_category_id')
NUMBERED = st.dictionaries(st.integers(0, 30), st.none(), min_size=1, max_size=12).map(
    lambda chosen: {f'class {number}': number for number in chosen}
)


def unused(numbers):
    return [f'unused-{number}' for number in numbers]


class TestCategoryId:
    def test_is_the_order_of_the_ids_without_gaps(self):
        numbers = [dict(owl=90, cat=1), dict(bee=13)]
        assert order_classes('category_id', (), numbers) == ['cat', 'bee', 'owl']

    def test_equal_tables_are_one(self):
        numbers = [dict(cat=5, owl=2), dict(owl=2, cat=5)]
        assert order_classes('category_id', (), numbers) == ['owl', 'cat']

    @given(NUMBERED)
    def test_the_position_is_the_rank_of_the_id(self, numbers):
        names = order_classes('category_id', (), [numbers])
        assert sorted(names) == sorted(numbers)
        assert [numbers[name] for name in names] == sorted(numbers.values())


class TestRawCategoryId:
    def test_is_the_id_with_unused_rows_in_the_gaps(self):
        names = order_classes('raw_category_id', (), [dict(cat=1, owl=4), dict(bee=2)])
        assert names == ['unused-0', 'cat', 'bee', 'unused-3', 'owl']

    def test_ids_from_zero_without_gaps_have_no_unused_row(self):
        assert order_classes('raw_category_id', (), [dict(b=1, a=0)]) == ['a', 'b']

    @given(NUMBERED)
    def test_the_position_is_the_id(self, numbers):
        names = order_classes('raw_category_id', (), [numbers])
        assert len(names) == max(numbers.values()) + 1 == len(set(names))
        assert all(names[number] == name for name, number in numbers.items())
        gaps = set(range(len(names))) - set(numbers.values())
        assert [name for name in names if name not in numbers] == unused(sorted(gaps))

    @given(NUMBERED)
    def test_without_the_unused_rows_it_is_the_order_of_the_ids(self, numbers):
        names = order_classes('raw_category_id', (), [numbers])
        kept = [name for name in names if name in numbers]
        assert kept == order_classes('category_id', (), [numbers])


@pytest.mark.parametrize('how', COCO_ORDERS)
class TestBothCocoOrders:
    @given(NUMBERED, st.randoms(use_true_random=False))
    def test_neither_the_deal_nor_the_order_of_the_tables_matters(self, how, numbers, rng):
        wanted = order_classes(how, (), [numbers])
        pairs = list(numbers.items())
        rng.shuffle(pairs)
        cut = rng.randint(0, len(pairs))
        tables = [dict(pairs[:cut]), dict(pairs[cut:]), dict(random.Random(0).sample(pairs, 1))]
        rng.shuffle(tables)
        assert order_classes(how, (), tables) == wanted

    def test_class_names_of_the_data_are_not_needed(self, how):
        assert order_classes(how, ['x', 'y'], [dict(a=0)]) == ['a']

    def test_one_number_for_two_names(self, how, raises_config_error):
        with raises_config_error(KEY, how, "'cat' and 'owl' have the same number", 'own number'):
            order_classes(how, (), [dict(cat=3), dict(owl=3)])

    @pytest.mark.parametrize('numbers', [[], [{}, {}]])
    def test_no_number_at_all(self, how, numbers, raises_config_error):
        with raises_config_error(KEY, how, 'the data numbers no class', 'COCO data'):
            order_classes(how, ['a'], numbers)


class TestInSwapClasses:
    TABLES = dict(learn=dict(yak=1, fox=2), forget=dict(bee=5), retain=dict(ant=7, cat=2, unseen=3))
    OCCURRING = dict(learn=['fox'], forget=['bee'], retain=['cat', 'ant'])

    def resolve(self, how, **config):
        return ClassRoles.resolve(dict(old=how, **config), self.OCCURRING, self.TABLES)

    def test_category_id(self):
        classes = self.resolve('category_id')
        assert classes.old == ['cat', 'unseen', 'bee', 'ant']
        assert (classes.learn, classes.forget, classes.retain) == (['fox'], ['bee'], ['cat', 'ant'])

    def test_raw_category_id(self):
        classes = self.resolve('raw_category_id')
        gaps = unused([0, 1, 4, 6])
        assert classes.old == [*gaps[:2], 'cat', 'unseen', gaps[2], 'bee', gaps[3], 'ant']
        assert classes.names.index('ant') == 7
        assert (classes.learn, classes.forget, classes.retain) == (['fox'], ['bee'], ['cat', 'ant'])

    def test_rows_without_data_are_left_alone(self):
        classes = self.resolve('raw_category_id')
        for name in ('unseen', *unused([0, 1, 4, 6])):
            assert name not in classes.forget + classes.retain + classes.learn

    def test_numbers_of_the_learn_data_mean_nothing(self):
        assert self.resolve('category_id').names[-1] == 'fox'
        assert 'yak' not in self.resolve('category_id').names

    def test_given_lists_go_before_the_data(self):
        classes = self.resolve('category_id', forget=['cat'], retain=['ant'], learn=['yak'])
        assert (classes.learn, classes.forget, classes.retain) == (['yak'], ['cat'], ['ant'])

    @pytest.mark.parametrize('how', ORDERS)
    def test_no_data_at_all(self, how, raises_config_error):
        with raises_config_error(KEY, how, 'list'):
            ClassRoles.resolve(dict(old=how), {})

    def test_data_without_numbers(self, raises_config_error):
        with raises_config_error(KEY, 'category_id', 'the data numbers no class'):
            ClassRoles.resolve(dict(old='category_id'), self.OCCURRING)

    def test_two_jsons_that_disagree(self, raises_config_error):
        tables = dict(forget=dict(bee=1), retain=dict(cat=1))
        with raises_config_error(KEY, 'raw_category_id', "'bee' and 'cat'"):
            ClassRoles.resolve(dict(old='raw_category_id'), self.OCCURRING, tables)

    def test_one_name_with_two_numbers(self, raises_config_error):
        tables = dict(forget=dict(bee=1), retain=dict(bee=4))
        with raises_config_error(KEY, 'category_id', "'bee'"):
            ClassRoles.resolve(dict(old='category_id'), self.OCCURRING, tables)
