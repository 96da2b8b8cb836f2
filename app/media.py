"""Images by URL: thumbnails, originals in a format that browsers show, and images of queries.

`/picture/thumb/COLLECTION/ID`, `/picture/original/COLLECTION/ID`, `/picture/query/NAME`. An id
names a point, and only the bytes that it was made of are served, from the collection's own sources.
Images that somebody searched with are kept for a while, so that a link can refer to them.
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
from starlette.responses import Response
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
from indexer.ingest.thumbnails import ensure_thumbnail, read_thumbnail, thumbnail_path
from indexer.paths import hash_content
from indexer.search.query_syntax import DEFAULT_IMAGE_SIDE
from indexer.sources import find_original
from indexer.stores.edge.state import find_private_dir, is_read_only

RECHECK = "private, no-cache"
FOREVER = "private, max-age=31536000, immutable"  # where the URL names the content
# No response is anything but an image, whatever its bytes are, nor part of another site's page.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}
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
    """A point's thumbnail, made from its file where it is missing or damaged."""
    return _respond(request, load_thumbnail(*_parse_request(request)), "image/jpeg", cache=FOREVER)


def serve_original(request: Request) -> Response:
    """A point's image, encoded as JPEG where browsers do not show its format.

    Only bytes that the id follows from are served, so the id is their ETag. They may be gone
    tomorrow, so the browser asks again each time.
    """
    name, id = _parse_request(request)
    paths = _point_paths(name, id)
    if paths and f'"{id}"' in request.headers.get("if-none-match", ""):
        return _respond(request, b"", "", etag=id)  # the browser has what the id names
    data = read_original(name, id, paths)
    if data is None:
        return _not_found()
    media_type = BROWSER_TYPES.get(sniff_format(data[:SNIFF_BYTES]) or "")
    if media_type is None:
        try:
            image = decode_image(data, side=MAX_SIDE, limits=get_decode_limits()).image
        except UnusableFileError:
            return _not_found()
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=88)
        data, media_type = buffer.getvalue(), "image/jpeg"
    return _respond(request, data, media_type, etag=id)


def load_thumbnail(name: str, id: str) -> bytes | None:
    """The thumbnail of a point of the collection `name` as a JPEG; None where its file is gone."""
    path = thumbnail_path(local_dir(name) / "thumbs", id)
    data = read_thumbnail(path)
    if data is None:
        with _thumbnail_locks[hash(id) % len(_thumbnail_locks)]:  # whoever waits finds it made
            data = _make_thumbnail(name, id, path)
    return data


def read_original(name: str, id: str, paths: Sequence[str] | None = None) -> bytes | None:
    """The bytes that a point of the collection `name` was made of; None where they are gone."""
    roots, hosts = _ingest_sources(name)
    paths = _point_paths(name, id) if paths is None else paths
    return find_original(id, paths, roots, get_decode_limits(), hosts)


def serve_upload(request: Request) -> Response:
    """An image of a query."""
    path = find_upload(str(request.path_params["name"]))
    try:
        data = path.read_bytes() if path else None
    except OSError:
        data = None
    return _respond(request, data, "image/png", cache=FOREVER)


def _respond(
    request: Request, data: bytes | None, media_type: str, *, etag: str = "", cache: str = RECHECK
) -> Response:
    """`data`, or that the browser has it already, or that there is none."""
    if data is None:
        return _not_found()
    etag = f'W/"{etag or hash_content(data)[:32]}"'  # weak: it may be encoded in another way
    headers = {**SAFE_HEADERS, "Cache-Control": cache, "ETag": etag}
    if etag.removeprefix("W/") in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _make_thumbnail(name: str, id: str, path: Path) -> bytes | None:
    roots, hosts = _ingest_sources(name)
    paths, folder = _point_paths(name, id), path.parents[1]
    return ensure_thumbnail(folder, id, paths, get_decode_limits(), roots, hosts)


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
    return [str(path) for record in records for path in record.payload.get("paths") or ()]


def _ingest_sources(name: str) -> tuple[list[str], tuple[str, ...]]:
    """The sources of a collection, and the hosts that it may be read from."""
    try:
        path = open_searcher(name).collection.index_dir / CATALOG_FILE
        with closing(Catalog(path)) as catalog:
            return catalog.list_roots(), catalog.list_hosts()
    except IndexerError:
        return [], ()


def _not_found() -> Response:
    """A gray card in place of an image whose file is missing or changed."""
    card = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120">'
        '<rect width="160" height="120" fill="#8884"/><text x="80" y="64" text-anchor="middle" '
        'font-family="sans-serif" font-size="11" fill="#888">gone or changed</text></svg>'
    )
    return Response(card, 404, {**SAFE_HEADERS, "Cache-Control": "no-store"}, "image/svg+xml")


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
    is_upload = UPLOAD_NAME_PATTERN.fullmatch(name) and path.is_file() and not path.is_symlink()
    return path if is_upload else None


def open_upload(name: str) -> Image.Image:
    """The image of an upload; raises `QueryError` where it was deleted."""
    path = find_upload(name)
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
    with Image.open(path) as image:
        return image.convert("RGB")


def _upload_dir() -> Path:
    folder = get_settings().local_folder / ".queries"
    if folder.parent.exists() and is_read_only(folder.parent):
        folder = find_private_dir() / "queries"
    make_private_dir(folder)
    return folder


def _delete_oldest() -> None:
    uploads = sorted(_upload_dir().glob("*.png"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in uploads:
        total += path.stat().st_size
        if total > MAX_UPLOAD_BYTES:
            path.unlink(missing_ok=True)
