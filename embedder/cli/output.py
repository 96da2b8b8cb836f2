"""Tables for the eye on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a head on a terminal; elsewhere a line a row, tabs between, no head."""
    if not sys.stdout.isatty():
        for row in rows:
            print(*row, sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, emoji=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """A name and its value a line; no table library, so that `status` is quick."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:<{width}}  {value}")
