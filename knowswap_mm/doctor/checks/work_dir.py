"""The folder for runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

from knowswap_mm.doctor.examination import Check, Finding
from knowswap_mm.registry import DOCTOR_CHECKS

#: Free space in GiB below which a run is likely to fail, and below which a long one may.
TOO_LITTLE, LITTLE = 1, 10


@DOCTOR_CHECKS.register_module()
class WorkDir(Check):
    """Runs can be written, and there is space for checkpoints."""

    name, order = 'work_dir', 90

    def findings(self) -> Iterator[Finding]:
        """See the class."""
        fix = 'name another folder with --work-dir'
        place = self.work_dir.resolve()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            yield Finding('problem', f'{place} is a file, not a folder', fix)
            return
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b'1')
        except OSError as error:
            yield Finding('problem', f'{place} cannot be written to ({error.strerror})', fix)
            return
        free = shutil.disk_usage(place).free / 2**30
        text = f'{self.work_dir} can be written to, {free:.0f} GiB are free'
        if free < TOO_LITTLE:
            yield Finding('problem', f'only {free:.2f} GiB are free for {self.work_dir}', fix)
        elif free < LITTLE:
            yield Finding('warning', f'{text}: checkpoints of large models may fill them', fix)
        else:
            yield Finding('ok', text)
