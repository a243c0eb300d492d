"""What sections of the report are made of: each block is data; ``page.html`` says how it looks."""

from __future__ import annotations

import base64
import re
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.plots import inline_svg
from knowswap_mm.visualization.tables import markdown_table, markdown_text

FOLDER = Path(__file__).parent


@cache
def template() -> Any:
    """The macros of ``page.html``, which escape whatever they are given."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template('page.html').module


class Section(metaclass=ABCMeta):
    """Answers one question about a run; a new one is a file with a registered subclass.

    Attributes:
        name (str): Anchor on the page and key in the json.
        title (str): Heading.
        order (int): Sections come by this number.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """What the section shows; nothing if the run has nothing for it."""


class Block(metaclass=ABCMeta):
    """Knows how it looks as html, as Markdown and as data."""

    def html(self) -> Markup:
        """As html with all foreign text escaped: the macro that is named as the class."""
        return getattr(template(), type(self).__name__.lower())(self)

    @abstractmethod
    def markdown(self) -> str:
        """As Markdown with all foreign text escaped."""

    def data(self) -> Any:
        """Plain data for json; None if there is none."""
        return None


@dataclass(frozen=True)
class Banner(Block):
    """A verdict and what it is made of; colours only repeat what the words say.

    Attributes:
        word (str): ``yes``, ``in part``, ``no``, or anything else for a verdict that is none.
        headline (str): The verdict.
        items (Sequence[tuple[str | None, str]]): Word and sentence of each part.
    """

    word: str
    headline: str
    items: Sequence[tuple[str | None, str]] = ()

    @staticmethod
    def css(word: str | None) -> str:
        """Class of a word in the style sheet."""
        return {'yes': 'yes', 'in part': 'part', 'no': 'no'}.get(word, '')

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f'**{markdown_text(self.headline)}**', '']
        lines += [f'- {markdown_text(text)} {word or ""}'.rstrip() for word, text in self.items]
        return '\n'.join(lines).rstrip()

    def data(self) -> Any:
        """Verdict and parts."""
        parts = [dict(verdict=word, text=text) for word, text in self.items]
        return dict(verdict=self.word, headline=self.headline, parts=parts)


@dataclass(frozen=True)
class Bullets(Block):
    """Sentences, one a line, and what they are called."""

    label: str
    texts: Sequence[str]

    def markdown(self) -> str:
        """As a list."""
        return '\n'.join(f'- {markdown_text(text)}' for text in self.texts)

    def data(self) -> Any:
        """Label and sentences."""
        return {self.label: list(self.texts)}


@dataclass(frozen=True)
class Code(Block):
    """A config or a command, and what it is called."""

    text: str
    label: str

    def markdown(self) -> str:
        """As an indented block, out of which no text can break."""
        return '\n'.join(f'    {line}' for line in self.text.splitlines())

    def data(self) -> Any:
        """Label and text."""
        return {self.label: self.text}


@dataclass(frozen=True)
class Details(Block):
    """Blocks behind a line, the summary, that opens them."""

    summary: str
    blocks: Sequence[Block]

    def markdown(self) -> str:
        """As a part of its own."""
        parts = [f'### {markdown_text(self.summary)}', *(each.markdown() for each in self.blocks)]
        return '\n\n'.join(parts)

    def data(self) -> Any:
        """The data of the blocks."""
        found = [block.data() for block in self.blocks]
        return [each for each in found if each is not None] or None


@dataclass(frozen=True)
class Figure(Block):
    """A plot of matplotlib; its numbers are in the json.

    Attributes:
        name (str): Unlike that of all other plots of the page.
        plot (matplotlib.figure.Figure): The plot.
        alt (str): What it shows, in words.
        caption (str): Text beneath it.
        values (dict): The numbers.
    """

    name: str
    plot: Any
    alt: str
    caption: str = ''
    values: dict[str, Any] = field(default_factory=dict)

    def svg(self) -> Markup:
        """The plot as an element of the page."""
        return inline_svg(self.plot, self.name, self.alt)

    def markdown(self) -> str:
        """What it shows, in words: Markdown has no plots of its own."""
        return f'{markdown_text(self.alt)} {markdown_text(self.caption)}'.strip()

    def data(self) -> Any:
        """The numbers."""
        return dict(figure=self.name, **self.values) if self.values else None


#: What Markdown says of a forget sample.
_MARKS = {True: ' (forgotten, as wanted)', False: ' (still known)'}
#: The only files that are taken into a page.
_TYPES = {'.webp': 'image/webp', '.png': 'image/png', '.jpg': 'image/jpeg'}


@dataclass(frozen=True)
class Gallery(Block):
    """Samples with what they are and what a model says of them.

    Attributes:
        label (str): What the samples have in common.
        folder (Path): Where the images are.
        samples (Sequence[Sequence[tuple[str, Mapping]]]): For each sample what it is called
            (``truth``, ``before``, ...) and a drawing, see :class:`SampleImages`.
    """

    label: str
    folder: Path
    samples: Sequence[Sequence[tuple[str, Mapping[str, Any]]]]

    @property
    def widest(self) -> int:
        """Images of the sample that has the most."""
        counts = (sum(d['file'] is not None for _, d in each) for each in self.samples)
        return max(counts, default=1)

    @property
    def cell_width(self) -> str:
        """Width of a sample, as a length of CSS."""
        return '10rem' if self.widest < 2 else f'min(100%, {8.5 * self.widest + 1:g}rem)'

    def shots(self, sample: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple]:
        """An image (None if there is none) and its words: those without one go beneath the last."""
        found: list[tuple[dict[str, str] | None, list]] = []
        for name, drawing in sample:
            source = self._source(drawing['file'])
            if source or not found:
                image = dict(alt=f'{name}: {drawing["caption"]}', src=source) if source else None
                found.append((image, []))
            found[-1][1].append((name, drawing))
        yield from found

    def _source(self, name: str | None) -> str | None:
        """The contents of a file in the folder, as a link that needs no other file."""
        path = self.folder / Path(name or '').name
        kind = _TYPES.get(path.suffix)
        if kind is None or not path.is_file():
            return None
        return f'data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}'

    @staticmethod
    def colour(text: str) -> str:
        """A colour of the index, a file like any other: nothing else gets into a style."""
        hexadecimal = text[:1] == '#' and len(text) == 7 and text[1:].isalnum()
        return text if hexadecimal else 'transparent'

    def markdown(self) -> str:
        """As a list; images are links into the folder."""
        lines = [markdown_text(self.label) + ':', '']
        for sample in self.samples:
            parts = []
            for name, drawing in sample:
                mark = _MARKS.get(drawing.get('forgotten'), '')
                text = markdown_text(f'{name}: {drawing["caption"]}{mark}')
                file = drawing['file'] and Path(drawing['file']).name
                parts.append(f'[{text}]({self.folder.name}/{file})' if file else text)
            lines.append(f'- {"; ".join(parts)}')
        return '\n'.join(lines)

    def data(self) -> Any:
        """The words, and what they are worth."""
        kept = ('caption', 'right', 'forgotten')
        samples = [
            {name: {key: d[key] for key in kept if key in d} for name, d in each}
            for each in self.samples
        ]
        return dict(label=self.label, samples=samples)


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph, or a heading within a section.

    Attributes:
        text (str): The text.
        kind (str): ``text``, ``note`` (less prominent) or ``heading``.
    """

    text: str
    kind: str = 'text'

    def markdown(self) -> str:
        """As Markdown."""
        return f'{"### " if self.kind == "heading" else ""}{markdown_text(self.text)}'


#: Letters from which on a cell has a width of its own, so that a phone scrolls instead of towers.
_LONG = 40
_INTERVAL = re.compile(r'[-\d.]+ \[[-\d., ]+\]')


@dataclass(frozen=True)
class Table(Block):
    """A table; the first cell of a row names the row.

    Attributes:
        caption (str): What it shows.
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Texts, numbers, or None for what is not known.
        digits (int): Digits of numbers after the point.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 1

    @cached_property
    def _numeric(self) -> set[int]:
        """Columns that hold a number."""
        return {i for row in self.rows for i, v in enumerate(row) if isinstance(v, (int, float))}

    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[self._text(value) for value in row] for row in self.rows]

    def css(self, column: int, text: str = '') -> str:
        """Class of a cell; a number with its interval stays in one line, a long text has room."""
        if column in self._numeric:
            return 'number'
        return 'interval' if _INTERVAL.fullmatch(text) else 'long' if len(text) > _LONG else ''

    def _text(self, value: Any) -> str:
        if value is None:
            return '–'
        return f'{value:.{self.digits}f}' if isinstance(value, float) else str(value)

    def markdown(self) -> str:
        """As a table of Markdown under its caption."""
        table = markdown_table(self.header, self.cells(), escape=markdown_text)
        return f'{markdown_text(self.caption)}\n\n{table}'

    def data(self) -> Any:
        """Caption, header and rows."""
        return dict(
            caption=self.caption, header=list(self.header), rows=[list(r) for r in self.rows]
        )
