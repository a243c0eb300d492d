"""A table."""

from __future__ import annotations

import base64
import re
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.plots import inline_svg


class Block(metaclass=ABCMeta):
    """Knows how it looks as html, as Markdown and as data."""

    @abstractmethod
    def html(self) -> Markup:
        """As html, with all foreign text escaped."""

    @abstractmethod
    def markdown(self) -> str:
        """As Markdown, with all foreign text escaped."""

    def data(self) -> Any:
        """Plain data for json; None if there is none."""
        return None


def markdown_text(text: str) -> str:
    """Foreign text in one line of Markdown, where html and the marks of Markdown mean nothing.

    Args:
        text (str): Any text.
    """
    text = str(text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    return re.sub(r'([\\`*_\[\]|#!])', r'\\\1', ' '.join(text.split()))


_CLASSES = {'yes': 'yes', 'in part': 'part', 'no': 'no'}


@dataclass(frozen=True)
class Banner(Block):
    """A verdict and what it is made of.

    Attributes:
        word (str): ``yes``, ``in part``, ``no``, or anything else for a verdict that is none.
        headline (str): The verdict.
        items (Sequence[tuple[str | None, str]]): Word and sentence of each part.
    """

    word: str
    headline: str
    items: Sequence[tuple[str | None, str]] = ()

    def html(self) -> Markup:
        """As html; colours only repeat what the words say."""
        items = Markup('').join(
            Markup('<li>{} <span class="word {}">{}</span></li>').format(
                text, _CLASSES.get(word, ''), word or ''
            )
            for word, text in self.items
        )
        return Markup('<div class="banner {}"><p>{}</p><ul>{}</ul></div>').format(
            _CLASSES.get(self.word, ''), self.headline, items
        )

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
class Code(Block):
    """A config or a command.

    Attributes:
        text (str): The text.
        label (str): What it is.
    """

    text: str
    label: str

    def html(self) -> Markup:
        """As html."""
        box = Markup('<pre tabindex="0" role="region" aria-label="{}"><code>{}</code></pre>')
        return box.format(self.label, self.text)

    def markdown(self) -> str:
        """As an indented block, out of which no text can break."""
        return '\n'.join(f'    {line}' for line in self.text.splitlines())

    def data(self) -> Any:
        """Label and text."""
        return {self.label: self.text}


@dataclass(frozen=True)
class Details(Block):
    """Blocks behind a line that opens them.

    Attributes:
        summary (str): The line.
        blocks (Sequence[Block]): What it opens.
    """

    summary: str
    blocks: Sequence[Block]

    def html(self) -> Markup:
        """As html that needs no script."""
        inner = Markup('\n').join(block.html() for block in self.blocks)
        return Markup('<details><summary>{}</summary>\n{}\n</details>').format(self.summary, inner)

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

    def html(self) -> Markup:
        """As html with the plot inside."""
        caption = Markup('<figcaption>{}</figcaption>').format(self.caption) if self.caption else ''
        return Markup(
            '<figure><div class="scroll" tabindex="0" role="group" aria-label="{}">{}</div>'
            '{}</figure>'
        ).format(f'Plot: {self.name}', inline_svg(self.plot, self.name, self.alt), caption)

    def markdown(self) -> str:
        """What it shows, in words: Markdown has no plots of its own."""
        return f'{markdown_text(self.alt)} {markdown_text(self.caption)}'.strip()

    def data(self) -> Any:
        """The numbers."""
        return dict(figure=self.name, **self.values) if self.values else None


#: The only files that are taken into a page.
_TYPES = {'.webp': 'image/webp', '.png': 'image/png', '.jpg': 'image/jpeg'}
_MARKS = {
    True: Markup('&nbsp;<span class="right" role="img" aria-label="right">✓</span>'),
    False: Markup('&nbsp;<span class="wrong" role="img" aria-label="wrong">✗</span>'),
}


@dataclass(frozen=True)
class Gallery(Block):
    """Samples with what they are and what a model says of them.

    Attributes:
        label (str): What the samples have in common.
        folder (Path): Where the images are.
        samples (Sequence[Sequence[tuple[str, Mapping]]]): For each sample what it is called
            (``truth``, ``before``, ...) and a drawing, see :class:`SamplePictures`.
    """

    label: str
    folder: Path
    samples: Sequence[Sequence[tuple[str, Mapping[str, Any]]]]

    def html(self) -> Markup:
        """As html with the images inside."""
        drawn = max(
            (sum(d['file'] is not None for _, d in each) for each in self.samples), default=1
        )
        items = Markup('\n').join(
            Markup('<li><div class="{}">{}</div></li>').format(
                'shots several' if drawn > 1 else 'shots', self._shots(sample)
            )
            for sample in self.samples
        )
        cell = '10rem' if drawn < 2 else f'min(100%, {8.5 * drawn + 1:g}rem)'
        box = Markup('<ul class="samples" style="--cell: {}" aria-label="{}">\n{}\n</ul>')
        return box.format(cell, self.label, items)

    def _shots(self, sample: Sequence[tuple[str, Mapping[str, Any]]]) -> Markup:
        """One figure an image; words without an image go beneath the image before them."""
        figures: list[tuple[Markup, list[Markup]]] = []
        for name, drawing in sample:
            image = self._image(f'{name}: {drawing["caption"]}', drawing['file'])
            if image is not None or not figures:
                figures.append((image or Markup(''), []))
            words = Markup('<dt>{}</dt><dd>{}{}</dd>').format(
                name, self._words(drawing), _MARKS.get(drawing.get('right'), '')
            )
            figures[-1][1].append(words)
        return Markup('').join(
            Markup('<figure>{}<figcaption><dl>{}</dl></figcaption></figure>').format(
                image, Markup('').join(words)
            )
            for image, words in figures
        )

    @staticmethod
    def _words(drawing: Mapping[str, Any]) -> Markup | str:
        legend = drawing.get('legend') or ()
        if not legend:
            return drawing['caption']
        return Markup('').join(
            Markup('<span class="chip" style="--chip: {}">{}</span> ').format(_colour(c), name)
            for name, c in legend
        )

    def _image(self, alt: str, name: str | None) -> Markup | None:
        if name is None:
            return None
        path = self.folder / Path(name).name
        kind = _TYPES.get(path.suffix)
        if kind is None or not path.is_file():
            return None
        data = base64.b64encode(path.read_bytes()).decode()
        return Markup('<img alt="{}" src="data:{};base64,{}">').format(alt, kind, data)

    def markdown(self) -> str:
        """As a list; images are links into the folder."""
        lines = [markdown_text(self.label) + ':', '']
        for sample in self.samples:
            parts = []
            for name, drawing in sample:
                text = markdown_text(f'{name}: {drawing["caption"]}')
                file = drawing['file'] and Path(drawing['file']).name
                parts.append(f'[{text}]({self.folder.name}/{file})' if file else text)
            lines.append(f'- {"; ".join(parts)}')
        return '\n'.join(lines)

    def data(self) -> Any:
        """The words."""
        samples = [{n: dict(caption=d['caption'], right=d.get('right')) for n, d in each}
                   for each in self.samples]  # fmt: skip
        return dict(label=self.label, samples=samples)


def _colour(text: str) -> str:
    """A colour of the index, which is a file like any other: nothing else gets into a style."""
    hexadecimal = text[:1] == '#' and len(text) == 7 and text[1:].isalnum()
    return text if hexadecimal else 'transparent'


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph, or a heading within a section.

    Attributes:
        text (str): The text.
        kind (str): ``text``, ``note`` (less prominent) or ``heading``.
    """

    text: str
    kind: str = 'text'

    def html(self) -> Markup:
        """As html."""
        if self.kind == 'heading':
            return Markup('<h3>{}</h3>').format(self.text)
        if self.kind == 'note':
            return Markup('<p class="note">{}</p>').format(self.text)
        return Markup('<p>{}</p>').format(self.text)

    def markdown(self) -> str:
        """As Markdown."""
        return f'{"### " if self.kind == "heading" else ""}{markdown_text(self.text)}'


_INTERVAL = re.compile(r'[-\d.]+ \[[-\d., ]+\]')


@dataclass(frozen=True)
class Table(Block):
    """A table; the first cell of a row names the row.

    Attributes:
        caption (str): What it shows.
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Texts, numbers, or None for what is not known.
        digits (int): Digits of numbers behind the point.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 1

    def html(self) -> Markup:
        """As html, in a box that scrolls if the page is too narrow."""
        numeric = [
            any(isinstance(row[i], (int, float)) for row in self.rows)
            for i in range(len(self.header))
        ]
        head = Markup('').join(
            Markup('<th scope="col"{}>{}</th>').format(_class(number), name)
            for name, number in zip(self.header, numeric, strict=True)
        )
        body = Markup('\n').join(self._row(row, numeric) for row in self.rows)
        return Markup(
            '<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n<table>'
            '<caption><span>{caption}</span></caption>\n<thead><tr>{head}</tr></thead>\n'
            '<tbody>\n{body}\n</tbody></table></div>'
        ).format(caption=self.caption, head=head, body=body)

    def _row(self, row: Sequence[Any], numeric: Sequence[bool]) -> Markup:
        first = Markup('<th scope="row"{}>{}</th>').format(_class(numeric[0]), self._cell(row[0]))
        cells = (
            Markup('<td{}>{}</td>').format(_class(number, text), text)
            for text, number in zip(map(self._cell, row[1:]), numeric[1:], strict=True)
        )
        return Markup('<tr>{}{}</tr>').format(first, Markup('').join(cells))

    def _cell(self, value: Any) -> str:
        if value is None:
            return '–'
        return f'{value:.{self.digits}f}' if isinstance(value, float) else str(value)

    def markdown(self) -> str:
        """As a table of Markdown under its caption."""
        rows = [[markdown_text(self._cell(value)) for value in row] for row in self.rows]
        lines = [[markdown_text(name) for name in self.header], ['---'] * len(self.header), *rows]
        table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
        return f'{markdown_text(self.caption)}\n\n{table}'

    def data(self) -> Any:
        """Caption, header and rows."""
        return dict(
            caption=self.caption, header=list(self.header), rows=[list(r) for r in self.rows]
        )


def _class(numeric: bool, text: str = '') -> Markup:
    if numeric:
        return Markup(' class="number"')
    # A number with its interval stays in one line.
    return Markup(' class="interval"') if _INTERVAL.fullmatch(text) else Markup('')
