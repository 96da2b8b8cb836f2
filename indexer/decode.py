"""A file's bytes -> an upright sRGB picture, shrunk while decoding, and what is written in it.

Hostile input is the normal case: sizes are checked in the header before a pixel is decoded, only
formats with a decoder of their own are tried, and whatever goes wrong is an `Undecodable`.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
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

from indexer.colours import to_srgb
from indexer.frames import frame_count
from indexer.heif import open_heif
from indexer.kinds import RAW_ADVICE, SVG_ADVICE, is_svg, sniff
from indexer.metadata import Metadata, read_metadata
from indexer.skips import Reason, Undecodable

MAX_SCANS = 200  # of a progressive JPEG, whose decoding time grows with them; encoders write ~10
LARGE = 40_000_000  # pixels, after the decoder's own shrinking
ORIENTATION = 0x0112
DNG_VERSION = 50706

_one_large = threading.Lock()

Open = Callable[[BytesIO], ImageFile.ImageFile]

TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

warnings.filterwarnings("ignore", module=r"PIL\.")  # on damaged tags, and on large pictures
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the decoding threads are the caller's
# programs write XMP and workflows of several MB; all texts of a file stay under 64 MB
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest file, in bytes, and the largest picture, in pixels, that are decoded."""

    bytes: int = 200 << 20
    pixels: int = 150_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: upright sRGB, its shorter side >= `side` where the source allows it.

    `width` and `height` are those of the upright original; `image` keeps its aspect.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    frames: int
    metadata: Metadata


def read(path: str, limits: Limits = Limits()) -> bytes:
    """The bytes of a regular file. Never waits on a pipe or a device; raises `Undecodable`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        # opening a socket, or a device without a driver, fails with ENXIO
        raise Undecodable("unreadable", error.strerror or str(error)) from None
    try:
        size = _checked_size(os.fstat(file), limits)
        data = _read_exactly(file, size)
    except OSError as error:
        raise Undecodable("unreadable", error.strerror or str(error)) from None
    finally:
        os.close(file)
    if len(data) != size:
        raise Undecodable("unreadable", "it changed while being read; ingest again")
    return data


def decode(data: bytes, *, side: int, limits: Limits = Limits()) -> Picture:
    """Decode `data`, whatever its file is called; raises `Undecodable` and nothing else."""
    format = _format(data)
    with _explained(data, format, limits):
        source = _open(data, format, limits)
        size = source.size
        source.draft("RGB", (side, side))
        with _room(source):
            return _picture(source, data, format, side, size)


def frames(data: bytes, count: int, *, side: int, limits: Limits) -> list[Image.Image]:
    """Up to `count` later frames of an animation, evenly spaced; the first is `decode`'s."""
    format = _format(data)
    with _explained(data, format, limits):
        source = _open(data, format, limits)
        affordable = 10 * limits.pixels // (source.width * source.height)
        total = min(frame_count(source, data, format), max(affordable, 1))
        wanted = sorted({total * i // (count + 1) for i in range(1, count + 1)} - {0})
        found = []
        for number in wanted:
            with _room(source):
                source.seek(number)
                source.load()
                found.append(_finish(source, side, _orientation(source)))
        return found


def _picture(
    source: ImageFile.ImageFile, data: bytes, format: str, side: int, size: tuple[int, int]
) -> Picture:
    source.load()
    metadata = read_metadata(source)
    # asked after loading: Pillow turns TIFF by itself, then forgets the tag; libheif as well
    orientation = _orientation(source)
    image = _finish(source, side, orientation)
    width, height = size if orientation < 5 else size[::-1]
    return Picture(image, width, height, format, frame_count(source, data, format), metadata)


def _room(source: Image.Image) -> AbstractContextManager[object]:
    """Large pictures are decoded one at a time: each takes up to 15 bytes a pixel meanwhile."""
    return _one_large if source.width * source.height > LARGE else nullcontext()


def _checked_size(status: os.stat_result, limits: Limits) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise Undecodable("not-a-regular-file", "a pipe, a socket, a folder or a device")
    if status.st_size == 0:
        raise Undecodable("empty", "0 bytes")
    if status.st_size > limits.bytes:
        raise Undecodable(
            "too-large",
            f"{status.st_size:,} bytes; the limit is {limits.bytes:,}: raise it with --max-bytes",
        )
    return status.st_size


def _read_exactly(file: int, size: int) -> bytes:
    """`size` bytes, one more where the file has grown, fewer where it has shrunk."""
    data = os.read(file, size + 1)
    while len(data) < size:  # a signal, or more than 2 GB
        more = os.read(file, size + 1 - len(data))
        if not more:
            break
        data += more
    return data


def _format(data: bytes) -> str:
    """The picture format that the content tells; raises `Undecodable`."""
    if not data:
        raise Undecodable("empty", "0 bytes")
    found = sniff(data[:64])
    if found == "raw":
        raise Undecodable("unsupported", RAW_ADVICE)
    if found:
        return found
    if is_svg(data):
        raise Undecodable("unsupported", SVG_ADVICE)
    if _may_be_tga(data):
        return "tga"
    raise Undecodable("corrupt", "its content is in no picture format that is known")


def _may_be_tga(data: bytes) -> bool:
    """TGA has no magic at its beginning: a footer, or else a header that makes sense."""
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


# called directly: Image.open would try other formats as well
OPENERS: dict[str, Open] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "heic": open_heif,
    "avif": AvifImagePlugin.AvifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ico": IcoImagePlugin.IcoImageFile,
    "ppm": PpmImagePlugin.PpmImageFile,
    "tga": TgaImagePlugin.TgaImageFile,
    "qoi": QoiImagePlugin.QoiImageFile,
}


def _open(data: bytes, format: str, limits: Limits) -> ImageFile.ImageFile:
    """The file's header, checked; no pixel is decoded yet."""
    # Pillow refuses twice that, also in pictures inside of pictures (an icon's PNG)
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2
    source = OPENERS[format](BytesIO(data))
    if min(source.size) < 1:
        raise Undecodable("corrupt", "its header says that it has no pixels")
    if source.width * source.height > limits.pixels:
        raise Undecodable(
            "too-many-pixels",
            f"{source.width} x {source.height} pixels; the limit is {limits.pixels:,}: "
            "raise it with --max-pixels",
        )
    if format == "jpeg":
        if source.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
            raise Undecodable("corrupt", f"a progressive JPEG of more than {MAX_SCANS} scans")
        source.decodermaxblock = len(data)  # one piece, not 64 KB at a time
    if format == "tiff" and DNG_VERSION in getattr(source, "tag_v2", ()):
        raise Undecodable("unsupported", RAW_ADVICE)
    return source


def _orientation(source: Image.Image) -> int:
    try:
        value = source.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1
    return value if value in TRANSPOSE else 1


def _finish(source: Image.Image, side: int, orientation: int) -> Image.Image:
    """Shrink, bring to sRGB, turn upright; the pixels are copied only where that changes them."""
    image = to_srgb(source, side)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    elif isinstance(image, ImageFile.ImageFile):
        image = image.copy()  # lets go of the decoder and of the file's bytes
    image.info = {}  # its profile and comments are the source's
    return image


@contextmanager
def _explained(data: bytes, format: str, limits: Limits) -> Iterator[None]:
    """Whatever a decoder throws becomes an `Undecodable`."""
    try:
        yield
    except Undecodable:
        raise
    except Image.DecompressionBombError:
        raise Undecodable(
            "too-many-pixels",
            f"it, or a picture inside of it, has more than {limits.pixels:,} pixels: "
            "raise the limit with --max-pixels",
        ) from None
    except MemoryError:
        raise Undecodable("too-many-pixels", "too little memory to decode it") from None
    except Exception as error:
        reason: Reason = "truncated" if _ends_early(error, data, format) else "corrupt"
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise Undecodable(reason, f"{format}: {said}") from None


def _ends_early(error: Exception, data: bytes, format: str) -> bool:
    if format == "webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    said = str(error).lower()
    signs = ("truncated", "end of file", "premature", "unexpected end", "not enough image data")
    return isinstance(error, EOFError) or any(sign in said for sign in signs)
