"""How many pictures and passages a collection holds, asked of its catalogue alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

LARGE = 64 << 20  # bytes of catalogue; counting a larger one would take too long


def kind_counts(path: Path) -> dict[str, int] | None:
    """{"pictures": .., "passages": ..} of the collection in `path`; None where it is not cheap."""
    catalogue = path / "catalogue.db"
    try:
        if catalogue.stat().st_size > LARGE:
            return None
        with closing(sqlite3.connect(f"{catalogue.as_uri()}?mode=ro", uri=True)) as db:
            pictures, passages = db.execute(
                "SELECT sum(passages = 0), sum(passages) FROM contents"
            ).fetchone()
    except (OSError, ValueError, sqlite3.Error):
        return None
    return {"pictures": pictures or 0, "passages": passages or 0}
