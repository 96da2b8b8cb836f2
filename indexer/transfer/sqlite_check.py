"""Whether an SQLite file that came from elsewhere is a catalogue, and no more than that.

A database can bring triggers and views of its own, which run when it is used.
https://sqlite.org/security.html
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from indexer.ingest.catalog import Catalog

SCHEMA_QUERY = "SELECT type, name, tbl_name, sql FROM main.sqlite_master ORDER BY name"


def is_valid_catalog(file: Path) -> bool:
    """Whether it is sound and has the tables of a catalogue, word for word, and nothing else."""
    try:
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            return sound and db.execute(SCHEMA_QUERY).fetchall() == _expected_schema(file.parent)
    except sqlite3.Error:
        return False


def _expected_schema(folder: Path) -> list[tuple[str, ...]]:
    fresh = folder / "expected.db"
    with closing(Catalog(fresh)):
        pass
    try:
        with closing(sqlite3.connect(fresh)) as db:
            return db.execute(SCHEMA_QUERY).fetchall()
    finally:
        for file in folder.glob("expected.db*"):
            file.unlink()
