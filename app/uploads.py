"""Pictures that somebody searches with, kept for a while so that a link can name them."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from app.resources import collections, settings
from indexer.decode import Limits, decode
from indexer.errors import QueryError
from indexer.identity import content_hash
from indexer.parts import SIDE
from indexer.skips import Undecodable

MOST_BYTES = 200 << 20  # kept in all; the oldest go first
NAME = re.compile(r"[0-9a-f]{32}")


def keep(data: bytes) -> str:
    """Keep the picture in `data`, as small as the models of the collections let it be; returns its
    name. Raises `QueryError`."""
    limits = Limits(settings().max_bytes, settings().max_pixels)
    side = max((found.card.image_side for found in collections()), default=SIDE)
    try:
        image = decode(data, side=side, limits=limits).image
    except Undecodable as error:
        raise QueryError(f"This file cannot be searched with: {error.detail}") from error
    name = content_hash(data)[:32]
    path = _folder() / f"{name}.png"
    if not path.exists():
        buffer = BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        path.write_bytes(buffer.getvalue())
        _forget_oldest()
    return name


def path_of(name: str) -> Path | None:
    """Where the picture called `name` is kept, or None."""
    path = _folder() / f"{name}.png"
    return path if NAME.fullmatch(name) and path.is_file() else None


def picture(name: str) -> Image.Image:
    """The picture called `name`; raises `QueryError` where it is kept no longer."""
    path = path_of(name)
    if path is None:
        raise QueryError("The picture of this search is kept no longer; drop it in again.")
    with Image.open(path) as image:
        return image.convert("RGB")


def _folder() -> Path:
    folder = settings().state / ".queries"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _forget_oldest() -> None:
    kept = sorted(_folder().glob("*.png"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in kept:
        total += path.stat().st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
