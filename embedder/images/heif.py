"""HEIC through pi-heif, with a check that its binding lacks."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def open_heif(file: BytesIO) -> ImageFile:
    """Read the header of a HEIC file; the picture is decoded, and turned, by `load()`."""
    import pi_heif
    from pi_heif.as_plugin import HeifImageFile

    options = pi_heif.options
    options.DECODE_THREADS = 1  # the decoding threads are the caller's
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    _validate_item_info(file.getbuffer().tobytes())
    image: ImageFile = HeifImageFile(file)
    return image


def _validate_item_info(data: bytes) -> None:
    """Raise `ValueError` where an item's type or name is no text.

    pi-heif 1.4 makes a str of them without asking whether that worked, and the process dies
    (ISO 14496-12, 8.11.6: the item info box).
    """
    at = data.find(b"infe")
    while at >= 0:
        size = int.from_bytes(data[at - 4 : at], "big") if at >= 4 else 0
        texts = at + (14 if data[at + 4 : at + 5] == b"\3" else 12)
        data[texts : at - 4 + size].decode("utf-8")
        at = data.find(b"infe", at + 4)
