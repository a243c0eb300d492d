"""What a host tries to fetch or to unpickle while it is built."""

import os
import pickle
import socket
import subprocess
import threading
import urllib.request

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models import LoRABackbone
from knowswap_mm.models.foreign_code import no_foreign_code
from tests.helpers.tiny_hosts import new_swapper, vit_host


class Call:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f'touch {self.flag}',)


@pytest.fixture
def hostile(tmp_path):
    torch.save(Call(tmp_path / 'flag'), tmp_path / 'hostile.pth')
    return tmp_path / 'hostile.pth'


def in_a_thread(path):
    thread = threading.Thread(target=urllib.request.urlopen, args=['http://nowhere.invalid'])
    thread.start()
    thread.join()


ROUTES = {
    'torch.load': lambda path: torch.load(path, weights_only=False),
    'pickle': lambda path: pickle.loads(pickle.dumps(Call(path.with_name('flag')))),
    'numpy': lambda path: np.load(as_numpy(path), allow_pickle=True),
    'torch.hub': lambda path: torch.hub.load_state_dict_from_url('http://nowhere.invalid/x.pth'),
    'socket': lambda path: socket.create_connection(('127.0.0.1', 9), timeout=1),
    'program': lambda path: subprocess.run(['touch', path.with_name('flag')], check=True),
    'shell': lambda path: os.system(f'touch {path.with_name("flag")}'),
    'thread': in_a_thread,
}


def as_numpy(path):
    path.with_suffix('.npy').write_bytes(pickle.dumps(Call(path.with_name('flag'))))
    return path.with_suffix('.npy')


@MODELS.register_module(force=True)
class ReadingBackbone(nn.Module):
    """A backbone that reads a file by a route of its own."""

    def __init__(self, route, words, quiet=False):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        try:
            ROUTES[route](words)
        except Exception:
            if not quiet:
                raise


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('quiet', [False, True])
@pytest.mark.parametrize('route', ROUTES)
def test_no_route_is_open(route, quiet, hostile):
    """Whatever a host calls, and even if it passes over the error."""
    backbone = dict(type='ReadingBackbone', route=route, words=hostile, quiet=quiet)
    who = 'a part of the host' if route == 'thread' else 'ReadingBackbone'
    with pytest.raises(ConfigError, match=f'{who} would .* while the host is built'):
        new_swapper(vit_host(backbone=backbone))
    assert not hostile.with_name('flag').exists()


def test_the_message_names_the_key(hostile, raises_config_error):
    backbone = dict(type='ReadingBackbone', route='torch.load', words=hostile)
    with raises_config_error('model.host.backbone.words', str(hostile), 'system', 'load_from'):
        new_swapper(vit_host(backbone=backbone))


def test_the_backbone_with_adapters_is_closed_as_well(hostile):
    with pytest.raises(ConfigError, match='ReadingBackbone'):
        LoRABackbone(dict(type='ReadingBackbone', route='torch.load', words=hostile))
    assert not hostile.with_name('flag').exists()


def test_data_may_be_read_and_afterwards_all_is_as_before(tmp_path):
    torch.save(dict(w=torch.ones(2)), tmp_path / 'data.pth')
    array = pickle.dumps(dict(a=np.arange(3), b=np.float32(2)))
    with no_foreign_code('model.host'):
        assert torch.load(tmp_path / 'data.pth', weights_only=True)['w'].sum() == 2
        assert pickle.loads(array)['a'].tolist() == [0, 1, 2]
    assert isinstance(pickle.loads(pickle.dumps(Call('x').__class__)), type)


def test_threads_that_run_already_are_let_alone():
    start, done, found = threading.Event(), threading.Event(), []

    def work():
        start.wait(10)
        found.append(pickle.loads(pickle.dumps(Call)))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with no_foreign_code('model.host'):
        start.set()
        assert done.wait(10)
    thread.join()
    assert found == [Call]
