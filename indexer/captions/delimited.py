"""Reads CSV and TSV as people and programs write them, with a word for what is not well formed."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from io import StringIO

NoteCallback = Callable[[str], None]
"""Gets a sentence about a row that was read otherwise than it is written."""

MAX_CELL_CHARACTERS = 1 << 24
MAX_ROW_LINES = 500  # a quotation mark that is not closed by then is a character of its line
DELIMITERS = ",;\t|"
SEPARATOR_PATTERN = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # as Excel writes it


def ignore_note(note: str) -> None:
    """Drop a note."""


def iterate_delimited(
    text: str, extension: str, on_note: NoteCallback = ignore_note
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of CSV or TSV, the header included.

    A .csv may be delimited by semicolons, tabs or bars, and may begin with blank lines or with
    `sep=;`. A quotation mark that is not closed is a character like others, and is reported.

    Raises:
        ValueError: A row cannot be read; the message is for the user.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    lines = list(StringIO(text, newline=""))
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    first = lines[start] if lines else ""
    separator = SEPARATOR_PATTERN.fullmatch(first)
    if separator:
        delimiter, start = separator[1], start + 1
    else:
        delimiter = "\t" if extension == "tsv" else max(DELIMITERS, key=first.count)
    row_start = start

    def read_lines() -> Iterator[str]:
        for number in range(start, len(lines)):
            if number - row_start > MAX_ROW_LINES:
                raise csv.Error("a quotation mark is not closed")
            yield lines[number]

    while start < len(lines):
        reader = csv.reader(read_lines(), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                yield row_start + 1, cells
                row_start = start + reader.line_num
            return
        except csv.Error as error:
            if "field larger" in str(error):
                raise ValueError(f"line {row_start + 1}: {error}") from None
            yield row_start + 1, _split_line(lines[row_start], delimiter)
            on_note(
                f"line {row_start + 1}: a quotation mark without its other half is read as text"
            )
            start = row_start = row_start + 1


def _split_line(line: str, delimiter: str) -> list[str]:
    """Split a line in which quotation marks are characters, but for those around whole cells."""
    (cells,) = csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return [
        cell[1:-1].replace('""', '"') if re.fullmatch(r'"(?:[^"]|"")*"', cell) else cell
        for cell in cells
    ]
