"""Images that somebody searched with, kept for a while so that a link can refer to them."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from app.services import get_decode_limits, get_settings, summarize_collections
from embedder.images.decode import decode_image
from indexer.errors import QueryError
from indexer.ids import hash_content
from indexer.search.query_syntax import DEFAULT_IMAGE_SIDE
from indexer.skip_reasons import UnusableFileError

MAX_TOTAL_BYTES = 200 << 20  # of all uploads; the oldest are deleted first
NAME_PATTERN = re.compile(r"[0-9a-f]{32}")
UPLOAD_IS_GONE = "The picture of this search was deleted; drop it in again."


def save_upload(data: bytes) -> str:
    """Save the image in `data` at the size that the collections' models need, and return its name.

    Raises `QueryError` where it cannot be decoded.
    """
    sides = [summary.card.image_side for summary in summarize_collections()]
    side = max(sides, default=DEFAULT_IMAGE_SIDE)
    try:
        image = decode_image(data, side=side, limits=get_decode_limits()).image
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
    """The path of an upload, or None."""
    path = _upload_dir() / f"{name}.png"
    return path if NAME_PATTERN.fullmatch(name) and path.is_file() else None


def open_upload(name: str) -> Image.Image:
    """The image of an upload; raises `QueryError` where it was deleted."""
    path = find_upload(name)
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
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
