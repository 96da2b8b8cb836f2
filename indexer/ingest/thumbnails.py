"""Thumbnails: small JPEGs in a cache on disk, which can be rebuilt from the files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL.Image import Image, Resampling
from PIL.Image import open as open_image

from embedder.files import PRIVATE, make_private_dir, replace_file
from embedder.images.decode import DecodeLimits, decode_image
from indexer.errors import UnusableFileError
from indexer.search.image_signature import SIDE, compute_signature
from indexer.sources import find_original

MAX_SIDE = 448  # pixels of the longer side
MIN_SIDE = 320  # below this, a thumbnail looks poor
JPEG_QUALITY = 80
DECODE_SIDE = 300  # pixels of the shorter side that the decoder gives for a rebuilt thumbnail


def thumbnail_path(root: Path, id: str) -> Path:
    """The path of the thumbnail of point `id`, in one of 256 folders."""
    return root / id[:2] / f"{id}.jpg"


def is_thumbnail(path: Path) -> bool:
    """Whether a thumbnail is at `path`, without reading it. They are not synced: a power cut leaves
    empty files."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def read_thumbnail(path: Path) -> bytes | None:
    """The bytes of a thumbnail; None where it is missing, a link, cut off or something else."""
    try:
        data = b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
    return data if data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9") else None


def encode_thumbnail(image: Image) -> bytes:
    """The thumbnail of `image` (RGB, upright) as the bytes of a JPEG."""
    buffer = BytesIO()
    _shrink(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def write_thumbnail(root: Path, id: str, data: bytes) -> None:
    """Write a thumbnail atomically, so that no reader sees half of it.

    The folder that contains `root` must exist: that of a collection that was moved is not made
    again.
    """
    path = thumbnail_path(root, id)
    for folder in (root, path.parent):
        make_private_dir(folder, parents=False)
    # unfinished ones are all in one folder, where those of killed processes are soon found
    with replace_file(path, mode=PRIVATE, part_dir=root, sync=False) as file:
        file.write(data)


def sign_thumbnail(root: Path, id: str) -> str | None:
    """The signature of point `id` from its thumbnail; None where there is none to be read."""
    try:
        with open_image(thumbnail_path(root, id)) as image:
            image.draft("RGB", (SIDE, SIDE))  # decodes an eighth of it
            return compute_signature(image.convert("RGB"))
    except (OSError, ValueError):
        return None


def ensure_thumbnail(
    root: Path,
    id: str,
    paths: Sequence[str],
    limits: DecodeLimits = DecodeLimits(),  # noqa: B008
    roots: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> bytes | None:
    """The thumbnail of an image, rebuilt from one of its files where it is missing or damaged.

    It is kept, except where the disk is full or read-only.

    Args:
        root: The folder of the thumbnails.
        id: The point of the image.
        paths: The paths in its payload.
        limits: The largest file and image that are decoded.
        roots: The roots of the collection; nothing outside them is read.
        hosts: Hosts that the rows of tables and lists may point to.

    Returns:
        The bytes of a JPEG; None where no file holds the image any more.
    """
    thumbnail = read_thumbnail(thumbnail_path(root, id))
    if thumbnail is not None:
        return thumbnail
    data = find_original(id, paths, roots, limits, hosts)
    if data is None:
        return None
    try:
        image = decode_image(data, side=DECODE_SIDE, limits=limits).image
    except (UnusableFileError, OSError):
        return None
    thumbnail = encode_thumbnail(image)
    with suppress(OSError):  # a read-only or full disk
        make_private_dir(root)
        write_thumbnail(root, id, thumbnail)
    return thumbnail


def _shrink(image: Image) -> Image:
    """`image` with a longer side of at most `MAX_SIDE`; by a whole factor if one fits."""
    longer = max(image.size)
    factor = -(-longer // MAX_SIDE)
    if factor == 1:
        return image
    if longer // factor >= MIN_SIDE:
        return image.reduce(factor)
    width, height = (max(1, round(side * MAX_SIDE / longer)) for side in image.size)
    return image.resize((width, height), Resampling.BILINEAR)
