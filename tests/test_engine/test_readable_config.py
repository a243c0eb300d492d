import copy
import pickle
import sys

import pytest
from mmengine.config import Config

from knowswap_mm.engine.config import ReadableConfig


def config(**changes):
    a = dict(type='A', size=[1, 2], pair=(1,), nothing=None, far=float('inf'), kind=int)
    return Config(dict(a=a, b='text', c={'x.y': 1, 2: 'z'}, long=['name'] * 40) | changes)


def test_the_text_is_the_config_and_needs_no_formatter(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'yapf', None)
    with pytest.raises(ImportError):
        assert config().pretty_text
    adopted = ReadableConfig.adopt(config())
    assert isinstance(adopted, Config)
    for same in (adopted, copy.deepcopy(adopted), pickle.loads(pickle.dumps(adopted))):
        assert same.pretty_text == adopted.pretty_text
    adopted.dump(tmp_path / 'config.py')
    assert (tmp_path / 'config.py').read_text() == adopted.pretty_text
    again = Config.fromfile(tmp_path / 'config.py')
    assert again.to_dict() == config().to_dict()
    assert again.a.pair == (1,) and again.a.far == float('inf') and again.a.kind is int
    assert max(map(len, adopted.pretty_text.splitlines())) < 100


def test_a_change_is_seen():
    adopted = ReadableConfig.adopt(config())
    before = adopted.pretty_text
    adopted.a.size[0] = 3
    assert adopted.pretty_text != before
    adopted.merge_from_dict({'a.size': [1, 2]})
    assert adopted.pretty_text == before
