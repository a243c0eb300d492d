"""Pictures of samples."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block, markdown_text

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
        folder (Path): Where the pictures are.
        samples (Sequence[Sequence[tuple[str, Mapping]]]): For each sample what it is called
            (``truth``, ``before``, ...) and a drawing, see :class:`SamplePictures`.
    """

    label: str
    folder: Path
    samples: Sequence[Sequence[tuple[str, Mapping[str, Any]]]]

    def html(self) -> Markup:
        """As html with the pictures inside."""
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
        """One figure a picture; words without a picture go beneath the picture before them."""
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
        """As a list; pictures are links into the folder."""
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
