"""Weight files that are damaged, empty, cut off, or something else than their name says."""

import gzip
import json
import os
import struct
import zipfile

import torch
from safetensors.torch import save as safetensors_bytes

from tests.helpers.hostile_files.case import Cases
from tests.helpers.hostile_files.pickles import archive, save

BROKEN_WEIGHTS = Cases()
case = BROKEN_WEIGHTS.case
WEIGHTS = dict(state_dict=dict(w=torch.arange(64.0)))


def safetensors(path, header, data=b''):
    """A safetensors file around a header, which may be text."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(header)) + header + data)
    return path


def entry(**changes):
    return dict(dict(dtype='F32', shape=[2], data_offsets=[0, 8]), **changes)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@case('empty.pth')
def empty(path, flag):
    path.touch()
    return path


@case('cut_off.pth')
def cut_off(path, flag):
    return cut(save(path, WEIGHTS), 0.6)


@case('cut_off_of_old_torch.pth')
def cut_off_of_old_torch(path, flag):
    return cut(save(path, WEIGHTS, _use_new_zipfile_serialization=False), 0.6)


@case('turned_bits.pth')
def turned_bits(path, flag):
    save(path, WEIGHTS)
    content = path.read_bytes()
    place = content.index(struct.pack('<f', 33.0))
    path.write_bytes(content[:place] + b'\xff' + content[place + 1 :])
    return path


@case('compressed.pth')
def compressed(path, flag):
    """A thousandth of what it unpacks to."""
    return archive(path, b'\x80\x02}.' + bytes(1 << 24), zipfile.ZIP_DEFLATED)


@case('parts_share_bytes.pth')
def parts_share_bytes(path, flag):
    """Two entries of the table of contents show the same bytes."""
    archive(path, b'\x80\x02}.' + bytes(1 << 12))
    with zipfile.ZipFile(path, 'a') as file:
        file.filelist += file.filelist[:1] * 3
        file._didModify = True
    return path


@case('page.pth')
def page(path, flag):
    """What a server says when a file is gone."""
    path.write_text('<!DOCTYPE html><html><body>404 Not Found</body></html>')
    return path


@case('zipped.pth')
def zipped(path, flag):
    path.write_bytes(gzip.compress(b'weights'))
    return path


@case('safetensors_inside.pth')
def safetensors_inside(path, flag):
    path.write_bytes(safetensors_bytes(WEIGHTS['state_dict']))
    return path


@case('list.pth')
def a_list(path, flag):
    return save(path, [torch.ones(1)])


@case('state_dict_is_a_list.pth')
def state_dict_is_a_list(path, flag):
    return save(path, dict(state_dict=[torch.ones(1)]))


@case('texts_only.pth')
def texts_only(path, flag):
    return save(path, dict(state_dict=dict(w='weights'), meta=dict()))


@case('hub_is_a_number.pth')
def hub_is_a_number(path, flag):
    return save(path, dict(WEIGHTS, message_hub=5))


@case('folder.pth')
def folder(path, flag):
    path.mkdir()
    return path


@case('pipe.pth')
def pipe(path, flag):
    """Whoever opens it waits forever."""
    os.mkfifo(path)
    return path


@case('link_to_itself.pth')
def link_to_itself(path, flag):
    path.symlink_to(path.name)
    return path


@case('missing.pth')
def missing(path, flag):
    return path


@case('empty.safetensors')
def empty_safetensors(path, flag):
    path.touch()
    return path


@case('cut_off.safetensors')
def cut_off_safetensors(path, flag):
    path.write_bytes(safetensors_bytes(WEIGHTS['state_dict']))
    return cut(path, 0.6)


@case('pickle_inside.safetensors')
def pickle_inside(path, flag):
    return save(path, WEIGHTS)


@case('long_header.safetensors')
def long_header(path, flag):
    path.write_bytes(struct.pack('<Q', 1 << 62) + b'{}')
    return path


@case('header_is_no_json.safetensors')
def header_is_no_json(path, flag):
    return safetensors(path, b'{"w": ', bytes(8))


@case('deep_header.safetensors')
def deep_header(path, flag):
    return safetensors(path, b'{"w":' * 100_000 + b'1' + b'}' * 100_000)


@case('huge_shape.safetensors')
def huge_shape(path, flag):
    return safetensors(path, dict(w=entry(shape=[1 << 30, 1 << 30])), bytes(8))


@case('overflowing_shape.safetensors')
def overflowing_shape(path, flag):
    return safetensors(path, dict(w=entry(shape=[1 << 62, 4])), bytes(8))


@case('negative_shape.safetensors')
def negative_shape(path, flag):
    return safetensors(path, dict(w=entry(shape=[-2])), bytes(8))


@case('shared_bytes.safetensors')
def shared_bytes(path, flag):
    return safetensors(path, dict(v=entry(), w=entry()), bytes(8))


@case('unknown_type.safetensors')
def unknown_type(path, flag):
    return safetensors(path, dict(w=entry(dtype='X99')), bytes(8))


@case('no_tensor.safetensors')
def no_tensor(path, flag):
    return safetensors(path, {})
