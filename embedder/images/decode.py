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

from embedder.images.animation import count_frames
from embedder.images.color import convert_to_srgb
from embedder.images.formats import RAW_ADVICE, SVG_ADVICE, is_svg, sniff_format
from embedder.images.heif import open_heif
from indexer.captions.embedded import EmbeddedMetadata, read_embedded_metadata
from indexer.skip_reasons import SkipReason, UnusableFileError

MAX_SCANS = 200  # of a progressive JPEG, whose decoding time grows with them; encoders write ~10
LARGE_IMAGE_PIXELS = 40_000_000  # pixels, after the decoder's own shrinking
ORIENTATION_TAG = 0x0112
DNG_VERSION_TAG = 50706

_large_image_lock = threading.Lock()

Opener = Callable[[BytesIO], ImageFile.ImageFile]

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
class DecodeLimits:
    """The largest file, in bytes, and the largest picture, in pixels, that are decoded."""

    max_bytes: int = 200 << 20
    max_pixels: int = 150_000_000


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded picture: upright sRGB, its shorter side >= `side` where the source allows it.

    `width` and `height` are those of the upright original; `image` keeps its aspect.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    frame_count: int
    metadata: EmbeddedMetadata


def read_file(path: str, limits: DecodeLimits = DecodeLimits()) -> bytes:
    """The bytes of a regular file. Never waits on a pipe or a device; raises `Undecodable`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        # opening a socket, or a device without a driver, fails with ENXIO
        raise UnusableFileError("unreadable", error.strerror or str(error)) from None
    try:
        size = _checked_size(os.fstat(file), limits)
        data = _read_exactly(file, size)
    except OSError as error:
        raise UnusableFileError("unreadable", error.strerror or str(error)) from None
    finally:
        os.close(file)
    if len(data) != size:
        raise UnusableFileError("unreadable", "it changed while being read; ingest again")
    return data


def decode_image(data: bytes, *, side: int, limits: DecodeLimits = DecodeLimits()) -> DecodedImage:
    """Decode `data`, whatever its file is called; raises `Undecodable` and nothing else."""
    format = _detect_format(data)
    with _wrap_decode_errors(data, format, limits):
        source = _open_image(data, format, limits)
        size = source.size
        source.draft("RGB", (side, side))
        with _limit_large_decodes(source):
            return _build_image(source, data, format, side, size)


def decode_frames(data: bytes, count: int, *, side: int, limits: DecodeLimits) -> list[Image.Image]:
    """Up to `count` later frames of an animation, evenly spaced; the first is `decode`'s."""
    format = _detect_format(data)
    with _wrap_decode_errors(data, format, limits):
        source = _open_image(data, format, limits)
        affordable = 10 * limits.max_pixels // (source.width * source.height)
        total = min(count_frames(source, data, format), max(affordable, 1))
        wanted = sorted({total * i // (count + 1) for i in range(1, count + 1)} - {0})
        found = []
        for number in wanted:
            with _limit_large_decodes(source):
                source.seek(number)
                source.load()
                found.append(_to_upright_srgb(source, side, _read_orientation(source)))
        return found


def _build_image(
    source: ImageFile.ImageFile, data: bytes, format: str, side: int, size: tuple[int, int]
) -> DecodedImage:
    source.load()
    metadata = read_embedded_metadata(source)
    # asked after loading: Pillow turns TIFF by itself, then forgets the tag; libheif as well
    orientation = _read_orientation(source)
    image = _to_upright_srgb(source, side, orientation)
    width, height = size if orientation < 5 else size[::-1]
    return DecodedImage(image, width, height, format, count_frames(source, data, format), metadata)


def _limit_large_decodes(source: Image.Image) -> AbstractContextManager[object]:
    """Large pictures are decoded one at a time: each takes up to 15 bytes a pixel meanwhile."""
    return _large_image_lock if source.width * source.height > LARGE_IMAGE_PIXELS else nullcontext()


def _checked_size(status: os.stat_result, limits: DecodeLimits) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFileError("not-a-regular-file", "a pipe, a socket, a folder or a device")
    if status.st_size == 0:
        raise UnusableFileError("empty", "0 bytes")
    if status.st_size > limits.max_bytes:
        raise UnusableFileError(
            "too-large",
            f"{status.st_size:,} bytes; the limit is {limits.max_bytes:,}: raise it with --max-bytes",
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


def _detect_format(data: bytes) -> str:
    """The picture format that the content tells; raises `Undecodable`."""
    if not data:
        raise UnusableFileError("empty", "0 bytes")
    found = sniff_format(data[:64])
    if found == "raw":
        raise UnusableFileError("unsupported", RAW_ADVICE)
    if found:
        return found
    if is_svg(data):
        raise UnusableFileError("unsupported", SVG_ADVICE)
    if _is_tga(data):
        return "tga"
    raise UnusableFileError("corrupt", "its content is in no picture format that is known")


def _is_tga(data: bytes) -> bool:
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
OPENERS: dict[str, Opener] = {
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


def _open_image(data: bytes, format: str, limits: DecodeLimits) -> ImageFile.ImageFile:
    """The file's header, checked; no pixel is decoded yet."""
    # Pillow refuses twice that, also in pictures inside of pictures (an icon's PNG)
    Image.MAX_IMAGE_PIXELS = limits.max_pixels // 2
    source = OPENERS[format](BytesIO(data))
    if min(source.size) < 1:
        raise UnusableFileError("corrupt", "its header says that it has no pixels")
    if source.width * source.height > limits.max_pixels:
        raise UnusableFileError(
            "too-many-pixels",
            f"{source.width} x {source.height} pixels; the limit is {limits.max_pixels:,}: "
            "raise it with --max-pixels",
        )
    if format == "jpeg":
        if source.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
            raise UnusableFileError("corrupt", f"a progressive JPEG of more than {MAX_SCANS} scans")
        source.decodermaxblock = len(data)  # one piece, not 64 KB at a time
    if format == "tiff" and DNG_VERSION_TAG in getattr(source, "tag_v2", ()):
        raise UnusableFileError("unsupported", RAW_ADVICE)
    return source


def _read_orientation(source: Image.Image) -> int:
    try:
        value = source.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1
    return value if value in TRANSPOSE else 1


def _to_upright_srgb(source: Image.Image, side: int, orientation: int) -> Image.Image:
    """Shrink, bring to sRGB, turn upright; the pixels are copied only where that changes them."""
    image = convert_to_srgb(source, side)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    elif isinstance(image, ImageFile.ImageFile):
        image = image.copy()  # lets go of the decoder and of the file's bytes
    image.info = {}  # its profile and comments are the source's
    return image


@contextmanager
def _wrap_decode_errors(data: bytes, format: str, limits: DecodeLimits) -> Iterator[None]:
    """Whatever a decoder throws becomes an `Undecodable`."""
    try:
        yield
    except UnusableFileError:
        raise
    except Image.DecompressionBombError:
        raise UnusableFileError(
            "too-many-pixels",
            f"it, or a picture inside of it, has more than {limits.max_pixels:,} pixels: "
            "raise the limit with --max-pixels",
        ) from None
    except MemoryError:
        raise UnusableFileError("too-many-pixels", "too little memory to decode it") from None
    except Exception as error:
        reason: SkipReason = "truncated" if _is_truncated(error, data, format) else "corrupt"
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnusableFileError(reason, f"{format}: {message}") from None


def _is_truncated(error: Exception, data: bytes, format: str) -> bool:
    if format == "webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    message = str(error).lower()
    phrases = ("truncated", "end of file", "premature", "unexpected end", "not enough image data")
    return isinstance(error, EOFError) or any(phrase in message for phrase in phrases)
