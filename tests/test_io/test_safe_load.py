import os
import pickle
import pickletools
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from safetensors.torch import save_file
from torch import nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.checkpoints import safe_load, safe_save, state_dict_of


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        reduced = (self.function, self.arguments)
        return reduced if self.state is None else (*reduced, self.state)


def save(path, content, **settings):
    torch.save(content, path, **settings)
    return path


@pytest.fixture
def hub():
    hub = MessageHub('test_safe_load')
    for iteration in range(5):
        hub.update_scalar('train/loss', 0.5 * iteration)
        hub.update_scalar('train/lr', 0.1, count=2)
        hub.update_info('iter', iteration)
    return hub


@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_of_mmengine_reads_and_its_histories_work(tmp_path, hub, zipped):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    content = dict(
        meta=dict(epoch=1, iter=5, cfg='model = dict()', seed=0, time='today'),
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        message_hub=hub.state_dict(),
        param_schedulers=[dict(last_step=5, _global_step=6, verbose=False)],
    )
    path = save(tmp_path / 'a.pth', content, _use_new_zipfile_serialization=zipped)
    read = safe_load(path)
    assert read['meta'] == content['meta']
    assert read['param_schedulers'] == content['param_schedulers']
    for key, tensor in model.state_dict().items():
        assert torch.equal(read['state_dict'][key], tensor)
    optimizer.load_state_dict(read['optimizer'])
    other = MessageHub('test_safe_load_other')
    other.load_state_dict(read['message_hub'])
    loss = other.get_scalar('train/loss')
    assert type(loss) is HistoryBuffer
    assert [array.tolist() for array in loss.data] == [[0, 0.5, 1, 1.5, 2], [1] * 5]
    assert (loss.mean(), loss.current(), loss.min()) == (1, 2, 0)
    assert loss.statistics('max') == 2
    loss.update(12.0)
    assert loss.current() == 12 and loss.mean(2) == 7
    assert other.get_scalar('train/lr').data[1].tolist() == [2] * 5
    assert other.get_info('iter') == 4


def test_numpy_values_read(tmp_path):
    content = dict(
        state_dict=dict(w=torch.ones(2)),
        array=np.arange(6, dtype=np.int64).reshape(2, 3),
        half=np.float32(0.5),
        number=np.float64(2.5),
    )
    read = safe_load(save(tmp_path / 'a.pth', content))
    assert np.array_equal(read['array'], content['array'])
    assert read['half'] == 0.5 and read['number'] == 2.5


def test_safetensors(tmp_path):
    tensors = dict(w=torch.randn(3), b=torch.tensor([1, 2]))
    save_file(tensors, tmp_path / 'a.safetensors')
    read = safe_load(tmp_path / 'a.safetensors')
    assert set(read) == {'state_dict'}
    assert all(torch.equal(read['state_dict'][key], tensors[key]) for key in tensors)


def test_the_weights_of_a_checkpoint():
    weights = {'a.w': torch.ones(1)}
    for content in (dict(state_dict=weights, meta=1), dict(model=weights), weights):
        assert state_dict_of(content) == weights
    wrapped = {'module.a.w': weights['a.w'], 'module.note': 'text'}
    assert state_dict_of(dict(state_dict=wrapped)) == weights
    with pytest.raises(CheckpointError, match=r"no weights, only \['meta', 'state_dict'\]"):
        state_dict_of(dict(state_dict={}, meta=dict()))


def hostile(flag):
    """Objects that would create the file `flag` if they were unpickled by pickle itself."""
    touch = f'touch {flag}'
    run = f"__import__('os').system({touch!r})"
    return dict(
        system=Call(os.system, touch),
        eval=Call(eval, run),
        exec=Call(exec, run),
        open=Call(open, str(flag), 'w'),
        nested=dict(state_dict=dict(w=torch.ones(1)), meta=[dict(x=Call(os.system, touch))]),
        in_state=Call(HistoryBuffer, state=dict(_log_history=Call(os.system, touch))),
        in_hub=dict(message_hub=dict(log_scalars=dict(loss=Call(os.system, touch)))),
        numpy=Call(np.load, str(flag)),
        torch_load=Call(torch.load, str(flag)),
        tool=Call(pickletools.dis, b'.'),
    )


@pytest.mark.parametrize('name', [*hostile('x'), 'chain', 'method'])
@pytest.mark.parametrize('zipped', [True, False])
def test_hostile_files_are_refused_and_do_not_run(tmp_path, name, zipped):
    flag = tmp_path / 'flag'
    path = tmp_path / 'hostile.pth'
    if name in ('chain', 'method'):
        write_chain(path, name, flag)
    else:
        save(path, hostile(flag)[name], _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as error:
        safe_load(path)
    assert not flag.exists()
    assert str(path) in str(error.value)


def write_chain(path, name, flag):
    """A pickle that python's own pickler would not write: a call of the result of getattr."""
    text = lambda value: b'X' + struct.pack('<I', len(value)) + value  # noqa: E731
    if name == 'chain':
        module = b'c__builtin__\n__import__\n' + text(b'os') + b'\x85R'
        method, argument = b'system', text(f'touch {flag}'.encode()) + b'\x85'
    else:
        module = b'cpathlib\nPath\n' + text(str(flag).encode()) + b'\x85R'
        method, argument = b'touch', b')'
    body = b'\x80\x02c__builtin__\ngetattr\n' + module + text(method) + b'\x86R' + argument + b'R.'
    write_pickle(path, body)


def write_pickle(path, body):
    """A file of torch.save with a pickle of our own in it."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', body)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')


@pytest.mark.parametrize('name', ['chain', 'method'])
def test_the_chains_would_have_run(tmp_path, name):
    """Otherwise the test above proves nothing."""
    write_chain(tmp_path / 'chain.pth', name, tmp_path / 'flag')
    with zipfile.ZipFile(tmp_path / 'chain.pth') as archive:
        pickle.loads(archive.read('archive/data.pkl'))
    assert (tmp_path / 'flag').exists()


def test_getattr_gives_nothing_away(tmp_path):
    """HistoryBuffer refers to its own methods by getattr, which therefore may be named."""
    body = b'\x80\x02c__builtin__\ngetattr\nccollections\nOrderedDict\nX\x04\x00\x00\x00keys\x86R.'
    write_pickle(tmp_path / 'a.pth', body)
    with pytest.raises(CheckpointError, match='NoneType'):
        safe_load(tmp_path / 'a.pth')


@pytest.mark.parametrize('name', ['collections\nChainMap', 'numpy\nfromfile', 'posix\nsystem'])
def test_other_names_are_refused(tmp_path, name):
    write_pickle(tmp_path / 'a.pth', b'\x80\x02c' + name.encode() + b'\n.')
    with pytest.raises(CheckpointError, match='Fix: '):
        safe_load(tmp_path / 'a.pth')


@pytest.mark.parametrize('cut', [0, 1, 2, 10, 0.3, 0.6, 0.95, -1])
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
def test_truncated_files(tmp_path, kind, cut):
    weights = dict(w=torch.randn(50), b=torch.ones(3))
    path = tmp_path / ('a.safetensors' if kind == 'safetensors' else 'a.pth')
    if kind == 'safetensors':
        save_file(weights, path)
    else:
        save(path, weights, _use_new_zipfile_serialization=kind == 'zip')
    content = path.read_bytes()
    stop = int(len(content) * cut) if isinstance(cut, float) else cut
    path.write_bytes(content[:stop])
    with pytest.raises(CheckpointError, match='a.'):
        safe_load(path)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.pkl', ''])
@pytest.mark.parametrize(
    'content', [b'garbage' * 99, b'PK\x03\x04', b'<html>not found</html>', b'\0']
)
def test_garbage(tmp_path, suffix, content):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='a'):
        safe_load(path)


@pytest.mark.parametrize('content', [None, 5, 'text', [torch.ones(1)], torch.ones(2)], ids=repr)
def test_no_dictionary(tmp_path, content):
    with pytest.raises(CheckpointError, match='no dict of weights'):
        safe_load(save(tmp_path / 'a.pth', content))


@pytest.mark.parametrize(
    'name, words',
    [
        ('nowhere.pth', 'no such file'),
        ('nowhere.safetensors', 'no such file'),
        ('.', 'no file but a folder'),
        ('https://example.com/model.pth', 'nothing is downloaded'),
    ],
)
def test_no_such_file(tmp_path, name, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        safe_load(name)


@pytest.mark.parametrize('body', [b'\x80\x02.', b'\x80\x02K', b'\x80\x02)R.', b'\x80\x02\x85.'])
def test_broken_pickles(tmp_path, body):
    (tmp_path / 'a.pth').write_bytes(body)
    with pytest.raises(CheckpointError):
        safe_load(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'state',
    [5, [1], dict(_log_history=[1], _count_history=[1, 2])],
    ids=['number', 'list', 'ragged'],
)
def test_broken_histories(tmp_path, state):
    hub = dict(log_scalars=dict(loss=Call(HistoryBuffer, state=state)))
    with pytest.raises(CheckpointError):
        safe_load(save(tmp_path / 'a.pth', dict(message_hub=hub)))


@pytest.mark.parametrize(
    'hub', [5, [], None, dict(log_scalars=5), dict(log_scalars=None)], ids=repr
)
def test_broken_message_hubs(tmp_path, hub):
    with pytest.raises(CheckpointError):
        safe_load(save(tmp_path / 'a.pth', dict(message_hub=hub)))


@pytest.mark.parametrize('content', [dict(state_dict=5), dict(state_dict=[]), dict(model=None)])
def test_weights_that_are_no_dictionary(content):
    with pytest.raises(CheckpointError):
        state_dict_of(content)


def test_any_damage_is_a_checkpoint_error(tmp_path, hub):
    """Flip bytes of the old format, whose pickles no checksum protects."""
    path = tmp_path / 'a.pth'
    content = dict(state_dict=dict(w=torch.ones(2)), message_hub=hub.state_dict())
    good = save(path, content, _use_new_zipfile_serialization=False).read_bytes()
    generator = random.Random(0)
    for _ in range(300):
        bad = bytearray(good)
        bad[generator.randrange(len(bad))] = generator.randrange(256)
        path.write_bytes(bad)
        try:
            state_dict_of(safe_load(path))
        except CheckpointError:
            pass


class Interrupting:
    """Ends the writing of a file in its midst."""

    def __reduce__(self):
        raise KeyboardInterrupt


def test_what_is_written_is_whole(tmp_path):
    path = tmp_path / 'new' / 'a.pth'
    safe_save(dict(state_dict=dict(weight=torch.ones(3))), path)
    with pytest.raises(KeyboardInterrupt):
        safe_save(dict(state_dict=dict(weight=torch.zeros(3)), more=Interrupting()), path)
    assert torch.equal(safe_load(path)['state_dict']['weight'], torch.ones(3))
