"""Points from pages to a store, and how far a copy has come: kept on disk, to go on from."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from indexer.stores.base import Store
from indexer.transfer.source import Page
from indexer.types import Record

CURSOR_FILE = "moving.json"


@dataclass(frozen=True, slots=True)
class CopyCursor:
    """Everything before `after` has been acknowledged: `copied` points of the source `identity`."""

    identity: str
    after: str | None = None  # where the next page begins
    copied: int = 0
    done: bool = False


def read_cursor(folder: Path) -> CopyCursor | None:
    """The cursor kept in `folder`; None where there is none that can be read."""
    try:
        return CopyCursor(**json.loads((folder / CURSOR_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_cursor(folder: Path, cursor: CopyCursor) -> None:
    """Replace it in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{CURSOR_FILE}.{os.getpid()}"
    fresh.write_text(json.dumps(asdict(cursor)), "utf-8")
    fresh.replace(folder / CURSOR_FILE)


def delete_cursor(folder: Path) -> None:
    (folder / CURSOR_FILE).unlink(missing_ok=True)


def copy_points(
    pages: Iterable[Page],
    store: Store,
    cursor: CopyCursor,
    on_page: Callable[[Page, CopyCursor], None],
    *,
    concurrency: int,
    stop: threading.Event,
) -> CopyCursor:
    """Write `pages`, which begin at the cursor, to `store`; where that has come to.

    `on_page` is told of each page as it and all before it are acknowledged. `stop` ends the copy
    when what is on its way has arrived.
    """
    from indexer.stores.qdrant.upload import upload

    sent: deque[Page] = deque()

    def batches() -> Iterator[list[Record]]:
        for page in pages:
            if stop.is_set():
                return
            sent.append(page)
            yield page.records

    for _ in upload(store, batches(), concurrency):
        page = sent.popleft()
        copied = cursor.copied + len(page.records)
        cursor = replace(cursor, after=page.next_id, copied=copied, done=page.next_id is None)
        on_page(page, cursor)
    return cursor


def missing_points(pages: Iterable[Page], store: Store) -> Iterator[Page]:
    """The same pages without the points that `store` has already."""
    for page in pages:
        there = {record.id for record in store.retrieve([record.id for record in page.records])}
        yield page._replace(records=[record for record in page.records if record.id not in there])
