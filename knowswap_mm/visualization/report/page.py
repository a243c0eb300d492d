"""The frame around the sections of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

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
