"""Finds tables of pairs in files and folders, and reads their rows.

The formats are JSON lines, CSV, TSV, Parquet, folders of those, and what `datasets` saves.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from finetune.data.cells import Row
from finetune.errors import DataError
from indexer.captions.delimited import iterate_delimited
from indexer.captions.encoding import decode_text
from indexer.captions.manifest import parse_json_row

RowIterator = Iterator[tuple[str, Row]]
"""Yields rows with their position, such as "line 12"."""

SPLITS = ("original", "diverse_instruction", "train")
"""The splits that each folder of MMEB-train has, and mmE5's `train`. One of them is read: the named
one, else the first. VLM2Vec's authors train on `original`, mmE5's on `train`."""
ROW_BATCH = 1000  # rows in memory at a time
MAX_BATCH_BYTES = 1 << 26  # of these rows in a Parquet file, which may hold images
SHARD_SUFFIX = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTable:
    """A table of pairs: a file, or a folder saved by `datasets`."""

    path: Path
    dataset: str
    split: str = ""  # the one that was chosen; "" if there was no choice
    other_splits: tuple[str, ...] = ()
    absent_split: str = ""  # the named one, where the folder has only another


def find_tables(path: Path, split: str = "") -> list[PairTable]:
    """Find the tables at `path`, each with its dataset's name; raises `DataError`.

    A folder saved by `datasets` is one table; any other folder is searched for tables. Of a folder
    that holds several of `SPLITS`, such as those of MMEB-train, only `split` is read, by default
    the first. A table that is named after its split belongs to the dataset that its folder names.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_dir():
        stem = _table_stem(path)
        return [
            PairTable(path=path, dataset=path.absolute().parent.name if stem in SPLITS else stem)
        ]
    if (path / "state.json").exists():
        return [PairTable(path=path, dataset=path.name)]
    if (path / "dataset_dict.json").exists():
        splits = _read_splits(path / "dataset_dict.json")
        chosen, others = _choose_split(path, splits, split)
        return [PairTable(path=path / chosen, dataset=path.name, split=chosen, other_splits=others)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
    if not found:
        raise DataError(f"{path} has no table of pairs ({', '.join(READERS)})")
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in found:
        folders[file.parent].append(file)
    return [table for files in folders.values() for table in _choose_tables(files, split)]


def describe_splits(tables: Sequence[PairTable]) -> str:
    """Describe what was chosen: `original of 20 data sets (others: train)`; "" for no choice."""
    parts = []
    only: dict[tuple[str, str], dict[str, None]] = {}  # of folders without the named split
    for table in tables:
        if table.absent_split:
            only.setdefault((table.split, table.absent_split), {})[table.dataset] = None
    for (split, absent), datasets in only.items():
        parts.append(f"{split} of {', '.join(datasets)} (without {absent})")
    chosen = [table for table in tables if table.other_splits]
    for split in dict.fromkeys(table.split for table in chosen):
        of_split = [table for table in chosen if table.split == split]
        names = {table.dataset for table in of_split}
        count = "1 data set" if len(names) == 1 else f"{len(names)} data sets"
        others = dict.fromkeys(other for table in of_split for other in table.other_splits)
        parts.append(f"{split} of {count} (others: {', '.join(others)})")
    return "; ".join(parts)


def _choose_tables(files: Sequence[Path], split: str) -> Iterator[PairTable]:
    """Yield those of one folder's tables that are read."""
    folder = files[0].parent
    splits = [name for name in SPLITS if any(_table_stem(file) == name for file in files)]
    chosen, others = _choose_split(folder, splits, split) if len(splits) > 1 else ("", ())
    absent = split if splits and split not in ("", *splits) else ""
    if absent:  # and no choice
        chosen = splits[0]
    for file in files:
        stem = _table_stem(file)
        if stem not in others:
            is_parquet = file.suffix.lower() == ".parquet"
            yield PairTable(
                path=file,
                dataset=folder.absolute().name if is_parquet or stem in SPLITS else stem,
                split=chosen,
                other_splits=others,
                absent_split=absent if stem == chosen else "",
            )


def _choose_split(folder: Path, splits: Sequence[str], split: str) -> tuple[str, tuple[str, ...]]:
    """Return the split to read and the others."""
    if len(splits) == 1:
        return splits[0], ()
    default = next((name for name in SPLITS if name in splits), "")
    chosen = (split if split in splits else "") if split else default
    if not chosen:
        problem = f"no split {split!r}" if split else "several splits"
        raise DataError(
            f"{folder} has {problem}; choose one with --dataset-split: {', '.join(splits)}"
        )
    return chosen, tuple(name for name in splits if name != chosen)


def _table_stem(file: Path) -> str:
    return SHARD_SUFFIX.sub("", file.stem)


def _read_splits(path: Path) -> list[str]:
    """The names of the splits of a folder saved by `datasets`, at least one."""
    try:
        splits = json.loads(path.read_text("utf-8"))["splits"]
        if splits and all(isinstance(split, str) for split in splits):
            return list(splits)
        raise ValueError("it names no splits")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error!r}); save the data set again") from None


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
    lines = iterate_delimited(decode_text(path.read_bytes()), path.suffix.lower()[1:])
    _, header = next(lines, (0, []))
    for number, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            raise ValueError(
                f"line {number}: {len(cells)} cells under {len(header)} columns; put a cell with a "
                "delimiter in quotes"
            )
        yield f"line {number}", dict(zip(header, cells, strict=False))


def _read_parquet(path: Path) -> RowIterator:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        fitting = (
            MAX_BATCH_BYTES
            * file.metadata.num_rows
            // (1 + sum(group.total_byte_size for group in groups))
        )
        batches = file.iter_batches(max(1, min(fitting, ROW_BATCH)))
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


def describe_files(paths: Sequence[Path], split: str = "") -> list[dict[str, Any]]:
    """Describe a run's data: each path, what was chosen of several splits, and a digest of its
    tables. The images are not read, as there may be hundreds of gigabytes beside a table."""
    described = []
    for path in paths:
        hasher, tables = blake3(), find_tables(path, split)
        for table in tables:
            is_folder = table.path.is_dir()
            for file in sorted(table.path.rglob("*")) if is_folder else [table.path]:
                if file.is_file():
                    hasher.update_mmap(str(file))
        found = {"path": str(path.absolute()), "blake3": hasher.hexdigest(16)}
        described.append({**found, "split": describe_splits(tables)})
    return described
