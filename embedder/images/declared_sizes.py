"""Sizes that a file declares beside the one in its header, checked before a decoder allocates.

Pillow decodes the image inside an icon, and allocates the canvas of a WebP and the frames of a GIF,
while it opens the file. Its own limit, `Image.MAX_IMAGE_PIXELS`, belongs to the host program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BytesIO

from PIL import BmpImagePlugin, IcoImagePlugin, PngImagePlugin

Size = tuple[int, int]

MAX_FRAMES = 1000
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
VP8_MAGIC = b"\x9d\x01\x2a"
GIF_BLOCK_PATTERN = re.compile(rb"[!,;]")  # an extension, an image, the end; Pillow skips the rest


def find_declared_sizes(data: bytes, format: str) -> Iterator[Size]:
    """Yield the sizes (width, height) in pixels of what a decoder allocates when it opens `data`.

    A damaged file may raise any error: then it cannot be decoded either.
    """
    find = FINDERS.get(format)
    return find(data) if find else iter(())


def find_frame_sizes(data: bytes) -> Iterator[Size]:
    """Yield how far each frame of a GIF reaches on its canvas, up to `MAX_FRAMES`."""
    at, count = 13 + _color_table_size(data[10]), 0
    try:
        while count < MAX_FRAMES and (block := GIF_BLOCK_PATTERN.search(data, at)):
            at = block.start()
            if data[at] == ord(";"):
                return
            if data[at] == ord(","):
                left, top, width, height = (_read_uint(data, at + i, 2) for i in (1, 3, 5, 7))
                flags = data[at + 9]
                yield left + width, top + height
                count += 1
                at += 11 + _color_table_size(flags)
            else:
                at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        return  # truncated: what was found is there


def _find_icon_sizes(data: bytes) -> Iterator[Size]:
    """The image that Pillow decodes is the first; its own header tells its size."""
    entry = IcoImagePlugin.IcoFile(BytesIO(data)).entry[0]
    file = BytesIO(data)
    file.seek(entry.offset)
    is_png = data[entry.offset : entry.offset + len(PNG_MAGIC)] == PNG_MAGIC
    yield (PngImagePlugin.PngImageFile if is_png else BmpImagePlugin.DibImageFile)(file).size


def _find_canvas_size(data: bytes) -> Iterator[Size]:
    """https://developers.google.com/speed/webp/docs/riff_container"""
    kind = data[12:16]
    if kind == b"VP8X":
        yield _read_uint(data, 24, 3) + 1, _read_uint(data, 27, 3) + 1
    elif kind == b"VP8L":
        bits = _read_uint(data, 21, 4)
        yield (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == VP8_MAGIC:
        yield _read_uint(data, 26, 2) & 0x3FFF, _read_uint(data, 28, 2) & 0x3FFF


FINDERS: dict[str, Callable[[bytes], Iterator[Size]]] = {
    "gif": find_frame_sizes,
    "ico": _find_icon_sizes,
    "webp": _find_canvas_size,
}


def _read_uint(data: bytes, at: int, length: int) -> int:
    """Read a little-endian number; raises `IndexError` at the end of the data."""
    if at + length > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + length], "little")


def _color_table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
