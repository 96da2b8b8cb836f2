"""Tables of captions: captions.csv, metadata.jsonl (Hugging Face imagefolder) and the like."""

from __future__ import annotations

import csv
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import StringIO
from itertools import chain, repeat

from indexer.captions.encoding import decode_text
from indexer.captions.language import parse_language_tag
from indexer.captions.normalize import merge_captions
from indexer.captions.sidecar import (
    CAPTION_KEYS,
    TAG_KEYS,
    CaptionData,
    parse_caption_key,
    parse_fields,
)
from indexer.types import Caption

MANIFEST_STEMS = frozenset({"captions", "metadata", "manifest"})
MANIFEST_EXTENSIONS = frozenset({"csv", "tsv", "jsonl", "ndjson"})
FILE_COLUMNS = ("file_name", "file", "filename", "path", "filepath", "image", "image_path")
LANGUAGE_COLUMNS = ("language", "lang")
MAX_BYTES = 1 << 30
CAPTION_SOURCE = "manifest"

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A table's rows by the file that they describe, as it is written there."""

    rows: Mapping[str, list[Row]]

    def find(self, *names: str) -> list[Row]:
        """The rows of the first of `names` that the table knows."""
        for name in names:
            rows = self.rows.get(normalize_file_name(name))
            if rows:
                return rows
        return []


def is_manifest(name: str) -> bool:
    """Whether a file called so in a folder is a table of captions."""
    stem, _, tail = name.lower().rpartition(".")
    return stem in MANIFEST_STEMS and tail in MANIFEST_EXTENSIONS


def parse_manifest(name: str, data: bytes) -> Manifest:
    """Read a table; raises `ValueError` in words for the user."""
    rows_by_file: dict[str, list[Row]] = {}
    for file, row in parse_rows(name, data):
        rows_by_file.setdefault(normalize_file_name(file), []).append(row)
    return Manifest(rows_by_file)


def parse_rows(
    name: str, data: bytes, columns: Sequence[str] = FILE_COLUMNS
) -> Iterator[tuple[str, Row]]:
    """The file that each row names, in the first of `columns` that is there, and its other columns.

    Raises `ValueError` in words for the user.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a manifest of more than {MAX_BYTES >> 20} MB")
    text = decode_text(data)
    tail = name.lower().rpartition(".")[2]
    rows = (
        _iterate_json_lines(text)
        if tail in {"jsonl", "ndjson"}
        else _iterate_table_rows(text, tail, columns)
    )
    column = ""
    for row in rows:
        column = column if column in row else _find_file_column(row, columns)
        file = str(row[column] or "")
        if file.strip():
            yield file, {key: value for key, value in row.items() if key != column}


def normalize_file_name(name: str) -> str:
    """A file's name as a key: forward slashes, no ./, composed Unicode."""
    plain = name.strip().replace("\\", "/")
    if not plain.isascii():
        plain = unicodedata.normalize("NFC", plain)
    return posixpath.normpath(plain) if "/" in plain else plain


def hash_rows(rows: list[Row]) -> str:
    """A digest of the rows: it changes when one of them does."""
    text = json.dumps(rows, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def parse_caption_rows(rows: list[Row], image_name: str) -> CaptionData:
    """The captions, tags and other columns of a picture's rows; of a column the last row wins."""
    captions: list[Caption] = []
    tag_values: list[str] = []
    meta: dict[str, str | int | float] = {}
    for row in rows:
        language, fields = _pop_language(row)
        found = parse_fields(fields, language, CAPTION_SOURCE, image_name)
        captions += found.captions
        tag_values += found.tags
        meta |= found.meta
    return CaptionData(merge_captions(captions), tuple(dict.fromkeys(tag_values)), meta)


def _pop_language(row: Row) -> tuple[str | None, dict[str, object]]:
    fields = dict(row)
    for name in LANGUAGE_COLUMNS:
        tag = parse_language_tag(str(fields.get(name, "")))
        if tag:
            del fields[name]
            return tag, fields
    return None, fields


def _find_file_column(row: Iterable[str], columns: Sequence[str]) -> str:
    names = {str(key).strip().lower(): key for key in row}
    for name in columns:
        if name in names:
            return names[name]
    raise ValueError(f"no column names the files; call one of them {', '.join(columns)}")


def _iterate_table_rows(text: str, kind: str, columns: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(1 << 24)  # characters in a cell
    first = text.partition("\n")[0]
    delimiter = "\t" if kind == "tsv" else max(",;\t", key=first.count)
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(lines, [])
        if header:
            _find_file_column(header, columns)
        readers = [
            (n, str if n.lower() in columns or _holds_text(n) else _parse_number) for n in header
        ]
        for cells in lines:
            row = zip(readers, chain(cells, repeat("")), strict=False)  # short rows are filled up
            yield {name: read(cell) for (name, read), cell in row}
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}") from None


def _holds_text(column: str) -> bool:
    name = parse_caption_key(column)[0]
    return name in CAPTION_KEYS or name in TAG_KEYS or name in FILE_COLUMNS


def _parse_number(text: str) -> str | int | float:
    """A number as one; "007" and "1e5" stay as they are."""
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9]\d{0,15})\.\d{1,15}", text) else text


def _iterate_json_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield parse_json_row(line, number)


def parse_json_row(line: str, number: int) -> Row:
    """A line of JSON lines; raises `ValueError` for what is no object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: broken JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not an object")
    return row
