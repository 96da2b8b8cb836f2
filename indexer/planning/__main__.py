"""`python -m indexer.planning docs/scaling.md` makes the tables of that page anew."""

from __future__ import annotations

import sys
from pathlib import Path

from indexer.planning.tables import render_tables


def main(page: Path) -> None:
    page.write_text(render_tables(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
