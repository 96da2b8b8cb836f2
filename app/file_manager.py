"""Shows a file in the file manager of this machine, for whoever sits at it.

`POST /api/reveal?c=NAME` with `{"id": ..., "path": ...}`: the path is one of the item's own, and
under a folder that visitors may name. It is done only where the app is private, and for a visitor
of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.json_routes import BAD_JSON, Json, RequestError, answer_with, parse_search, read_body
from app.permissions import get_permissions, resolve_allowed_path
from app.services import open_searcher
from embedder.client.http import is_loopback
from indexer.paths import container_of, is_local_file, resolve_display_path

MAX_BODY_BYTES = 1 << 16


def build_routes() -> Sequence[BaseRoute]:
    return [Route("/api/reveal", receive_path, methods=["POST"])]


def can_reveal(request: Request) -> bool:
    """Whether a visitor is at this machine, and it has a file manager."""
    host = request.client.host if request.client else ""
    return get_permissions().is_private and is_loopback(host) and bool(find_file_manager())


async def receive_path(request: Request) -> Response:
    """Open the folder of a file."""
    body = await read_body(request, MAX_BODY_BYTES)

    def reveal(request: Request) -> Json | None:
        try:
            given = json.loads(body or b"")
            id, path = str(uuid.UUID(given["id"])), str(given["path"])
        except BAD_JSON:
            raise RequestError("Name the id of an item, and one of its paths.") from None
        if not can_reveal(request):
            raise RequestError("Folders can be opened only on the machine that the app runs on.")
        store = open_searcher(parse_search(request).collection).collection.store
        records = store.retrieve([id])
        if not any(path in record.payload.get("paths", ()) for record in records):
            return None
        local = resolve_display_path(container_of(path) or path)
        if not is_local_file(local):
            raise RequestError("This file is not on this machine.")
        open_folder(resolve_allowed_path(local))
        return {}

    return await run_in_threadpool(answer_with(reveal), request)


def find_file_manager() -> str | None:
    """The program that opens a folder; None on a machine without a screen."""
    if sys.platform == "darwin":
        return shutil.which("open")
    if sys.platform == "win32":
        return shutil.which("explorer")
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    has_screen = any(os.environ.get(name) for name in screens)  # noqa: TID251  no settings
    return shutil.which("xdg-open") if has_screen else None


def open_folder(file: Path) -> None:
    """Open the folder of `file` in a window, with the file selected where that is possible."""
    program = find_file_manager() or ""
    if sys.platform == "darwin":
        arguments = ["-R", str(file)]
    elif sys.platform == "win32":
        arguments = [f"/select,{file}"]
    else:
        arguments = [str(file.parent)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [program, *arguments],
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,  # Ctrl-C in the terminal of the app does not close the window
    )
    # some programs run until their window is closed; one that nobody waits for stays as a zombie
    threading.Thread(target=process.wait, daemon=True).start()
