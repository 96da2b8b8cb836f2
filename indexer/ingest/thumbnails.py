"""Small JPEGs of the pictures, in a cache on disk that can be remade from the files."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Resampling

from embedder.images.decode import DecodeLimits, decode_image
from indexer.ids import hash_content, make_point_ids
from indexer.skip_reasons import UnusableFileError
from indexer.sources import read_original

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 448  # pixels
MIN_SIDE = 320  # a longer side of less would look poor
JPEG_QUALITY = 80
DECODE_SIDE = 300  # asked of the decoder where a thumbnail is remade


def thumbnail_path(root: Path, id: str) -> Path:
    """Where the thumbnail of point `id` lies: 256 folders share the load."""
    return root / id[:2] / f"{id}.jpg"


def write_thumbnail(root: Path, id: str, image: Image) -> None:
    """Write the thumbnail of `image` (RGB, upright)."""
    write_thumbnail_bytes(root, id, encode_thumbnail(image))


def encode_thumbnail(image: Image) -> bytes:
    """The thumbnail of `image` (RGB, upright) as the bytes of a JPEG."""
    buffer = BytesIO()
    _shrink(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_thumbnail_bytes(root: Path, id: str, data: bytes) -> None:
    """Write a thumbnail in one step, so that no reader sees half."""
    path = thumbnail_path(root, id)
    fresh = path.with_name(f".{id}.{os.getpid()}.{threading.get_ident()}")
    try:
        fresh.write_bytes(data)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
    fresh.replace(path)


def ensure_thumbnail(
    root: Path,
    id: str,
    paths: Sequence[str],
    limits: DecodeLimits = DecodeLimits(),  # noqa: B008
    roots: Sequence[str] = (),
) -> Path | None:
    """The thumbnail of picture `id`, remade from one of its `paths` where it is missing.

    `roots` are the collection's, for pictures that are at URLs, in archives or in tables.

    None where no file of those still holds that picture.
    """
    path = thumbnail_path(root, id)
    if path.exists():
        return path
    for source in paths:
        try:
            data = read_original(roots, source, limits)
            if make_point_ids(hash_content(data)) != [id]:
                continue  # the file has changed since
            write_thumbnail(root, id, decode_image(data, side=DECODE_SIDE, limits=limits).image)
        except (UnusableFileError, OSError):
            continue
        return path
    return None


def _shrink(image: Image) -> Image:
    """`image` with a longer side of at most 448: a whole factor, the quickest, where one fits."""
    longer = max(image.size)
    factor = -(-longer // MAX_SIDE)
    if factor == 1:
        return image
    if longer // factor >= MIN_SIDE:
        return image.reduce(factor)
    width, height = (max(1, round(side * MAX_SIDE / longer)) for side in image.size)
    return image.resize((width, height), Resampling.BILINEAR)
