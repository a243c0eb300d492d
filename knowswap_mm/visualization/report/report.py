"""The page of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from knowswap_mm.io.files import write_atomic
from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.runs.files import REPORT_FILE, REPORT_PAGE, REPORT_TEXT
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.version import __version__
from knowswap_mm.visualization.report.blocks import Block

_PAGE = Markup("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the results</a>
<header>
<h1>{title}</h1>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main id="content">
{sections}
</main>
<footer><p>Made by knowswap_mm {version} from the files of the run; nothing here is loaded from
elsewhere.</p></footer>
</body>
</html>
""")
_SECTION = Markup(
    '<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{blocks}\n</section>'
)


def render_page(title: str, sections: Sequence[tuple[Any, Sequence[Block]]]) -> str:
    """The page as html; everything that is no html of ours is escaped.

    Args:
        title (str): Title.
        sections (Sequence): Sections with their blocks.
    """
    style = (Path(__file__).parent / 'style.css').read_text(encoding='utf-8')
    links = Markup('').join(
        Markup('<li><a href="#{}">{}</a></li>').format(each.name, each.title)
        for each, _ in sections
    )
    rendered = Markup('\n').join(
        _SECTION.format(
            name=each.name,
            title=each.title,
            blocks=Markup('\n').join(block.html() for block in blocks),
        )
        for each, blocks in sections
    )
    return str(
        _PAGE.format(
            title=title,
            style=Markup(style.strip()),
            links=links,
            sections=rendered,
            version=__version__,
        )
    )


class Report:
    """Answers of a run: did it work, what did it cost, what changed where?

    Its sections are the classes in :data:`REPORT_SECTIONS`, by their ``order``; a section that has
    nothing to say is left out.

    Args:
        record (RunFolder): The run.
    """

    def __init__(self, record: RunFolder) -> None:
        self.record = record
        REPORT_SECTIONS.import_from_location()
        kinds = sorted(REPORT_SECTIONS.module_dict.values(), key=lambda kind: kind.order)
        self.sections: list[tuple[Any, list[Block]]] = []
        for kind in kinds:
            section = kind()
            if blocks := section.blocks(record):
                self.sections.append((section, blocks))

    @classmethod
    def of_run(cls, folder: str | Path) -> Report:
        """Read a run and make its report.

        Args:
            folder (str | Path): Work dir of the run.

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
        return render_page(self.title, self.sections)

    def markdown(self) -> str:
        """The same in Markdown, without the plots; images are links into the run's folder."""
        parts = [f'# {self.title}']
        for section, blocks in self.sections:
            parts += [f'## {section.title}', *(block.markdown() for block in blocks)]
        return '\n\n'.join(part for part in parts if part) + '\n'

    def to_dict(self) -> dict[str, Any]:
        """The numbers, by section."""
        data: dict[str, Any] = dict(title=self.title)
        for section, blocks in self.sections:
            found = [block.data() for block in blocks]
            data[section.name] = [each for each in found if each is not None]
        return data

    def write(self, folder: str | Path | None = None) -> Path:
        """Write the three files, each whole or not at all.

        Args:
            folder (str | Path | None): Where to; the folder of the run by default.

        Returns:
            Path: The page.
        """
        folder = Path(folder or self.record.folder)
        numbers = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, default=float) + '\n'
        texts = {REPORT_FILE: numbers, REPORT_TEXT: self.markdown(), REPORT_PAGE: self.html()}
        for name, text in texts.items():
            write_atomic(folder / name, lambda file, text=text: file.write(text.encode()))
        return folder / REPORT_PAGE
