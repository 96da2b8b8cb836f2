"""Files and folders -> their rows, each with where it stands.

JSON lines, CSV and TSV, Parquet, folders of those, and what Hugging Face's `datasets` saves.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from finetune.data.formats.cells import Row
from finetune.errors import DataError
from indexer.captions.manifest import parse_json_row

RowIterator = Iterator[tuple[str, Row]]
"""(where, row): "line 12", and what stands there."""

ROW_BATCH = 1000  # rows of a Parquet file that are in memory at a time
SHARD_SUFFIX = re.compile(r"-\d+-of-\d+$")


def find_tables(path: Path) -> list[tuple[Path, str]]:
    """The tables at `path`, each with the name of its data set; raises `DataError`.

    A folder that `datasets` has saved is one; of another folder, all tables in it and below.
    """
    if not path.exists():
        raise DataError(f"there is no {path}")
    if not path.is_dir():
        return [(path, SHARD_SUFFIX.sub("", path.stem))]
    if (path / "state.json").exists():
        return [(path, path.name)]
    if (path / "dataset_dict.json").exists():
        return [_single_split(path)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
    if not found:
        raise DataError(f"{path} holds no table of pairs ({', '.join(READERS)})")
    return [(p, p.parent.name if p.suffix == ".parquet" else p.stem) for p in found]


def read_rows(table: Path) -> RowIterator:
    """The rows of one table; raises `DataError`."""
    if table.is_dir():
        yield from _read_saved_dataset(table)
        return
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise DataError(f"{table} is no table that is read here ({', '.join(READERS)})")
    try:
        yield from reader(table)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{table}: {reason}") from error


def _single_split(path: Path) -> tuple[Path, str]:
    splits = json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
    if len(splits) > 1:
        raise DataError(f"{path} has several splits; name one: {path / splits[0]}")
    return path / splits[0], path.name


def _read_json_lines(path: Path) -> RowIterator:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", parse_json_row(line, number)


def _read_csv(path: Path) -> RowIterator:
    from indexer.captions.encoding import decode_text

    csv.field_size_limit(1 << 24)  # characters in a cell
    text = decode_text(path.read_bytes())
    lines = csv.reader(StringIO(text, newline=""), delimiter=_guess_delimiter(path, text))
    header = next(lines, [])
    start = lines.line_num + 1
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                if len(cells) > len(header):
                    raise ValueError(
                        f"line {start}: {len(cells)} cells under {len(header)} columns; a cell "
                        "with a delimiter in it belongs in quotes"
                    )
                yield f"line {start}", dict(zip(header, cells, strict=False))
            start = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}") from None


def _guess_delimiter(path: Path, text: str) -> str:
    first = text.partition("\n")[0]
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)


def _read_parquet(path: Path) -> RowIterator:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        batches = file.iter_batches(ROW_BATCH)
        yield from _number_rows(row for batch in batches for row in batch.to_pylist())
    except pa.ArrowInvalid as error:
        raise ValueError(f"it is no whole Parquet file ({error})") from None


def _read_saved_dataset(folder: Path) -> RowIterator:
    """A folder that `Dataset.save_to_disk` has written."""
    import datasets

    try:
        saved: Any = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no whole data set ({error})") from error
    pieces = saved.with_format("arrow").iter(batch_size=ROW_BATCH)
    yield from _number_rows(row for piece in pieces for row in piece.to_pylist())


def _number_rows(found: Iterator[Row]) -> RowIterator:
    for number, row in enumerate(found, 1):
        yield f"row {number}", row


READERS: Mapping[str, Any] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
