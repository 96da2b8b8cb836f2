"""Tables of captions: captions.csv, metadata.jsonl (Hugging Face imagefolder) and the like."""

from __future__ import annotations

import csv
import json
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import StringIO
from itertools import chain, repeat

from indexer.captions.encoding import decode_text
from indexer.captions.language import parse_language_tag
from indexer.captions.normalize import (
    FileCaptions,
    Row,
    merge_file_captions,
)
from indexer.captions.sidecar import CAPTION_KEYS, TAG_KEYS, parse_caption_key, parse_fields

FILE_COLUMNS = ("file_name", "file", "filename", "path", "filepath", "image", "image_path")
URL_COLUMNS = ("url", "image_url", "img_url", "uri", "src")
LANGUAGE_COLUMNS = ("language", "lang")
MAX_BYTES = 1 << 30
CAPTION_SOURCE = "manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a table by the file that they describe, under its name in the table."""

    rows: Mapping[str, list[Row]]

    def find(self, *names: str) -> list[Row]:
        """Return the rows of the first of `names` that is in the table."""
        for name in names:
            rows = self.rows.get(normalize_file_name(name))
            if rows:
                return rows
        return []


def parse_manifest(name: str, data: bytes) -> Manifest:
    """Parse the table called `name`; raises `ValueError` with a message for the user."""
    rows_by_file: dict[str, list[Row]] = {}
    for file, row in parse_rows(name, data):
        rows_by_file.setdefault(normalize_file_name(file), []).append(row)
    return Manifest(rows_by_file)


def parse_rows(
    name: str, data: bytes, columns: Sequence[str] = FILE_COLUMNS
) -> Iterator[tuple[str, Row]]:
    """Yield the file that each row names and the row's other columns.

    Args:
        name: The table's name; its extension tells the format.
        data: The table's bytes.
        columns: Names of the column with the file; the first one present counts.

    Raises:
        ValueError: The table cannot be read; the message is for the user.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a manifest of more than {MAX_BYTES >> 20} MB")
    extension = name.lower().rpartition(".")[2]
    read_rows = MANIFEST_READERS.get(extension, read_delimited)
    column = None  # "" may be the name of one, as in the tables that pandas writes
    for row in read_rows(decode_text(data), extension, columns):
        if column is None or column not in row:
            column = _find_file_column(row, columns)
        file = str(row[column] or "")
        if file.strip():
            yield file, {key: value for key, value in row.items() if key != column}


def normalize_file_name(name: str) -> str:
    """Return a file's name as a key: forward slashes, no ./, composed Unicode."""
    plain = name.strip().replace("\\", "/")
    if not plain.isascii():
        plain = unicodedata.normalize("NFC", plain)
    return posixpath.normpath(plain) if "/" in plain else plain


def hash_rows(rows: Sequence[Row]) -> str:
    """Return a digest that changes when one of the rows does."""
    text = json.dumps(rows, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def parse_caption_rows(rows: Iterable[Row], image_name: str) -> FileCaptions:
    """Return the captions, tags and metadata of an image's rows; later rows win in metadata."""
    parts = []
    for row in rows:
        languages = {name: parse_language_tag(str(row.get(name, ""))) for name in LANGUAGE_COLUMNS}
        column = next((name for name, language in languages.items() if language), "")
        fields = {key: value for key, value in row.items() if key != column}
        language = languages.get(column)
        parts.append(parse_fields(fields, language, CAPTION_SOURCE, image_name))
    return merge_file_captions(parts)


def iterate_delimited(text: str, extension: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of CSV or TSV, the header included.

    A .csv may be delimited by semicolons or tabs.

    Raises:
        ValueError: A row cannot be read; the message is for the user.
    """
    csv.field_size_limit(1 << 24)  # characters in a cell
    first = text.partition("\n")[0]
    delimiter = "\t" if extension == "tsv" else max(",;\t", key=first.count)
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    start = 1
    try:
        for cells in lines:
            yield start, cells
            start = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}") from None


def read_delimited(text: str, extension: str, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of CSV or TSV."""
    lines = iterate_delimited(text, extension)
    _, header = next(lines, (0, []))
    if header:
        _find_file_column(header, columns)
    converters = [
        (name, str if name.lower() in columns or _holds_text(name) else _parse_number)
        for name in header
    ]
    for _, cells in lines:
        row = zip(converters, chain(cells, repeat("")), strict=False)  # pads short rows
        yield {name: convert(cell) for (name, convert), cell in row}


def read_json_lines(text: str, extension: str, columns: Sequence[str]) -> Iterator[Row]:
    """Read a JSON object a line; blank lines are ignored."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield parse_json_row(line, number)


MANIFEST_READERS: Mapping[str, Callable[[str, str, Sequence[str]], Iterator[Row]]] = {
    "csv": read_delimited,
    "tsv": read_delimited,
    "jsonl": read_json_lines,
    "ndjson": read_json_lines,
}
"""Extension -> function of (text, extension, names of the column with the file) that yields the
rows, or raises `ValueError`. A new format is one line here."""


def parse_json_row(line: str, number: int) -> Row:
    """Parse line `number` of JSON lines; raises `ValueError` unless it is an object."""
    try:
        row = json.loads(line, strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: broken JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not an object")
    return row


def _find_file_column(row: Iterable[str], columns: Sequence[str]) -> str:
    names = {str(key).strip().lower(): key for key in row}
    for name in columns:
        if name in names:
            return names[name]
    raise ValueError(f"no column names the files; call one of them {', '.join(columns)}")


def _holds_text(column: str) -> bool:
    name = parse_caption_key(column)[0]
    return name in CAPTION_KEYS or name in TAG_KEYS or name in FILE_COLUMNS


def _parse_number(text: str) -> str | int | float:
    """Return a number as one; "007" and "1e5" stay text."""
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9]\d{0,15})\.\d{1,15}", text) else text
