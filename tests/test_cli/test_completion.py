"""Completion in the shell, by the protocol between it and argcomplete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('argcomplete')
REPOSITORY = Path(__file__).parents[2]


def complete(line, folder):
    """What the shell would offer at the end of a line."""
    out = folder / 'offered'
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(REPOSITORY), os.environ.get('PYTHONPATH', '')]),
        _ARGCOMPLETE='1',
        _ARGCOMPLETE_SHELL='bash',
        _ARGCOMPLETE_STDOUT_FILENAME=str(out),
        _ARGCOMPLETE_IFS='\n',
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
        COMP_TYPE='9',
    )
    code = 'from knowswap_mm.cli.main import main; main()'
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, cwd=folder, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ('line', 'offered'),
    [
        ('knowswap co', ['continual', 'compare', 'convert']),
        ('knowswap doc', ['doctor']),
        ('knowswap train --re', ['--resume']),
        ('knowswap train x.py --launcher s', ['slurm']),
        ('knowswap convert official-', ['official-dino', 'official-mask2former', 'official-vit']),
        ('knowswap adapter un', ['unload']),
        ('knowswap doctor --sk', ['--skip']),
        ('knowswap data seg', ['segmentation']),
        ('knowswap data detection st', ['stanford-dogs']),
    ],
)
def test_what_is_offered(line, offered, tmp_path):
    assert sorted(complete(line, tmp_path)) == sorted(offered)


def test_files_are_offered(tmp_path):
    (tmp_path / 'my_swap.py').touch()
    assert complete('knowswap train my_', tmp_path) == ['my_swap.py']
