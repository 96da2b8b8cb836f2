"""Converts every pixel format that a decoder may return to 8-bit sRGB, alpha on white."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 << 20  # bytes; printers' CMYK profiles reach 2 MB
PROFILE_COLOR_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # by mode


def convert_to_srgb(image: Image.Image, side: int) -> Image.Image:
    """Convert `image` to RGB in sRGB, reduced as by `reduce_image`."""
    profile = image.info.get("icc_profile")
    image = reduce_image(_to_8_bit(image), side)
    if image.mode in {"RGBA", "LA"}:
        image = _flatten_on_white(image)
    if profile and len(profile) <= MAX_PROFILE_BYTES and image.mode in PROFILE_COLOR_SPACES:
        transform = _build_transform(profile, image.mode)
        image = transform.apply(image) if transform else image
    return image if image.mode == "RGB" else image.convert("RGB")


def reduce_image(image: Image.Image, side: int) -> Image.Image:
    """Reduce by a whole factor while the shorter side stays at least `side` pixels."""
    factor = min(image.size) // side
    return Image.Image.reduce(image, factor) if factor >= 2 else image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert any mode to one of L, LA, RGB, RGBA, CMYK."""
    mode = image.mode
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if mode in {"I", "F"}:
        return Image.fromarray(_scale_to_uint8(np.asarray(image)))
    if mode == "La":
        return image.convert("LA")
    if image.has_transparency_data and mode not in {"LA", "RGBA"}:
        return image.convert("RGBA")
    if mode in {"L", "LA", "RGB", "RGBA", "CMYK"}:
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _scale_to_uint8(values: np.ndarray) -> np.ndarray:
    """Map integers or floats of unknown range to uint8; 0-1, 0-255 and 0-65535 keep their black."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        low, tops = 0.0, (1.0, 255.0, 65535.0)
        high = next((top for top in tops if high <= top), high)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.asarray(np.rint((values - low) * scale), dtype=np.uint8)


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
