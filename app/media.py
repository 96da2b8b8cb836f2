"""Pictures by URL: thumbnails from the disk, originals as a browser can show them.

`/picture/thumb/COLLECTION/ID`, `/picture/original/COLLECTION/ID`, `/picture/query/NAME`. An id
names a point, and only the files that the point names are ever read.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from app import uploads
from app.resources import kept, opened, settings
from indexer.catalogue import Catalogue
from indexer.decode import Limits, decode
from indexer.errors import IndexerError
from indexer.kinds import HEAD, sniff
from indexer.parsing import parse_name
from indexer.skips import Undecodable
from indexer.sources import is_plain, read_original
from indexer.thumbnails import ensure_thumbnail, thumbnail_path
from indexer.walk import file_path

FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # an id is its content
SHOWN = {kind: f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "avif")}
LARGEST = 2048  # pixels of the shorter side of what is re-encoded


def routes() -> Sequence[BaseRoute]:
    return [
        Route("/picture/thumb/{collection}/{id}", thumb),
        Route("/picture/original/{collection}/{id}", original),
        Route("/picture/query/{name}", query),
    ]


def thumb_url(collection: str, id: str) -> str:
    """Relative, so that it works behind a base path."""
    return f"picture/thumb/{collection}/{id}"


def original_url(collection: str, id: str) -> str:
    return f"picture/original/{collection}/{id}"


def thumb(request: Request) -> Response:
    """A point's thumbnail; one that is missing is made again from its file."""
    name, id = _asked(request)
    if not id:
        return _missing()
    path = thumbnail_path(kept(name) / "thumbs", id)
    if path.is_file():
        return FileResponse(path, media_type="image/jpeg", headers=FOREVER)
    roots, _ = _sources(name)
    made = ensure_thumbnail(path.parents[1], id, _paths(name, id), _limits(), roots)
    return FileResponse(made, media_type="image/jpeg", headers=FOREVER) if made else _missing()


def original(request: Request) -> Response:
    """A point's file, re-encoded as JPEG where browsers do not show its format."""
    name, id = _asked(request)
    roots, hosts = _sources(name) if id else ([], ())
    for path in _paths(name, id) if id else ():
        try:
            data = read_original(roots, path, _limits(), hosts)
        except Undecodable:
            continue
        return _shown(path, data)
    return _missing()


def query(request: Request) -> Response:
    """A picture that somebody searches with."""
    path = uploads.path_of(str(request.path_params["name"]))
    return FileResponse(path, media_type="image/png", headers=FOREVER) if path else _missing()


def _shown(path: str, data: bytes) -> Response:
    suffix = Path(path).suffix.lower().lstrip(".").replace("jpg", "jpeg")
    if suffix in SHOWN and is_plain(path):
        return FileResponse(file_path(path), media_type=SHOWN[suffix], headers=FOREVER)
    found = sniff(data[:HEAD])
    if found in SHOWN and not is_plain(path):
        return Response(data, media_type=SHOWN[found], headers=FOREVER)
    try:
        image = decode(data, side=LARGEST, limits=_limits()).image
    except Undecodable:
        return _missing()
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=FOREVER)


def _asked(request: Request) -> tuple[str, str]:
    """Collection and id of the request; both empty where they could not be real."""
    try:
        name = parse_name(request.path_params["collection"])
        return str(name), str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        return "", ""


def _paths(name: str, id: str) -> list[str]:
    try:
        records = opened(name).collection.store.retrieve([id])
    except IndexerError:
        return []
    return [path for record in records for path in record.payload["paths"]]


def _sources(name: str) -> tuple[list[str], tuple[str, ...]]:
    """What the collection was made from, and the hosts that it may be read from."""
    try:
        with closing(Catalogue(opened(name).collection.index / "catalogue.db")) as catalogue:
            return catalogue.roots(), catalogue.hosts()
    except IndexerError:
        return [], ()


def _limits() -> Limits:
    return Limits(settings().max_bytes, settings().max_pixels)


def _missing() -> Response:
    """A grey card in place of a picture whose file is gone."""
    card = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120">'
        '<rect width="160" height="120" fill="#8884"/><text x="80" y="64" text-anchor="middle" '
        'font-family="sans-serif" font-size="11" fill="#888">not on this disk</text></svg>'
    )
    return Response(card, 404, {"Cache-Control": "no-store"}, "image/svg+xml")
