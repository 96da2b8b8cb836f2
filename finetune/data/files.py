"""Reads and writes pairs in files and folders.

The formats are JSON lines, CSV, TSV, Parquet, folders of those, and what `datasets` saves. Rows are
read by `finetune.data.formats`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from finetune.data.formats import columns, mmeb
from finetune.data.formats.columns import Row
from finetune.data.merge_pairs import describe_missing, drop_missing
from finetune.data.pairs import Pair
from finetune.errors import DataError
from finetune.run_dir import write_text_atomic
from indexer.captions.manifest import parse_json_row

RowIterator = Iterator[tuple[str, Row]]
"""Yields rows with their position, such as "line 12"."""

ROW_BATCH = 1000  # rows in memory at a time
SHARD_SUFFIX = re.compile(r"-\d+-of-\d+$")


def read_pairs(path: Path, images: Path | None = None) -> list[Pair]:
    """Read the pairs of a table or a folder of tables.

    Args:
        path: A table or a folder.
        images: Folder that relative image paths start from; by default that of the table.

    Raises:
        DataError: A row is invalid or an image is missing; the message names the table and row.
    """
    pairs = list(iter_pairs(path, images))
    if not pairs:
        raise DataError(f"there are no pairs in {path}")
    _, missing = drop_missing(pairs)
    if missing:
        raise DataError(
            f"{describe_missing(missing)}; pass their folder with --images, or drop their pairs: "
            f"finetune pairs {path} --images FOLDER --out FILE.jsonl"
        )
    return pairs


def iter_pairs(path: Path, images: Path | None = None) -> Iterator[Pair]:
    """Yield the same pairs without checking that their images exist."""
    for table, dataset in find_tables(path):
        root = (images or table.parent).expanduser().absolute()
        for where, row in read_rows(table):
            try:
                if mmeb.is_mmeb(row):
                    yield mmeb.parse_row(row, root, dataset)
                else:
                    yield from columns.parse_row(row, root, dataset)
            except DataError as error:
                raise DataError(f"{table}, {where}: {error}") from None


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write `pairs` as JSON lines and return their number; a failure leaves the old file."""
    lines = [json.dumps(mmeb.to_row(pair), ensure_ascii=False) + "\n" for pair in pairs]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, "".join(lines))
    return len(lines)


def find_tables(path: Path) -> list[tuple[Path, str]]:
    """Find the tables at `path`, each with its dataset's name; raises `DataError`.

    A folder saved by `datasets` is one table; any other folder is searched for tables.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_dir():
        return [(path, SHARD_SUFFIX.sub("", path.stem))]
    if (path / "state.json").exists():
        return [(path, path.name)]
    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
        if len(splits) > 1:
            raise DataError(f"{path} has several splits; choose one: {path / splits[0]}")
        return [(path / splits[0], path.name)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
    if not found:
        raise DataError(f"{path} has no table of pairs ({', '.join(READERS)})")
    return [(p, p.parent.name if p.suffix == ".parquet" else p.stem) for p in found]


def read_rows(table: Path) -> RowIterator:
    """Read the rows of one table; raises `DataError`."""
    if table.is_dir():
        yield from _read_saved_dataset(table)
        return
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise DataError(f"{table} has no supported format ({', '.join(READERS)})")
    try:
        yield from reader(table)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{table}: {reason}") from error


def _read_json_lines(path: Path) -> RowIterator:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", parse_json_row(line, number)


def _read_csv(path: Path) -> RowIterator:
    from indexer.captions.normalize import decode_text

    csv.field_size_limit(1 << 24)  # characters in a cell
    text = decode_text(path.read_bytes())
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    header = next(lines, [])
    start = lines.line_num + 1
    try:
        for cells in lines:
            if any(cell.strip() for cell in cells):
                if len(cells) > len(header):
                    raise ValueError(
                        f"line {start}: {len(cells)} cells under {len(header)} columns; put a "
                        "cell with a delimiter in quotes"
                    )
                yield f"line {start}", dict(zip(header, cells, strict=False))
            start = lines.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num}: {error}") from None


def _read_parquet(path: Path) -> RowIterator:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        batches = file.iter_batches(ROW_BATCH)
        yield from _number_rows(row for batch in batches for row in batch.to_pylist())
    except pa.ArrowInvalid as error:
        raise ValueError(f"not a complete Parquet file ({error})") from None


def _read_saved_dataset(folder: Path) -> RowIterator:
    """Read a folder written by `Dataset.save_to_disk`."""
    import datasets

    try:
        saved: Any = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a complete dataset ({error})") from error
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
