"""How many frames a picture file has, counted without decoding them and within bounds."""

from __future__ import annotations

from io import BytesIO

from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

MAX_FRAMES = 1000


def count_frames(source: ImageFile, data: bytes, format: str) -> int:
    """The frames of an animation, the pages of a TIFF; `MAX_FRAMES` stands for any more."""
    if format == "gif":
        return _count_gif_frames(data)
    if format == "tiff":
        return _count_tiff_pages(data)
    if format in {"png", "webp", "avif"}:
        return min(int(getattr(source, "n_frames", 1)), MAX_FRAMES)
    return 1


def _count_gif_frames(data: bytes) -> int:
    """Count a GIF's image descriptors, as far as its blocks can be followed."""
    count, at = 0, 13 + _color_table_size(data[10])
    try:
        while count < MAX_FRAMES and data[at] in b"\x21\x2c":
            if data[at] == 0x2C:
                count += 1
                at += 11 + _color_table_size(data[at + 9])
            else:
                at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        pass  # it ends early; what was counted is there
    return max(count, 1)


def _color_table_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _count_tiff_pages(data: bytes) -> int:
    """Count a TIFF's pages, which are a linked list, up to `MAX_FRAMES`."""
    source, count = TiffImageFile(BytesIO(data)), 1
    try:
        while count < MAX_FRAMES:
            source.seek(count)
            count += 1
    except Exception:  # EOFError at the end, anything in a damaged page
        return count
    return count
