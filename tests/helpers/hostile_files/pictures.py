"""Images and maps that are damaged, or far larger than their files."""

import os
import struct
import zlib

import numpy as np
from PIL import Image

from tests.helpers.hostile_files.case import Cases

PICTURES = Cases()
case = PICTURES.case


def png(width, height, rows=b'', depth=8, colour=0):
    """A png file of any announced size."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(rows)), chunk(b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def jpeg(path, width=16, height=16):
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(path, 'JPEG')
    content = bytearray(path.read_bytes())
    place = content.index(b'\xff\xc0') + 5
    content[place : place + 4] = struct.pack('>HH', height, width)
    return bytes(content)


@case('bomb_of_four_thousand_million_pixels.png')
def bomb(path):
    path.write_bytes(png(65_000, 65_000, bytes(1 << 16)))


@case('more_than_the_limit.png')
def more_than_the_limit(path):
    """Below OpenCV's limit of 2^30 pixels."""
    path.write_bytes(png(30_000, 30_000, bytes(1 << 16)))


@case('side_of_two_thousand_million.png')
def long_side(path):
    path.write_bytes(png(0x7FFFFFFF, 0x7FFFFFFF, bytes(16)))


@case('no_pixel.png')
def no_pixel(path):
    path.write_bytes(png(0, 0))


@case('no_rows.png')
def no_rows(path):
    path.write_bytes(png(16, 16)[:40])


@case('announces_more.jpg')
def announces_more(path):
    path.write_bytes(jpeg(path, 65_000, 65_000))


@case('empty.png')
def empty(path):
    path.touch()


@case('text.png')
def text(path):
    path.write_text('<svg onload="alert(1)"/>')


@case('pickle.png')
def pickle_inside(path):
    path.write_bytes(b'\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.')


@case('head_alone.jpg')
def head_alone(path):
    path.write_bytes(jpeg(path)[:8])


@case('folder.png')
def folder(path):
    path.mkdir()


@case('missing.png')
def missing(path):
    pass


@case('link_to_itself.png')
def link_to_itself(path):
    os.symlink(path.name, path)


@case('pipe.png')
def pipe(path):
    """Whoever opens it waits forever."""
    os.mkfifo(path)


@case('bomb.gif')
def bomb_gif(path):
    path.write_bytes(b'GIF89a' + struct.pack('<HH', 65_000, 65_000) + bytes(64))


@case('bomb.bmp')
def bomb_bmp(path):
    header = struct.pack('<IiiHHIIiiII', 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b'BM' + struct.pack('<IHHI', 54 + 64, 0, 0, 54) + header + bytes(64))


@case('bomb.tif')
def bomb_tif(path):
    """One strip of black pixels that is said to be the whole image."""
    fields = [(256, 4, 60_000), (257, 4, 60_000), (258, 3, 8), (259, 3, 1), (262, 3, 1),
              (273, 4, 8), (277, 3, 1), (278, 4, 60_000), (279, 4, 64)]  # fmt: skip
    entries = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in fields)
    head = b'II*\0' + struct.pack('<I', 8)
    path.write_bytes(head + struct.pack('<H', len(fields)) + entries + bytes(4 + 64))
