"""Images by URL: thumbnails, originals in a format that browsers show, and images of queries.

`/picture/thumb/COLLECTION/ID`, `/picture/original/COLLECTION/ID`, `/picture/query/NAME`. An id
names a point, and only the files of that point are ever read. Images that somebody searched with
are kept for a while, so that a link can refer to them.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path

from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from app.services import (
    get_decode_limits,
    get_settings,
    local_dir,
    open_searcher,
    summarize_collections,
)
from embedder.files import PRIVATE, delete_stale_parts, make_private_dir, replace_file
from embedder.images.decode import decode_image
from embedder.images.formats import SNIFF_BYTES, sniff_format
from indexer.config import parse_name
from indexer.errors import IndexerError, QueryError, UnusableFileError
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.thumbnails import ensure_thumbnail, is_thumbnail, thumbnail_path
from indexer.paths import hash_content, is_local_file, resolve_display_path
from indexer.search.query_syntax import DEFAULT_IMAGE_SIDE
from indexer.sources import read_original

CACHE_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable"}  # an id is its content
BROWSER_TYPES = {kind: f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "avif")}
MAX_SIDE = 2048  # pixels of the shorter side of an encoded original
MAX_UPLOAD_BYTES = 200 << 20  # of all uploads; the oldest are deleted first
UPLOAD_NAME_PATTERN = re.compile(r"[0-9a-f]{32}")
_thumbnail_locks = tuple(threading.Lock() for _ in range(64))  # each for some of the ids
UPLOAD_IS_GONE = "The picture of this search was deleted; drop it in again."


def build_routes() -> Sequence[BaseRoute]:
    return [
        Route("/picture/thumb/{collection}/{id}", serve_thumbnail),
        Route("/picture/original/{collection}/{id}", serve_original),
        Route("/picture/query/{name}", serve_upload),
    ]


def thumbnail_url(collection: str, id: str) -> str:
    """Relative, so that it works behind a base path."""
    return f"picture/thumb/{collection}/{id}"


def original_url(collection: str, id: str) -> str:
    return f"picture/original/{collection}/{id}"


def upload_url(name: str) -> str:
    return f"picture/query/{name}"


def serve_thumbnail(request: Request) -> Response:
    """A point's thumbnail, made from its file where it is missing."""
    name, id = _parse_request(request)
    folder = local_dir(name) / "thumbs"
    path: Path | None = thumbnail_path(folder, id)
    if path and not is_thumbnail(path):
        roots, _ = _ingest_sources(name)
        paths = _point_paths(name, id)
        with _thumbnail_locks[hash(id) % len(_thumbnail_locks)]:  # whoever waits finds it made
            path = ensure_thumbnail(folder, id, paths, get_decode_limits(), roots)
    return _file_response(path, "image/jpeg")


def serve_original(request: Request) -> Response:
    """A point's file, encoded as JPEG where browsers do not show its format."""
    name, id = _parse_request(request)
    roots, hosts = _ingest_sources(name)
    for path in _point_paths(name, id):
        try:
            data = read_original(roots, path, get_decode_limits(), hosts)
        except UnusableFileError:
            continue
        return _browser_response(path, data)
    return _not_found()


def serve_upload(request: Request) -> Response:
    """An image of a query."""
    return _file_response(find_upload(str(request.path_params["name"])), "image/png")


def _file_response(path: Path | str | None, media_type: str) -> Response:
    if path is None:
        return _not_found()
    return FileResponse(path, media_type=media_type, headers=CACHE_HEADERS)


def _browser_response(path: str, data: bytes) -> Response:
    suffix = Path(path).suffix.lower().lstrip(".").replace("jpg", "jpeg")
    if suffix in BROWSER_TYPES and is_local_file(path):
        return _file_response(resolve_display_path(path), BROWSER_TYPES[suffix])
    media_type = BROWSER_TYPES.get(sniff_format(data[:SNIFF_BYTES]) or "")
    if media_type is None or is_local_file(path):
        try:
            image = decode_image(data, side=MAX_SIDE, limits=get_decode_limits()).image
        except UnusableFileError:
            return _not_found()
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=88)
        data, media_type = buffer.getvalue(), "image/jpeg"
    return Response(data, media_type=media_type, headers=CACHE_HEADERS)


def _parse_request(request: Request) -> tuple[str, str]:
    """Collection and id of the request; what is not valid is not found."""
    try:
        name = parse_name(request.path_params["collection"])
        return str(name), str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        raise HTTPException(404) from None


def _point_paths(name: str, id: str) -> list[str]:
    try:
        records = open_searcher(name).collection.store.retrieve([id])
    except IndexerError:
        return []
    return [path for record in records for path in record.payload["paths"]]


def _ingest_sources(name: str) -> tuple[list[str], tuple[str, ...]]:
    """The sources of a collection, and the hosts that it may be read from."""
    try:
        path = open_searcher(name).collection.index_dir / CATALOG_FILE
        with closing(Catalog(path)) as catalog:
            return catalog.list_roots(), catalog.list_hosts()
    except IndexerError:
        return [], ()


def _not_found() -> Response:
    """A gray card in place of an image whose file is missing."""
    card = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120">'
        '<rect width="160" height="120" fill="#8884"/><text x="80" y="64" text-anchor="middle" '
        'font-family="sans-serif" font-size="11" fill="#888">not on this disk</text></svg>'
    )
    return Response(card, 404, {"Cache-Control": "no-store"}, "image/svg+xml")


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
        delete_stale_parts(path.parent)
        with replace_file(path, mode=PRIVATE, sync=False) as file:
            file.write(buffer.getvalue())
        _delete_oldest()
    return name


def find_upload(name: str) -> Path | None:
    """The path of an upload, or None."""
    path = _upload_dir() / f"{name}.png"
    return path if UPLOAD_NAME_PATTERN.fullmatch(name) and path.is_file() else None


def open_upload(name: str) -> Image.Image:
    """The image of an upload; raises `QueryError` where it was deleted."""
    path = find_upload(name)
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
    with Image.open(path) as image:
        return image.convert("RGB")


def _upload_dir() -> Path:
    folder = get_settings().local_folder / ".queries"
    make_private_dir(folder)
    return folder


def _delete_oldest() -> None:
    uploads = sorted(_upload_dir().glob("*.png"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in uploads:
        total += path.stat().st_size
        if total > MAX_UPLOAD_BYTES:
            path.unlink(missing_ok=True)
