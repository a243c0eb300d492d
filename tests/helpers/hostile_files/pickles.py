"""Weight files that would run code, or that Python would need far too much memory for.

A case writes a file and returns its path. ``flag`` is a file that appears if the code runs.
"""

import io
import os
import pickle
import struct
import subprocess
import tarfile
import zipfile

import numpy as np
import torch
from torch import nn

from tests.helpers.hostile_files.case import Cases

PICKLES = Cases()
case = PICKLES.case


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def touch(flag):
    return Call(os.system, f'touch {flag}')


def archive(path, program, method=zipfile.ZIP_STORED):
    """A file as torch writes it, around a pickle."""
    with zipfile.ZipFile(path, 'w', method) as file:
        file.writestr('archive/data.pkl', program)
        file.writestr('archive/byteorder', b'little')
        file.writestr('archive/version', b'3\n')
    return path


def save(path, content, **settings):
    torch.save(content, path, **settings)
    return path


def dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value


@case('system.pth')
def system(path, flag):
    return save(path, touch(flag))


@case('system_of_old_torch.pth')
def system_of_old_torch(path, flag):
    return save(path, touch(flag), _use_new_zipfile_serialization=False)


@case('eval.pth')
def evaluates(path, flag):
    return save(path, dict(state_dict=Call(eval, f"open({str(flag)!r}, 'w')")))


@case('exec_in_meta.pth')
def exec_in_meta(path, flag):
    call = Call(exec, f"open({str(flag)!r}, 'w')")
    return save(path, dict(state_dict=dict(w=torch.ones(1)), meta=dict(cfg=[call])))


@case('popen_in_optimizer.pth')
def popen_in_optimizer(path, flag):
    call = Call(subprocess.Popen, ['touch', str(flag)])
    return save(path, dict(state_dict=dict(w=torch.ones(1)), optimizer=dict(state={0: call})))


@case('open_in_hub.pth')
def open_in_hub(path, flag):
    call = Call(open, str(flag), 'w')
    return save(path, dict(message_hub=dict(log_scalars=dict(loss=call))))


@case('chain_of_getattr.pth')
def chain_of_getattr(path, flag):
    """A call of the result of getattr, which HistoryBuffer needs as a name."""
    module = b'c__builtin__\n__import__\n' + text(b'os') + b'\x85R'
    call = text(f'touch {flag}'.encode()) + b'\x85'
    program = (
        b'\x80\x02c__builtin__\ngetattr\n' + module + text(b'system') + b'\x86R' + call + b'R.'
    )
    return archive(path, program)


@case('whole_module.pth')
def whole_module(path, flag):
    """No call of a shell, but code of a module all the same."""
    return save(path, dict(model=nn.Linear(2, 2)))


@case('torchscript.pth')
def torchscript(path, flag):
    torch.jit.script(nn.ReLU()).save(str(path))
    return path


@case('tar_of_old_torch.pth')
def tar_of_old_torch(path, flag):
    with tarfile.open(path, 'w') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            content = pickle.dumps(touch(flag), protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@case('system.pkl')
def system_pkl(path, flag):
    return dump(path, dict(model=touch(flag)))


@case('dotted_name.pkl')
def dotted_name(path, flag):
    """A name behind a known one, as protocol 4 allows it."""
    name = b'\x8c\x05numpy\x8c\x1cndarray.__init__.__globals__\x93'
    path.write_bytes(b'\x80\x04' + name + b'.')
    return path


@case('numpy_load.pkl')
def numpy_load(path, flag):
    return dump(path, Call(np.load, str(flag)))


@case('array_of_objects.pkl')
def array_of_objects(path, flag):
    return dump(path, dict(model=dict(w=np.array([touch(flag), None], dtype=object))))


@case('array_without_values.pkl')
def array_without_values(path, flag):
    """An array of a terabyte that has no values in the file."""
    rebuild = np.empty(0).__reduce__()[0]
    return dump(path, dict(model=dict(w=Call(rebuild, np.ndarray, (1 << 40,), b'b'))))


@case('array_by_its_class.pkl')
def array_by_its_class(path, flag):
    return dump(path, dict(model=dict(w=Call(np.ndarray, (1 << 40,)))))


@case('array_by_its_class.pth')
def array_by_its_class_pth(path, flag):
    return save(path, dict(state_dict=dict(w=torch.ones(1)), meta=Call(np.ndarray, (1 << 33,))))


@case('memo.pkl')
def memo(path, flag):
    """Eight bytes for which Python makes room for four billion references."""
    path.write_bytes(b'\x80\x02}r' + struct.pack('<I', 0xFFFFFFFE) + b'.')
    return path


@case('memo.pth')
def memo_pth(path, flag):
    return archive(path, b'\x80\x02}r' + struct.pack('<I', 0xFFFFFFFE) + b'.')


@case('extension.pkl')
def extension(path, flag):
    path.write_bytes(b'\x80\x02\x82\x01.')
    return path


def laughs():
    """Ten billion values in some hundred bytes."""
    value = [1.0] * 10
    for _ in range(9):
        value = [value] * 10
    return dict(model=value)


@case('laughs.pkl')
def laughs_pkl(path, flag):
    return dump(path, laughs())


@case('laughs.pth')
def laughs_pth(path, flag):
    return save(path, laughs())


def in_itself():
    value = dict(model=[])
    value['model'].append(value)
    return value


@case('in_itself.pkl')
def in_itself_pkl(path, flag):
    return dump(path, in_itself())


@case('in_itself.pth')
def in_itself_pth(path, flag):
    return save(path, in_itself())


@case('deep.pkl')
def deep(path, flag):
    path.write_bytes(b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.')
    return path


@case('deep.pth')
def deep_pth(path, flag):
    return archive(path, b'\x80\x02' + b']' * 5_000 + b'a' * 4_999 + b'.')


@case('repeated_number.pth')
def repeated_number(path, flag):
    """A tensor of 4 TB whose elements are one number in the file."""
    return save(path, dict(state_dict=dict(w=torch.zeros(1).expand(1 << 40))))


@case('without_values.pth')
def without_values(path, flag):
    return save(path, dict(state_dict=dict(w=torch.empty(1 << 40, device='meta'))))


@case('sparse.pth')
def sparse(path, flag):
    places = torch.zeros(2, 1, dtype=torch.long)
    weight = torch.sparse_coo_tensor(places, torch.ones(1), (1 << 20, 1 << 20))
    return save(path, dict(state_dict=dict(w=weight)))


@case('quantised.pth')
def quantised(path, flag):
    weight = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
    return save(path, dict(state_dict=dict(w=weight)))
