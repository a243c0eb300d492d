"""A swap of one step a phase."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from knowswap_mm.cli.options import command_of
from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.registry import DOCTOR_CHECKS
from knowswap_mm.runs.files import ADAPTER_FOLDER, RESULTS_FILE

SECONDS = 300
#: What a swap leaves behind.
WANTED = ('phase1_learn.pth', 'phase2_forget.pth', RESULTS_FILE, f'{ADAPTER_FOLDER}/manifest.json')


@DOCTOR_CHECKS.register_module()
class TinySwap(Check):
    """A tiny ViT swaps classes of drawn shapes, one step a phase.

    It does so in a process and a temporary folder of its own.
    """

    name, order = 'swap', 100
    needs = ('python', 'packages', 'originals', 'torch', 'torchvision', 'hosts', 'mmcv')

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        from knowswap_mm.doctor.tiny_config import write_tiny_swap

        with tempfile.TemporaryDirectory(prefix='knowswap_doctor_') as folder:
            run = Path(folder) / 'run'
            command = command_of('train', write_tiny_swap(Path(folder)), '--work-dir', run)
            fix = (
                'fix what the message says; if that is unclear, open an issue with the output of '
                '`knowswap doctor --json`'
            )
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            except subprocess.TimeoutExpired:
                text = f'a swap of two steps did not end within {SECONDS} s'
                yield Finding(
                    'problem', text, 'stop what else keeps the machine busy, and try again'
                )
                return
            missing = [name for name in WANTED if not (run / name).is_file()]
        last = ' | '.join(line for line in done.stderr.splitlines()[-3:] if line.strip())
        if done.returncode:
            text = f'a swap of two steps failed with code {done.returncode}: {last}'
            yield Finding('problem', text, fix)
        elif missing:
            yield Finding('problem', f'a swap of two steps did not write {missing}: {last}', fix)
        else:
            yield Finding('ok', 'a swap of two steps works, from images to the adapter')
