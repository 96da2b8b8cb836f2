"""Tables of captions: captions.csv, metadata.jsonl (Hugging Face imagefolder) and the like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import chain, repeat

from embedder.images.formats import IMAGE_EXTENSIONS, get_extension
from indexer.captions.apple import is_apple_row, parse_apple_row
from indexer.captions.delimited import NoteCallback, ignore_note, iterate_delimited
from indexer.captions.encoding import decode_text
from indexer.captions.language import parse_language_tag
from indexer.captions.matching import HOWS, NO_MATCH, Match, NameIndex, normalize_file_name
from indexer.captions.normalize import (
    FileCaptions,
    Row,
    merge_file_captions,
)
from indexer.captions.sidecar import CAPTION_KEYS, TAG_KEYS, parse_caption_key, parse_fields

FILE_COLUMNS = (
    "file_name",
    "file",
    "filename",
    "path",
    "filepath",
    "image",
    "image_path",
    "imgname",
)
URL_COLUMNS = ("url", "image_url", "img_url", "uri", "src")
LANGUAGE_COLUMNS = ("language", "lang")
MAX_BYTES = 1 << 30
CAPTION_SOURCE = "manifest"


class Manifest:
    """A table of captions.

    Attributes:
        rows: The rows by the normalized name of the file that they describe.
        written: Normalized name -> the name as it is written, where that differs.
        notes: What was read otherwise than it is written.
    """

    def __init__(
        self,
        rows: Mapping[str, list[Row]],
        written: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.rows, self.written, self.notes = rows, written or {}, tuple(notes)

    def find(self, names: Sequence[str], folder: str | None = None) -> Match:
        """Return the rows that fit a file, by their normalized names.

        Args:
            names: Those that the file may have in the table, such as the relative one. Of those
                that fit equally well the first counts.
            folder: That of the table; a row may give the first name from a folder above it.
        """
        normalized = [normalize_file_name(name) for name in names]
        match = next((Match((name,), "exact") for name in normalized if name in self.rows), None)
        if match:
            return match
        matches = [self._index.find(name) for name in normalized]
        if folder is not None:
            matches.append(self._index.find_from_above(normalized[0], folder))
        found = [match for match in matches if match.names]
        return min(found, key=lambda match: HOWS.index(match.how), default=NO_MATCH)

    @cached_property
    def _index(self) -> NameIndex:
        return NameIndex(self.rows)


def parse_manifest(name: str, data: bytes) -> Manifest:
    """Parse the table called `name`; raises `ValueError` with a message for the user."""
    rows: dict[str, list[Row]] = {}
    written: dict[str, str] = {}
    notes: list[str] = []
    for file, row in parse_rows(name, data, on_note=notes.append):
        key = normalize_file_name(file)
        rows.setdefault(key, []).append(row)
        if key != file.strip():
            written[key] = file.strip()
    return Manifest(rows, written, notes)


def parse_rows(
    name: str,
    data: bytes,
    columns: Sequence[str] = FILE_COLUMNS,
    on_note: NoteCallback = ignore_note,
) -> Iterator[tuple[str, Row]]:
    """Yield the file that each row names and the row's other columns.

    Args:
        name: The table's name; its extension tells the format.
        data: The table's bytes.
        columns: Names of the column with the file; the first one present counts.
        on_note: Called where a row is read otherwise than it is written.

    Raises:
        ValueError: The table cannot be read; the message is for the user.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a manifest of more than {MAX_BYTES >> 20} MB")
    extension = name.lower().rpartition(".")[2]
    read_rows = MANIFEST_READERS.get(extension, read_delimited)
    column = None  # "" may be the name of one, as in the tables that pandas writes
    for row in read_rows(decode_text(data), extension, columns, on_note):
        if column is None or column not in row:
            column = _find_file_column(row, columns)
        file = str(row[column] or "")
        if file.strip():
            yield file, {key: value for key, value in row.items() if key != column}


def hash_rows(rows: Sequence[Row]) -> str:
    """Return a digest that changes when one of the rows does."""
    text = json.dumps(rows, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def parse_caption_rows(rows: Iterable[Row], image_name: str) -> FileCaptions:
    """Return the captions, tags and metadata of an image's rows; later rows win in metadata."""
    parts = []
    for row in rows:
        if is_apple_row(row):
            parts.append(parse_apple_row(row))
            continue
        languages = {name: parse_language_tag(str(row.get(name, ""))) for name in LANGUAGE_COLUMNS}
        column = next((name for name, language in languages.items() if language), "")
        fields = {key: value for key, value in row.items() if key != column}
        language = languages.get(column)
        parts.append(parse_fields(fields, language, CAPTION_SOURCE, image_name))
    return merge_file_captions(parts)


def read_delimited(
    text: str, extension: str, columns: Sequence[str], on_note: NoteCallback
) -> Iterator[Row]:
    """Read the rows of CSV or TSV."""
    lines = iterate_delimited(text, extension, on_note)
    _, header = next(lines, (0, []))
    file_at = header.index(_find_file_column(header, columns)) if header else 0
    converters = [
        (name, str if name.lower() in columns or _holds_text(name) else _parse_number)
        for name in header
    ]
    for number, cells in lines:
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header):
            joined = _join_text(cells, header, file_at)
            on_note(
                f"line {number}: {len(cells)} cells under {len(header)} columns; "
                + ("the text was put together" if joined else "the last ones were left out")
                + ": write a text with a delimiter in quotation marks"
            )
        else:
            joined = None
        fitted = chain(joined or cells, repeat(""))  # pads short rows
        row = zip(converters, fitted, strict=False)
        yield {name: convert(cell) for (name, convert), cell in row}


def _join_text(cells: list[str], header: Sequence[str], file_at: int) -> list[str] | None:
    """Put a text together that its own commas have cut; None if it is not clear which one."""
    texts = [i for i, name in enumerate(header) if parse_caption_key(name)[0] in CAPTION_KEYS]
    if len(texts) != 1:
        return None
    (at,) = texts
    end = at + len(cells) - len(header) + 1
    joined = [*cells[:at], ",".join(cells[at:end]), *cells[end:]]
    files = [get_extension(row[file_at]) in IMAGE_EXTENSIONS for row in (joined, cells)]
    return joined if files[0] or not files[1] else None


def read_json_lines(
    text: str, extension: str, columns: Sequence[str], on_note: NoteCallback
) -> Iterator[Row]:
    """Read a JSON object a line; blank lines are ignored."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield parse_json_row(line, number)


Reader = Callable[[str, str, Sequence[str], NoteCallback], Iterator[Row]]

MANIFEST_READERS: Mapping[str, Reader] = {
    "csv": read_delimited,
    "tsv": read_delimited,
    "jsonl": read_json_lines,
    "ndjson": read_json_lines,
}
"""Extension -> function of (text, extension, names of the column with the file, callback for notes)
that yields the rows, or raises `ValueError`. A new format is one line here."""


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
