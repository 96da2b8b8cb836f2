"""Decodes image files into upright 8-bit sRGB, alpha on white, shrunk while decoding.

Hostile input is the normal case: header sizes are checked before a pixel is decoded, only formats
with a known decoder are tried, and every failure becomes an `UnusableFileError`.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from embedder.errors import UnusableFileError
from embedder.images.openers import (
    DecodeLimits,
    count_frames,
    detect_format,
    lacks_end_marker,
    open_image,
)

__all__ = [
    "DecodeLimits",
    "DecodedImage",
    "decode_frames",
    "decode_image",
    "read_file",
    "reduce_image",
    "to_upright_srgb",
]

LARGE_IMAGE_PIXELS = 40_000_000  # after the decoder's own shrinking
MAX_PROFILE_BYTES = 4 << 20  # bytes; printers' CMYK profiles reach 2 MB
PROFILE_COLOR_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # by mode
ORIENTATION_TAG = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

DEFAULT_LIMITS = DecodeLimits()
NO_END_MARKER = "its end marker is missing; the image is whole, but for the finest details at most"

_large_image_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        image: Upright RGB in sRGB; its shorter side is at least the `side` asked for, where the
            source is that large. Keeps the aspect ratio.
        width: Pixels of the upright original.
        height: Pixels of the upright original.
        format: A key of `formats.EXTENSIONS_BY_FORMAT`.
        frame_count: Frames of an animation or pages of a TIFF, otherwise 1.
        metadata: What `read_metadata` returned; None without it.
        note: What is wrong with a file that could be decoded all the same.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    frame_count: int
    metadata: Any = None
    note: str = ""


def read_file(path: str, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """Read a regular file; never block on a pipe or a device.

    Raises:
        UnusableFileError: It cannot be read, is not a regular file, is empty or too large.
    """
    try:
        # opening a socket, or a device without a driver, fails with ENXIO
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            size = _checked_size(os.fstat(descriptor), limits)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(size + 1)  # one more if the file has grown
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnusableFileError("unreadable", error.strerror or str(error)) from None
    if len(data) != size:
        raise UnusableFileError("unreadable", "it changed while being read; try again")
    return data


def decode_image(
    data: bytes,
    *,
    side: int,
    limits: DecodeLimits = DEFAULT_LIMITS,
    read_metadata: Callable[[Image.Image], Any] | None = None,
) -> DecodedImage:
    """Decode an image file, whatever its name is.

    Args:
        data: The bytes of the file.
        side: The shorter side in pixels that is enough: a larger image is reduced by a whole
            factor while its shorter side stays at least this.
        limits: Refuse images with more pixels.
        read_metadata: Called with the loaded Pillow image before it is converted.

    Raises:
        UnusableFileError: The only error, for anything that is wrong with the file.
    """
    format = detect_format(data)
    with _wrap_decode_errors(data, format):
        source = open_image(data, format, limits)
        width, height = source.size
        source.draft("RGB", (side, side))
        with _limit_large_decodes(source):
            source.load()
            metadata = read_metadata(source) if read_metadata else None
            image = to_upright_srgb(source, side)
        # Read after loading: Pillow rotates TIFF itself and drops the tag; so does libheif.
        if format == "tiff":
            width, height = source.size  # before, only what its tags say of rotation is known
        elif _read_orientation(source) >= 5:
            width, height = height, width
        return DecodedImage(
            image=image,
            width=width,
            height=height,
            format=format,
            frame_count=count_frames(source, data, format),
            metadata=metadata,
            note=NO_END_MARKER if format == "jpeg" and lacks_end_marker(data) else "",
        )


def decode_frames(data: bytes, count: int, *, side: int, limits: DecodeLimits) -> list[Image.Image]:
    """Decode up to `count` later frames of an animation, evenly spaced, without the first.

    Raises:
        UnusableFileError: As `decode_image`.
    """
    format = detect_format(data)
    with _wrap_decode_errors(data, format):
        source = open_image(data, format, limits)
        affordable = 10 * limits.max_pixels // (source.width * source.height)
        total = min(count_frames(source, data, format), max(affordable, 1))
        images = []
        for number in sorted({total * i // (count + 1) for i in range(1, count + 1)} - {0}):
            with _limit_large_decodes(source):
                source.seek(number)
                limits.check_pixels(source.size)
                source.load()
                images.append(to_upright_srgb(source, side))
        return images


def _limit_large_decodes(source: Image.Image) -> AbstractContextManager[object]:
    """Decode large images one at a time: each takes up to 15 bytes per pixel while decoding."""
    return _large_image_lock if source.width * source.height > LARGE_IMAGE_PIXELS else nullcontext()


def _checked_size(status: os.stat_result, limits: DecodeLimits) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFileError("not-a-regular-file", "a pipe, a socket, a folder or a device")
    if status.st_size == 0:
        raise UnusableFileError("empty", "0 bytes")
    if status.st_size > limits.max_bytes:
        size, limit = f"{status.st_size:,}", f"{limits.max_bytes:,}"
        message = f"{size} bytes; the limit is {limit}: raise it with --max-bytes"
        raise UnusableFileError("too-large", message)
    return status.st_size


def _read_orientation(source: Image.Image) -> int:
    try:
        value = source.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF is not a reason to refuse the image
        return 1
    return value if value in TRANSPOSE else 1


def to_upright_srgb(source: Image.Image, side: int) -> Image.Image:
    """Convert a Pillow image to upright sRGB, reduced as by `reduce_image`: always a new image."""
    source.load()
    image = reduce_image(_to_8_bit(source), side)
    if image.mode in {"RGBA", "LA"}:
        image = _flatten_on_white(image)
    profile = source.info.get("icc_profile")
    if profile and len(profile) <= MAX_PROFILE_BYTES and image.mode in PROFILE_COLOR_SPACES:
        transform = _build_transform(profile, image.mode)
        image = transform.apply(image) if transform else image
    image = image if image.mode == "RGB" else image.convert("RGB")
    orientation = _read_orientation(source)
    if orientation in TRANSPOSE:
        image = image.transpose(TRANSPOSE[orientation])
    elif image is source:
        image = image.copy()  # releases the decoder and the bytes of the file
    image.info = {}  # the profile and comments belong to the source
    return image


def reduce_image(image: Image.Image, side: int) -> Image.Image:
    """Reduce by a whole factor while the shorter side stays at least `side` pixels."""
    factor = min(image.size) // side
    return Image.Image.reduce(image, factor) if factor >= 2 else image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert any mode to one of L, LA, RGB, RGBA, CMYK."""
    mode = image.mode
    if mode.startswith("I;16"):
        return Image.fromarray(_scale_16_bit(np.asarray(image)))
    if mode in {"I", "F"}:
        return Image.fromarray(_scale_to_uint8(np.asarray(image)))
    if mode == "La":
        return image.convert("LA")
    if image.has_transparency_data and mode not in {"LA", "RGBA"}:
        return image.convert("RGBA")
    if mode in {"L", "LA", "RGB", "RGBA", "CMYK"}:
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _scale_16_bit(values: np.ndarray) -> np.ndarray:
    """Map 16-bit values to uint8. Those of cameras and scanners may have 10 or 12 bits."""
    high = int(values.max(initial=0))
    shift = next((bits - 8 for bits in (8, 10, 12) if high < 1 << bits), 8)
    return np.asarray(values >> shift).astype(np.uint8)


def _scale_to_uint8(values: np.ndarray) -> np.ndarray:
    """Map integers or floats of unknown range to uint8; usual ranges keep their black and white.

    Beyond 255, the range is that of 10, 12 or 16 bits if half of it is used, or else what all but
    the brightest values have.
    """
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        low = 0.0
        if high <= 255.0:
            high = 1.0 if high <= 1.0 else 255.0
        else:
            tops = (1023.0, 4095.0, 65535.0)
            whole = (top for top in tops if top / 2 < high <= top)
            high = next(whole, 0.0) or float(np.percentile(values, 99.5)) or high
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.asarray(np.rint(np.clip((values - low) * scale, 0.0, 255.0)), dtype=np.uint8)


def _flatten_on_white(image: Image.Image) -> Image.Image:
    color_mode = image.mode[:-1]
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(color_mode)
    background = Image.new(color_mode, image.size, "white")
    background.paste(image.convert(color_mode), mask=alpha)
    return background


@lru_cache(maxsize=32)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from `profile` to sRGB.

    None if the profile is damaged, not for `mode`, or changes next to nothing, which is measured on
    a cube of colors: sRGB has many names.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != PROFILE_COLOR_SPACES[mode]:
            return None
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB")
        cube = _build_color_cube(mode)
        after = np.asarray(transform.apply(cube), np.int16)
        change = np.abs(after - np.asarray(cube.convert("RGB"), np.int16)).max()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if change > 2 else None


def _build_color_cube(mode: str) -> Image.Image:
    """Make one row of pixels with every combination of 6 steps per channel."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    steps = np.array([0, 51, 102, 153, 204, 255], dtype=np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * bands, indexing="ij"), axis=-1).reshape(-1, bands)
    return Image.frombytes(mode, (len(grid), 1), grid.tobytes())


@contextmanager
def _wrap_decode_errors(data: bytes, format: str) -> Iterator[None]:
    """Turn whatever a decoder raises into `UnusableFileError`."""
    try:
        yield
    except UnusableFileError:
        raise
    except Image.DecompressionBombError as error:  # the limit of the program that calls
        raise UnusableFileError("too-many-pixels", f"Pillow refuses it: {error}") from None
    except MemoryError:
        raise UnusableFileError("too-many-pixels", "not enough memory to decode it") from None
    except Exception as error:
        reason = "truncated" if _is_truncated(error, data, format) else "corrupt"
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnusableFileError(reason, f"{format}: {message}") from None


def _is_truncated(error: Exception, data: bytes, format: str) -> bool:
    if format == "webp":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    message = str(error).lower()
    phrases = ("truncated", "end of file", "premature", "unexpected end", "not enough image data")
    return isinstance(error, EOFError) or any(phrase in message for phrase in phrases)
