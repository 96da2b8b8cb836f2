"""What a collection holds and where it comes from, asked of its catalogue alone."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from indexer.paths import display_path

MAX_CATALOG_BYTES = 64 << 20  # bytes of catalogue; counting a larger one would take too long


def count_kinds(path: Path) -> dict[str, int] | None:
    """{"pictures": .., "passages": ..} of the collection in `path`; None where it is not cheap."""
    catalogue = path / "catalogue.db"
    if not catalogue.exists() or catalogue.stat().st_size > MAX_CATALOG_BYTES:
        return None
    rows = _query_catalog(catalogue, "SELECT sum(passages = 0), sum(passages) FROM contents")
    return {"pictures": rows[0][0] or 0, "passages": rows[0][1] or 0} if rows else None


def read_roots(path: Path) -> list[str]:
    """The folders and other sources of the collection in `path`, as far as this machine knows."""
    rows = _query_catalog(path / "catalogue.db", "SELECT path FROM roots ORDER BY path")
    return [display_path(os.fsdecode(row[0])) for row in rows]


def _query_catalog(catalogue: Path, question: str) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"{catalogue.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(question).fetchall()
    except (ValueError, sqlite3.Error):
        return []
