"""Reads image headers: one Pillow class per format, with size checks before decoding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from embedder.errors import UnusableFileError
from embedder.images.declared_sizes import MAX_FRAMES, find_declared_sizes, find_frame_sizes
from embedder.images.formats import RAW_ADVICE, SVG_ADVICE, is_svg, sniff_format
from embedder.images.png_text import unpack_long_chunks

MAX_SCANS = 200  # of a progressive JPEG: decoding time grows with them, encoders write about 10
END_MARKER, SCAN_PATTERN = b"\xff\xd9", re.compile(rb"\xff\xda")  # of a JPEG
MARKER_PATTERN = re.compile(rb"\xff+[^\x00\x01\xd0-\xd8\xff]")  # those that end a scan
END_PADDING = 8  # bytes in place of a JPEG's end marker: a decoder reads 64 bits ahead
DNG_VERSION_TAG = 50706


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """The largest file, in bytes, and the largest image, in pixels, to decode."""

    max_bytes: int = 200 << 20
    max_pixels: int = 150_000_000

    def check_pixels(self, size: tuple[int, int]) -> None:
        """Raise `UnusableFileError` for an image of `size` (width, height) over the limit."""
        if size[0] * size[1] > self.max_pixels:
            raise UnusableFileError(
                "too-many-pixels",
                f"{size[0]} x {size[1]} pixels; the limit is {self.max_pixels:,}: "
                "raise it with --max-pixels",
            )


def detect_format(data: bytes) -> str:
    """Return the image format of `data`; raise `UnusableFileError` if it has none."""
    if not data:
        raise UnusableFileError("empty", "0 bytes")
    format = sniff_format(data[:64])
    if format == "raw":
        raise UnusableFileError("unsupported", RAW_ADVICE)
    if format:
        return format
    if is_svg(data):
        raise UnusableFileError("unsupported", SVG_ADVICE)
    if _is_tga(data):
        return "tga"
    raise UnusableFileError("corrupt", "its content is not in a known image format")


def open_image(data: bytes, format: str, limits: DecodeLimits) -> ImageFile.ImageFile:
    """Read the header of `data` and check it before any pixel is decoded."""
    for size in find_declared_sizes(data, format):
        limits.check_pixels(size)
    profile = None
    if format == "jpeg" and lacks_end_marker(data):
        # a decoder waits for bytes after the last pixels; of several scans, for the marker
        data += END_MARKER if _has_begun_last_scan(data) else bytes(END_PADDING)
    if format == "png":
        data, profile = unpack_long_chunks(data)
    source = OPENERS[format](BytesIO(data))
    if profile is not None:
        source.info["icc_profile"] = profile
    if min(source.size) < 1:
        raise UnusableFileError("corrupt", "its header says that it has no pixels")
    limits.check_pixels(source.size)
    if format == "jpeg":
        if source.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
            raise UnusableFileError("corrupt", f"a progressive JPEG of more than {MAX_SCANS} scans")
        source.decodermaxblock = len(data)  # all at once, not 64 KB at a time
    if format == "tiff" and DNG_VERSION_TAG in getattr(source, "tag_v2", ()):
        raise UnusableFileError("unsupported", RAW_ADVICE)
    return source


def lacks_end_marker(data: bytes) -> bool:
    """Whether a JPEG has no end marker after its last scan; its pixels may all be there.

    What follows the end marker, as the film of a motion photo, is not looked at.
    """
    match, has_scan = MARKER_PATTERN.search(data, 2), False
    while match:
        marker = match[0][-1]
        if marker == END_MARKER[1]:
            return False
        has_scan |= marker == 0xDA
        size = int.from_bytes(data[match.end() : match.end() + 2], "big")
        match = MARKER_PATTERN.search(data, match.end() + max(size, 2))
    return has_scan


def _has_begun_last_scan(data: bytes) -> bool:
    """Whether it is a progressive JPEG whose scans give every coefficient in full, the last of them
    perhaps not to its end: that refines some details (ITU-T T.81, B.2.3 and G.1.1)."""
    start = data.rfind(b"\xff\xc2")  # the frame; a thumbnail comes before it
    if start < 0:
        return False
    try:
        count = data[start + 9]
        missing = {data[start + 10 + 3 * i]: set(range(64)) for i in range(count)}
        for match in SCAN_PATTERN.finditer(data, start):
            size = data[match.end() + 2]
            components = data[match.end() + 3 : match.end() + 3 + 2 * size : 2]
            first, last, bits = data[match.end() + 3 + 2 * size : match.end() + 6 + 2 * size]
            for component in components if not bits & 15 else b"":
                missing[component] -= set(range(first, last + 1))
    except (IndexError, KeyError, ValueError):
        return False
    return not any(missing.values())


def count_frames(source: ImageFile.ImageFile, data: bytes, format: str) -> int:
    """Count the frames of an animation or the pages of a TIFF, up to `MAX_FRAMES`.

    Nothing is decoded.
    """
    if format == "gif":
        return max(sum(1 for _ in find_frame_sizes(data)), 1)
    if format == "tiff":
        return _count_tiff_pages(data)
    if format in {"png", "webp", "avif"}:
        return min(int(getattr(source, "n_frames", 1)), MAX_FRAMES)
    return 1


def _open_heif(file: BytesIO) -> ImageFile.ImageFile:
    from pi_heif.as_plugin import HeifImageFile

    _check_heif_items(file.getbuffer().tobytes())
    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


# Called directly: Image.open would try other formats too.
OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "heic": _open_heif,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ico": IcoImagePlugin.IcoImageFile,
    "ppm": PpmImagePlugin.PpmImageFile,
    "tga": TgaImagePlugin.TgaImageFile,
    "qoi": QoiImagePlugin.QoiImageFile,
}


def _is_tga(data: bytes) -> bool:
    """TGA has no magic number: it has a footer, or else a plausible header."""
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return True
    return (
        len(data) > 18
        and data[1] <= 1
        and data[2] in {1, 2, 3, 9, 10, 11}
        and data[16] in {8, 16, 24, 32}
        and data[17] & 0xC0 == 0
        and data[12:14] != b"\0\0" != data[14:16]
    )


def _check_heif_items(data: bytes) -> None:
    """Raise `ValueError` if an item's type or name is not text.

    pi-heif 1.4 makes a str of them without checking, and the process crashes
    (ISO 14496-12, 8.11.6: the item info box).
    """
    at = data.find(b"infe")
    while at >= 0:
        size = int.from_bytes(data[at - 4 : at], "big") if at >= 4 else 0
        texts = at + (14 if data[at + 4 : at + 5] == b"\3" else 12)
        data[texts : at - 4 + size].decode("utf-8")
        at = data.find(b"infe", at + 4)


def _count_tiff_pages(data: bytes) -> int:
    """Follow a TIFF's linked list of pages, up to `MAX_FRAMES`."""
    source, count = TiffImagePlugin.TiffImageFile(BytesIO(data)), 1
    try:
        while count < MAX_FRAMES:
            source.seek(count)
            count += 1
    except Exception:  # EOFError at the end, anything for a damaged page
        return count
    return count
