"""Folders of adapters that are damaged, or say what is not so.

A case changes a folder that is whole. ``flag`` is a file that appears if code runs.
"""

import json
import math
import shutil

import torch
from safetensors.torch import load_file, save_file

from tests.helpers.hostile_files.broken_weights import safetensors
from tests.helpers.hostile_files.case import Cases
from tests.helpers.hostile_files.pickles import touch

ADAPTERS = Cases()
case = ADAPTERS.case
MANIFEST, CONFIG = 'manifest.json', 'adapter_config.json'
MATRICES, ROWS, START = (
    f'{name}.safetensors' for name in ('adapter_model', 'class_rows', 'start_rows')
)


def manifest(folder, **changes):
    content = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(content | changes))


def tensors(folder, name, change):
    found = load_file(folder / name)
    change(found)
    save_file(found, folder / name)


MANIFESTS = dict(
    targets_of_numbers=dict(targets=[1, 2]),
    targets_as_a_text=dict(targets='.*'),
    huge_rank=dict(rank=10**9),
    rank_beyond_whole_numbers=dict(rank=10**400),
    rank_true=dict(rank=True),
    negative_rank=dict(rank=-1),
    alpha_not_a_number=dict(alpha=math.nan),
    alpha_infinite=dict(alpha=math.inf),
    parents_of_dicts=dict(parents=[{}]),
    shapes_as_texts=dict(class_rows=dict(head='8')),
    layouts_as_texts=dict(class_layouts=dict(head='class_major')),
    layouts_without_groups=dict(class_layouts=dict(head=[0, 0, 1, 0, 0])),
    layouts_of_other_tensors={'class_layouts': {'head.layers.head.weight': [0, 3, 1, 0, 0]}},
    roles_as_numbers=dict(class_roles=dict(learn=5)),
    more_old_classes_than_classes=dict(old_classes=9, total_classes=2),
    no_old_class=dict(old_classes=0),
    history_of_texts=dict(history=['learned']),
    history_without_fields=dict(history=[dict(name='phase1_learn')]),
    versions_as_a_list=dict(versions=[]),
    other_format=dict(format=1),
    format_as_a_list=dict(format=[2]),
    unknown_field=dict(run='import os'),
    path_as_a_hash=dict(base_sha256='../../../etc/passwd'),
)
for _name, _changes in MANIFESTS.items():
    case(f'manifest_{_name}')(lambda folder, flag, changes=_changes: manifest(folder, **changes))


@case('manifest_missing')
def manifest_missing(folder, flag):
    (folder / MANIFEST).unlink()


@case('manifest_a_folder')
def manifest_a_folder(folder, flag):
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()


@case('manifest_nested')
def manifest_nested(folder, flag):
    (folder / MANIFEST).write_text('{"history": ' + '[' * 100_000)


@case('manifest_list')
def manifest_list(folder, flag):
    (folder / MANIFEST).write_text('[1, 2]')


@case('manifest_long_number')
def manifest_long_number(folder, flag):
    (folder / MANIFEST).write_text('{"rank": ' + '9' * 5000 + '}')


@case('manifest_bytes')
def manifest_bytes(folder, flag):
    (folder / MANIFEST).write_bytes(b'\xff\xfe\x00{}' * 9)


@case('manifest_without_end')
def manifest_without_end(folder, flag):
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).symlink_to('/dev/zero')


@case('settings_list')
def settings_list(folder, flag):
    (folder / CONFIG).write_text('[]')


@case('settings_of_another_rank')
def settings_of_another_rank(folder, flag):
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(dict(content, r=3)))


@case('matrices_are_a_pickle')
def matrices_are_a_pickle(folder, flag):
    torch.save(touch(flag), folder / MATRICES)


@case('matrices_cut_off')
def matrices_cut_off(folder, flag):
    content = (folder / MATRICES).read_bytes()
    (folder / MATRICES).write_bytes(content[: len(content) // 2])


@case('matrices_huge')
def matrices_huge(folder, flag):
    entry = dict(dtype='F32', shape=[1 << 40, 1 << 20], data_offsets=[0, 8])
    safetensors(folder / MATRICES, dict(w=entry), bytes(8))


@case('matrices_not_a_number')
def matrices_not_a_number(folder, flag):
    tensors(folder, MATRICES, lambda found: next(iter(found.values())).fill_(math.nan))


@case('matrices_of_whole_numbers')
def matrices_of_whole_numbers(folder, flag):
    tensors(folder, MATRICES, lambda t: t.update({k: v.to(torch.int8) for k, v in t.items()}))


@case('matrices_of_bytes_as_floats')
def matrices_of_bytes_as_floats(folder, flag):
    kind = torch.float8_e4m3fn
    tensors(folder, MATRICES, lambda t: t.update({k: v.to(kind) for k, v in t.items()}))


@case('matrices_changed')
def matrices_changed(folder, flag):
    tensors(folder, MATRICES, lambda found: next(iter(found.values())).add_(1))


@case('rows_without_dimension')
def rows_without_dimension(folder, flag):
    tensors(folder, ROWS, lambda t: t.update({k: torch.tensor(1.0) for k in t}))


@case('start_without_dimension')
def start_without_dimension(folder, flag):
    tensors(folder, START, lambda t: t.update({k: torch.tensor(1.0) for k in t}))


@case('folder_is_a_file')
def folder_is_a_file(folder, flag):
    shutil.rmtree(folder)
    folder.write_text('adapter')


@case('folder_missing')
def folder_missing(folder, flag):
    shutil.rmtree(folder)
