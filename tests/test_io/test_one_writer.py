"""All files are written by one function, so that a kill leaves each whole or absent."""

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import knowswap_mm
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io import files as atomic_file
from knowswap_mm.io.files import write_folder
from knowswap_mm.lora import AdapterFile, adapter
from knowswap_mm.lora.manifest import AdapterManifest
from tests.helpers.processes import join, start
from tests.helpers.swap_configs import swap_config, train

PACKAGE = Path(knowswap_mm.__file__).parent
#: Where bytes are added to a file, which stays readable whatever happens; and the writer itself.
APPENDS = {
    'console.py': {'open'},  # torchrun's own file, which it has made and waits for
    'runs/lock.py': {'os.open'},  # locks are made exclusively, or not at all
    'io/partial_file.py': {'os.open'},
    'data_tools/inspection.py': {'open', 'save'},  # notes, a line each
    'datasets/cache/places.py': {'os.open'},  # checked records
    'workflows/processes.py': {'open'},  # output of a process
}
#: These write a tree that gets its name when it is done, see ``write_tree``.
TREES = ('data_tools/generators/', 'data_tools/label_trees.py', 'data_tools/trees.py')
#: Into a buffer or a file that ``write_atomic`` opened, or a folder that is thrown away.
TAKES_A_FILE = {'torch.save', 'np.save', 'json.dump', 'savefig', 'save', 'save_pretrained', 'dump'}
NEVER = {
    'write_text', 'write_bytes', 'save_file', 'imwrite', 'savez', 'savetxt', 'tofile', 'copyfile',
    'copy', 'copy2', 'copytree', 'move', 'mkstemp', 'NamedTemporaryFile', 'to_csv', 'symlink_to',
    'hardlink_to', 'writelines',
}  # fmt: skip
MODULES = {'shutil', 'tempfile', 'np', 'numpy', 'cv2', 'mmcv', 'mmengine'}


def writes(tree: ast.Module) -> list[tuple[int, str]]:
    """Calls that may write a file by its name."""
    found = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        last = name.rpartition('.')[2]
        first = ast.unparse(call.args[0]) if call.args else ''
        if last == 'open' and name != 'os.open':
            modes = [*call.args[name in ('open', 'gzip.open', 'io.open') :][:1]]
            modes += [word.value for word in call.keywords if word.arg == 'mode']
            texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
            if any(set(str(text)) & set('wax+') for text in texts):
                found.append((call.lineno, 'open'))
        elif name == 'os.open' and 'O_CREAT' in ast.unparse(call):
            found.append((call.lineno, name))
        elif name == 'write_text':
            continue  # that of atomic_file: it is imported by this name
        elif last in NEVER and (name.count('.') or last == name):
            if last in ('copy', 'move') and name.split('.')[0] not in MODULES:
                continue  # a dict's, a module's
            found.append((call.lineno, last))
        elif last in TAKES_A_FILE and not {'file', 'buffer'} & {ast.unparse(a) for a in call.args}:
            if last == 'dump' and (not call.args or name == 'writer.dump'):
                continue
            if last == 'save_pretrained' and first == 'folder':
                continue
            if last == 'save' and ('AdapterFile' in name or name == 'save'):
                continue  # safetensors.torch.save gives bytes
            found.append((call.lineno, last))
    return found


def test_no_module_writes_a_file_by_itself():
    wrong = []
    for path in sorted(PACKAGE.rglob('*.py')):
        place = path.relative_to(PACKAGE).as_posix()
        if place.startswith(TREES):
            continue
        for line, name in writes(ast.parse(path.read_text())):
            if name not in APPENDS.get(place, ()):
                wrong.append(f'{place}:{line} {name}')
    assert not wrong, 'use knowswap_mm.io.files: ' + ', '.join(wrong)


@pytest.mark.parametrize(
    'text',
    [
        "path.write_text('x')",
        "(a / 'b').write_bytes(b'')",
        "open(path, 'w')",
        "path.open('wb')",
        "path.open(mode='a')",
        "gzip.open(path, 'xb')",
        'os.open(path, os.O_CREAT)',
        'save_file(tensors, path)',
        'safetensors.torch.save_file(t, p)',
        'torch.save(state, path)',
        'np.save(path, counts)',
        'json.dump(value, handle)',
        'cv2.imwrite(path, image)',
        'figure.savefig(path)',
        'image.save(path)',
        'cfg.dump(path)',
        'shutil.copy(a, b)',
        'config.save_pretrained(self.folder)',
    ],
)
def test_the_search_finds_it(text):
    assert writes(ast.parse(text))


def test_trees_get_their_name_at_the_end():
    """What the search leaves out does write by ``write_tree``."""
    for name in ('generators/trees', 'generators/scenes', 'trees'):
        assert 'write_tree(' in (PACKAGE / f'data_tools/{name}.py').read_text()


# -- Folders ---------------------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_whole(tmp_path):
    out = tmp_path / 'out'
    for number in (1, 2):
        with write_folder(out) as folder:
            (folder / f'file{number}').write_text('x')
            assert not out.exists() or names(out) == ['file1']
        assert names(out) == [f'file{number}'] and names(tmp_path) == ['out']
    with pytest.raises(KeyError), write_folder(out) as folder:
        raise KeyError
    assert names(out) == ['file2'] and names(tmp_path) == ['out']
    umask = os.umask(0)
    os.umask(umask)
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask


def test_what_a_killed_writer_left_is_removed_and_a_living_one_stays(tmp_path):
    out = tmp_path / 'out'
    code = (
        'import os, signal, sys; from knowswap_mm.io.files import write_folder\n'
        f'with write_folder({str(out)!r}) as folder:\n'
        '    (folder / "half").write_text("x"); os.kill(os.getpid(), signal.SIGKILL)'
    )
    assert subprocess.run([sys.executable, '-c', code], timeout=120).returncode == -signal.SIGKILL
    assert not out.exists() and len(names(tmp_path)) == 1
    with write_folder(out) as first:
        (first / 'first').write_text('x')
        with write_folder(out) as second:
            assert first.is_dir()
            (second / 'second').write_text('x')
    assert names(out) == ['first'] and names(tmp_path) == ['out']


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(CheckpointError, match='could not be written.*Fix: '):
        with write_folder(tmp_path / 'file' / 'out'):
            pass


# -- Adapters --------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def trained(picture_tree, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained') / 'run'
    return train(swap_config(picture_tree, folder, host=host))[0], folder


@pytest.mark.parametrize('before', [False, True])
@pytest.mark.parametrize('at', range(5))
def test_a_kill_while_an_adapter_is_written_leaves_the_old_one_or_none(
    at, before, trained, tmp_path, monkeypatch
):
    """At each file in turn; what raises stands for the kill, which leaves no more behind."""
    runner, _ = trained
    folder, write, count = tmp_path / 'adapter', atomic_file.write_atomic, 0
    if before:
        AdapterFile(folder).save(runner.swapper, history=[])
        kept = {path.name: path.read_bytes() for path in folder.iterdir()}

    def killed(path, content):
        nonlocal count
        if count == at:
            raise KeyboardInterrupt
        count += 1
        write(path, content)

    for module in (atomic_file, adapter):
        monkeypatch.setattr(module, 'write_atomic', killed)
    with pytest.raises(KeyboardInterrupt):
        AdapterFile(folder).save(runner.swapper, class_roles=dict(learn=['x']), history=[])
    if before:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    else:
        assert not folder.exists()
    assert not list(tmp_path.glob('.adapter*'))


def test_other_files_in_the_folder_of_an_adapter_stay(trained, tmp_path):
    runner, _ = trained
    folder = tmp_path / 'adapter'
    folder.mkdir()
    (folder / 'notes.txt').write_text('mine')
    for _ in range(2):
        AdapterFile(folder).save(runner.swapper)
        AdapterFile(folder).load(runner.swapper)
    assert (folder / 'notes.txt').read_text() == 'mine'


def train_until_the_adapter(config):
    """In a process of its own: that of the whole run, not those of phases."""
    write = AdapterManifest.write

    def killed(self, path):
        if 'adapters' not in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path)

    AdapterManifest.write = killed
    train(config)


@pytest.mark.slow
def test_continual_trains_on_after_a_kill_in_the_adapter(picture_tree, host, tmp_path):
    """A real SIGKILL, when the adapter of a swap is half written."""
    config = swap_config(picture_tree, tmp_path / 'run', host=host)
    assert join(start(config, 1, train_until_the_adapter)) == [-signal.SIGKILL]
    assert not (tmp_path / 'run/adapter').exists()  # by it the chain knows what is done
    assert (tmp_path / 'run/phase2_forget.pth').is_file()
    train(swap_config(picture_tree, tmp_path / 'run', host=host, resume='auto'))
    assert json.loads((tmp_path / 'run/adapter/manifest.json').read_text())['history']
    assert not list((tmp_path / 'run').glob('.adapter*'))


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    from knowswap_mm.io.files import write_cached

    (tmp_path / 'file').write_text('x')
    with pytest.raises(ConfigError) as caught:
        write_cached(tmp_path / 'file' / 'cache' / 'a.json', lambda file: file.write(b'x'))
    message = str(caught.value)
    assert caught.value.key == 'dataset.roles.*.cache_dir'
    assert 'Not a directory' in message and 'XDG_CACHE_HOME' in message
