"""Pictures that somebody searches with, kept for a while so that a link can name them."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from app.services import get_settings, summarize_collections
from embedder.images.decode import DecodeLimits, decode_image
from indexer.errors import QueryError
from indexer.ids import hash_content
from indexer.search.query_syntax import DEFAULT_IMAGE_SIDE
from indexer.skip_reasons import UnusableFileError

MAX_TOTAL_BYTES = 200 << 20  # kept in all; the oldest go first
NAME_PATTERN = re.compile(r"[0-9a-f]{32}")


def save_upload(data: bytes) -> str:
    """Keep the picture in `data`, as small as the models of the collections let it be; returns its
    name. Raises `QueryError`."""
    limits = DecodeLimits(get_settings().max_bytes, get_settings().max_pixels)
    side = max(
        (found.card.image_side for found in summarize_collections()), default=DEFAULT_IMAGE_SIDE
    )
    try:
        image = decode_image(data, side=side, limits=limits).image
    except UnusableFileError as error:
        raise QueryError(f"This file cannot be searched with: {error.detail}") from error
    name = hash_content(data)[:32]
    path = _upload_dir() / f"{name}.png"
    if not path.exists():
        buffer = BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        path.write_bytes(buffer.getvalue())
        _delete_oldest()
    return name


def find_upload(name: str) -> Path | None:
    """Where the picture called `name` is kept, or None."""
    path = _upload_dir() / f"{name}.png"
    return path if NAME_PATTERN.fullmatch(name) and path.is_file() else None


def open_upload(name: str) -> Image.Image:
    """The picture called `name`; raises `QueryError` where it is kept no longer."""
    path = find_upload(name)
    if path is None:
        raise QueryError("The picture of this search is kept no longer; drop it in again.")
    with Image.open(path) as image:
        return image.convert("RGB")


def _upload_dir() -> Path:
    folder = get_settings().local_folder / ".queries"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _delete_oldest() -> None:
    uploads = sorted(_upload_dir().glob("*.png"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in uploads:
        total += path.stat().st_size
        if total > MAX_TOTAL_BYTES:
            path.unlink(missing_ok=True)
