import copy
import pickle

import pytest
from mmengine.config import Config

from knowswap_mm.engine import config as remembered_config
from knowswap_mm.engine.config import RememberedConfig


@pytest.fixture
def formatted(monkeypatch):
    """How often a text was formatted."""
    monkeypatch.setattr(remembered_config, '_texts', {})
    calls, plain = [], Config.pretty_text.fget
    monkeypatch.setattr(
        Config, 'pretty_text', property(lambda self: calls.append(self) or plain(self))
    )
    return calls


def config(**changes):
    return Config(dict(a=dict(type='A', size=[1, 2]), b='text') | changes)


def test_the_text_is_that_of_mmengine_and_formatted_once(formatted, tmp_path):
    wanted = config().pretty_text
    adopted = RememberedConfig.adopt(config())
    formatted.clear()
    assert adopted.pretty_text == wanted and isinstance(adopted, Config)
    for same in (adopted, copy.deepcopy(adopted), pickle.loads(pickle.dumps(adopted))):
        assert same.pretty_text == wanted
    adopted.dump(tmp_path / 'config.py')
    assert (tmp_path / 'config.py').read_text() == wanted
    assert len(formatted) == 1


def test_a_change_is_seen(formatted):
    adopted = RememberedConfig.adopt(config())
    before = adopted.pretty_text
    adopted.a.size[0] = 3
    assert adopted.pretty_text == config(a=dict(type='A', size=[3, 2])).pretty_text != before
    adopted.merge_from_dict({'a.size': [1, 2]})
    formatted.clear()
    assert adopted.pretty_text == before and not formatted


def test_few_texts_are_kept(formatted):
    for number in range(100):
        assert str(number) in RememberedConfig.adopt(config(b=number)).pretty_text
    assert len(remembered_config._texts) <= 16
