"""Pieces of a section; each knows how it looks as html, as Markdown and as data."""

from knowswap_mm.visualization.report.blocks.banner import Banner
from knowswap_mm.visualization.report.blocks.block import Block
from knowswap_mm.visualization.report.blocks.code import Code
from knowswap_mm.visualization.report.blocks.details import Details
from knowswap_mm.visualization.report.blocks.figure import Figure
from knowswap_mm.visualization.report.blocks.gallery import Gallery
from knowswap_mm.visualization.report.blocks.paragraph import Paragraph
from knowswap_mm.visualization.report.blocks.table import Table

__all__ = [
    'Banner',
    'Block',
    'Code',
    'Details',
    'Figure',
    'Gallery',
    'Paragraph',
    'Table',
]
