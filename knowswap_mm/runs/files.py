"""Names of all that a run leaves in its work dir; every writer and reader takes them from here.

Nothing is imported, so that a command can name a file without loading torch (issue 25).
"""

from __future__ import annotations

from pathlib import Path

#: Held while a run trains, see :class:`~knowswap_mm.runs.lock.WorkDirLock`.
LOCK_FILE = 'run.lock'

# Written when the weights are loaded, before the first iteration.
SCHEDULE_FILE = 'schedule.json'
INDICES_FILE = 'role_indices.json'
RECORD_FILE = 'run.json'
REPEAT_FILE = 'repeat.sh'
STARTS_FILE = 'starts.json'

#: Names of a run's checkpoints: periodic ones, and those of the ends of phases.
CHECKPOINTS = ('iter_*.pth', 'phase*.pth')
LATEST_FILE = 'last_checkpoint'

RESULTS_FILE = 'swap_results.json'
PROFILE_FILE = 'block_profile.json'
#: The adapter of the whole swap, and the folder of those of single phases.
ADAPTER_FOLDER, PHASE_ADAPTERS = 'adapter', 'adapters'
#: Drawn samples of each role, and their index in that folder.
IMAGES_FOLDER, IMAGES_FILE = 'pictures', 'pictures.json'
#: Audits: numbers, page and plot, in this folder or in folders of it.
AUDIT_FOLDER, AUDIT_FILE, AUDIT_PAGE = 'audit', 'audit.json', 'audit.md'
AUDIT_PLOT = 'recovery.svg'
REPORT_PAGE, REPORT_TEXT, REPORT_FILE = 'report.html', 'report.md', 'report.json'

# What mmengine writes, as patterns: a folder for each start, and the config beside them.
SCALARS = '*/vis_data/scalars.json'
CONFIGS = ('*/vis_data/config.py', '*.py')

#: What :func:`~knowswap_mm.io.files.write_atomic` calls files of a run, and of its adapters, until
#: they are whole.
UNFINISHED = tuple(
    f'{place}*.????????-????????????'
    for place in ('', f'{ADAPTER_FOLDER}/', f'{PHASE_ADAPTERS}/*/')
)


def config_file(read_from: str, folder: str | Path) -> str:
    """Name under which a run keeps its config: never over the one in its folder that it read."""
    path = Path(read_from)
    own = Path(folder, path.name).resolve() == path.resolve()
    return f'{path.stem}{_RESOLVED}' if own and not path.name.endswith(_RESOLVED) else path.name


_RESOLVED = '_resolved.py'


def iteration_file(iteration: int | str) -> str:
    """Name of the checkpoint after so many iterations."""
    return f'iter_{iteration}.pth'


def phase_file(name: str) -> str:
    """Name of the checkpoint of the end of the phase that is called so."""
    return f'{name}.pth'


def nonfinite_file(iteration: int, rank: int) -> str:
    """Name of the file about a loss that was not finite, at an iteration (from 0) of a rank."""
    return f'nonfinite_iter_{iteration}_rank{rank}.json'
