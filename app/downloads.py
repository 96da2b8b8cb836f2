"""Downloads of selected items: files in a ZIP archive, a contact sheet, or a table.

`POST /api/downloads?c=NAME` with `{"ids": [...], "form": "zip"}`, or another of `FORMS`, answers
with the URL of the download, which the browser then saves or shows by itself. An archive is written
while it is sent.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from pathlib import PurePath

from PIL.Image import Resampling
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from app.caching import SharedCache
from app.contact_sheet import POLICY, iterate_contact_sheet
from app.json_routes import (
    BAD_JSON,
    MAX_ITEMS,
    MAX_SELECTION_BYTES,
    Json,
    RequestError,
    answer_with,
    parse_search,
    read_body,
)
from app.media import SAFE_HEADERS, read_original
from app.services import get_decode_limits, open_searcher
from embedder.images.decode import decode_image
from indexer.errors import IndexerError, UnusableFileError
from indexer.export import export
from indexer.types import Record

MAX_BYTES = 4 << 30  # of the files in one archive
MAX_NAME = 150  # characters
LIST_NAME = "missing.txt"
ENCODINGS = {"jpeg": {"quality": 90, "optimize": True}, "webp": {"quality": 86, "method": 4}}
SUFFIXES = {"jpeg": ".jpg", "webp": ".webp"}
TYPES = {
    "zip": "application/zip",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """In what form items are downloaded.

    Attributes:
        suffix: Of the file, which says its type.
        format: What images are encoded as; None: files as they are.
        side: Pixels of the longer side, at most.
    """

    suffix: str
    format: str | None = None
    side: int = 0


FORMS = {
    "zip": Form(suffix="zip"),
    "jpeg-2048": Form(suffix="zip", format="jpeg", side=2048),
    "jpeg-1024": Form(suffix="zip", format="jpeg", side=1024),
    "webp-2048": Form(suffix="zip", format="webp", side=2048),
    "sheet": Form(suffix="html"),
    "csv": Form(suffix="csv"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What is downloaded."""

    collection: str
    ids: tuple[str, ...]
    form: Form


_selections: SharedCache[Selection] = SharedCache(64)


def build_routes() -> Sequence[BaseRoute]:
    return [
        Route("/api/downloads", receive_selection, methods=["POST"]),
        Route("/api/downloads/{token}", send_selection),
    ]


async def receive_selection(request: Request) -> Response:
    """Remember what is to be downloaded."""
    body = await read_body(request, MAX_SELECTION_BYTES)

    def remember(request: Request) -> Json:
        try:
            given = json.loads(body or b"")
            ids = tuple(str(uuid.UUID(id)) for id in given["ids"])
            form = FORMS[given["form"]]
        except BAD_JSON:
            raise RequestError("A download has the ids of items, and a form.") from None
        if not 0 < len(ids) <= MAX_ITEMS:
            raise RequestError(f"A download has 1 to {MAX_ITEMS:,} items.")
        selection = Selection(parse_search(request).collection, tuple(dict.fromkeys(ids)), form)
        open_searcher(selection.collection)  # a collection that is gone is told now
        token = secrets.token_urlsafe(16)
        _selections.get(token, lambda: selection)
        return {"url": f"api/downloads/{token}"}

    return await run_in_threadpool(answer_with(remember), request)


def send_selection(request: Request) -> Response:
    """Send the archive, the table or the contact sheet; the latter is shown."""

    def fail() -> Selection:
        raise HTTPException(404)

    selection = _selections.get(request.path_params["token"], fail)
    title, suffix = f"{selection.collection}-{time.strftime('%Y-%m-%d')}", selection.form.suffix
    shown = "inline" if suffix == "html" else "attachment"
    headers = {
        **SAFE_HEADERS,
        "Cache-Control": "no-store",
        "Content-Disposition": f'{shown}; filename="{title}.{suffix}"',
    }
    if suffix == "html":
        headers["Content-Security-Policy"] = POLICY
        chunks = iterate_contact_sheet(selection.collection, _load_records(selection))
    else:
        chunks = (_iterate_archive if suffix == "zip" else _iterate_table)(selection)
    return StreamingResponse(chunks, 200, headers, TYPES[suffix])


def _iterate_table(selection: Selection) -> Iterator[bytes]:
    table = BytesIO()
    rows = ((record, None) for record in _load_records(selection))
    export(rows, table, "csv", vectors=False)
    yield b"\xef\xbb\xbf" + table.getvalue()  # the mark tells spreadsheets that it is UTF-8


def _iterate_archive(selection: Selection) -> Iterator[bytes]:
    """The bytes of the archive, file by file."""
    sink = _Sink()
    names: set[str] = set()
    missing: list[str] = []
    total = 0
    with zipfile.ZipFile(sink, "w") as archive:
        for record in _load_records(selection):
            data, suffix = _read_file(selection, record)
            if data is None or total + len(data) > MAX_BYTES:
                missing.append(next(iter(record.payload.get("paths") or [record.id])))
                continue
            total += len(data)
            archive.writestr(_choose_name(record, suffix, names), data)
            yield sink.take()
        if missing:
            text = "Not in this archive: gone, changed, or beyond its size.\n" + "\n".join(missing)
            archive.writestr(LIST_NAME, text)
    yield sink.take()


def _load_records(selection: Selection) -> list[Record]:
    """The points, in the order in which they were selected."""
    try:
        store = open_searcher(selection.collection).collection.store
        found = {record.id: record for record in store.retrieve(selection.ids)}
    except IndexerError as error:
        raise HTTPException(503, str(error)) from None
    return [found[id] for id in selection.ids if id in found]


def _read_file(selection: Selection, record: Record) -> tuple[bytes | None, str]:
    """What the archive has of a point, and the suffix of its name."""
    if record.payload["kind"] == "text":
        return str(record.payload["text"]).encode(), ".txt"
    form, data = selection.form, read_original(selection.collection, record.id)
    if data is None or form.format is None:
        return data, PurePath(str(record.payload["name"])).suffix
    try:
        image = decode_image(data, side=form.side, limits=get_decode_limits()).image
    except UnusableFileError:
        return None, ""
    image.thumbnail((form.side, form.side), Resampling.LANCZOS, reducing_gap=3.0)
    buffer = BytesIO()
    image.save(buffer, form.format, **ENCODINGS[form.format])
    return buffer.getvalue(), SUFFIXES[form.format]


def _choose_name(record: Record, suffix: str, taken: set[str]) -> str:
    """A name of its own in the archive, without folders."""
    path = PurePath(str(record.payload["name"]).replace("\\", "/"))
    stem, suffix = (
        "".join(c for c in part if c.isprintable() and c not in '<>:"/\\|?*')
        for part in (path.stem, suffix)
    )
    stem = stem.strip(". ") or "item"
    name, number = f"{stem[:MAX_NAME]}{suffix}", 1
    while name.casefold() in taken or name == LIST_NAME:
        number += 1
        name = f"{stem[:MAX_NAME]} ({number}){suffix}"
    taken.add(name.casefold())
    return name


class _Sink(RawIOBase):
    """What was written to it and not yet taken; a ZIP archive can be written without seeking."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
