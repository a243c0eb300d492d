"""The page of a run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from markupsafe import Markup

from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.files import REPORT_FILE, REPORT_PAGE, REPORT_TEXT
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.version import __version__
from knowswap_mm.visualization.report import sections as sections  # which registers them
from knowswap_mm.visualization.report.blocks import FOLDER, Block, Section, template
from knowswap_mm.visualization.tables import markdown_text

#: What a user calls the entries that :class:`~knowswap_mm.runs.record.RunRecord` keeps.
_NAMES = dict(model='Model', weights='Weights', data='Data')


class Report:
    """Answers of a run: did it work, what did it cost, what changed where?

    Its sections are the classes in :data:`REPORT_SECTIONS`, by their ``order``; a section that has
    nothing to say is left out.

    Args:
        record (RunFolder): The run.
    """

    def __init__(self, record: RunFolder) -> None:
        self.record = record
        self.about = about_run(record)
        kinds = sorted(REPORT_SECTIONS.module_dict.values(), key=lambda kind: kind.order)
        self.sections: list[tuple[Section, list[Block]]] = []
        for kind in kinds:
            section = kind()
            if blocks := section.blocks(record):
                self.sections.append((section, blocks))

    @classmethod
    def of_run(cls, folder: str | Path) -> Report:
        """Read the work dir of a run and make its report.

        Raises:
            ConfigError: If the folder holds no results of a swap.
        """
        return cls(RunFolder(folder))

    @property
    def title(self) -> str:
        """Name of the run."""
        return f'Knowledge swap: {self.record.folder.resolve().name}'

    def html(self) -> str:
        """One page without any reference to another file."""
        style = Markup((FOLDER / 'style.css').read_text(encoding='utf-8').strip())
        return str(
            template().page(self.title, self.about, style, self.sections, __version__)
        ).lstrip()

    def markdown(self) -> str:
        """The same in Markdown, without the plots; images are links into the run's folder."""
        lines = [f'- {name}: {markdown_text(text)}' for name, text in self.about.items()]
        parts = [f'# {self.title}', '\n'.join(lines)]
        for section, blocks in self.sections:
            parts += [f'## {section.title}', *(block.markdown() for block in blocks)]
        return '\n\n'.join(part for part in parts if part) + '\n'

    def to_dict(self) -> dict[str, Any]:
        """The numbers, by section."""
        data: dict[str, Any] = dict(title=self.title, about=self.about)
        for section, blocks in self.sections:
            found = [block.data() for block in blocks]
            data[section.name] = [each for each in found if each is not None]
        return data

    def write(self, folder: str | Path | None = None) -> Path:
        """Write the three files, each whole or not at all, and give the page.

        The folder is that of the run by default.
        """
        folder = Path(folder or self.record.folder)
        data, text, page = self.to_dict(), self.markdown(), self.html()
        write_json(folder / REPORT_FILE, data, indent=1, ensure_ascii=False, default=float)
        write_text(folder / REPORT_TEXT, text)
        write_text(folder / REPORT_PAGE, page)
        return folder / REPORT_PAGE


def about_run(record: RunFolder) -> dict[str, str]:
    """Lines by name; what the files do not tell is left out."""
    given = record.record.get('about')
    given = given if isinstance(given, dict) else {}
    lines = {
        name: given[key]
        for key, name in _NAMES.items()
        if isinstance(given.get(key), str) and given[key]
    }
    if not lines and isinstance(record.record.get('config'), str):  # runs of before issue 28
        lines['Config'] = record.record['config']
    if words := _numbers(record):
        lines['Classes'] = words
    if dates := _dates(record.log):
        lines['Date'] = dates
    return lines


def _numbers(record: RunFolder) -> str:
    words = []
    for role, names in record.classes.items():
        found = record.counts.get(role)
        samples = found.get('samples') if isinstance(found, dict) else None
        images = f' ({samples:,} training images)' if type(samples) is int else ''
        if names:
            words.append(f'{len(names)} {role}{images}')
    return ', '.join(words)


def _dates(log: list[dict[str, Any]]) -> str:
    if not log:
        return ''
    text = str(log[-1].get('started'))
    try:
        text = datetime.fromisoformat(text).strftime('%Y-%m-%d %H:%M %z').strip()
    except ValueError:
        return ''
    if len(log) > 1:
        return f'{text}, the last of {len(log)} starts'
    seconds = log[-1].get('seconds')
    known = isinstance(seconds, (int, float)) and 0 <= seconds < 1e9
    return f'{text}, took {timedelta(seconds=round(seconds))}' if known else text
