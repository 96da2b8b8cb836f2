"""Reads, merges and writes pairs in files and folders.

The formats are JSON lines, CSV, TSV, Parquet, folders of those, and what `datasets` saves. Rows are
read by `finetune.data.formats`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from embedder.files import write_file
from finetune.data.formats import Row, parse_row, to_row
from finetune.data.pairs import ContentKeys, Pair, ProgressCallback, Side, SourcePairs
from finetune.data.perceptual_hash import PerceptualHash, compute_hashes
from finetune.errors import DataError
from indexer.captions.delimited import iterate_delimited
from indexer.captions.encoding import decode_text
from indexer.captions.find_file import find_file
from indexer.captions.manifest import parse_json_row
from indexer.captions.matching import How

FoundFile = tuple[str, str, How]
"""A path as it is written, the file that was found for it, and how."""

RowIterator = Iterator[tuple[str, Row]]
"""Yields rows with their position, such as "line 12"."""

MAX_PATHS_SHOWN = 3
ROW_BATCH = 1000  # rows in memory at a time
SHARD_SUFFIX = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedPairs:
    """The usable pairs.

    `missing`, `damaged`: paths of images whose pairs were dropped, the latter with the reason;
    `inexact`: paths as they are written, the images found for them, and how; `duplicates`:
    repeated pairs that were dropped; `hashes`: perceptual hashes by path.
    """

    pairs: list[Pair]
    missing: list[str]
    inexact: list[FoundFile]
    damaged: dict[str, str]
    duplicates: int
    hashes: Mapping[str, PerceptualHash] = field(repr=False)


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
    pairs, missing, _ = _drop_missing(pairs)
    if missing:
        raise DataError(
            f"{describe_missing(missing)}; pass their folder with --images, or drop their pairs: "
            f"finetune pairs {path} --images FOLDER --out FILE.jsonl"
        )
    return pairs


def iter_pairs(path: Path, images: Path | None = None) -> Iterator[Pair]:
    """Yield the same pairs without checking that their images exist."""
    for table, dataset in find_tables(path):
        root = Path(os.path.expanduser(images or table.parent)).absolute()
        for where, row in read_rows(table):
            try:
                yield from parse_row(row, root, dataset)
            except DataError as error:
                raise DataError(f"{table}, {where}: {error}") from None


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write `pairs` as JSON lines and return their number; a failure leaves the old file."""
    lines = [json.dumps(to_row(pair), ensure_ascii=False) + "\n" for pair in pairs]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, "".join(lines))
    return len(lines)


def merge_pairs(
    sources: Iterable[SourcePairs],
    content_keys: ContentKeys,
    *,
    check: bool = True,
    on_progress: ProgressCallback = lambda done, total: None,
) -> MergedPairs:
    """Merge the pairs of `sources`; each usable pair is kept once, with its item.

    With `check` each image is decoded at a small size, otherwise it only has to exist. Raises
    `DataError` if an image cannot be read any more.
    """
    found = _drop_missing(pair for source in sources for pair in source.pairs)
    usable, missing, inexact = found
    hashes: dict[str, PerceptualHash] = {}
    damaged: dict[str, str] = {}
    if check:
        paths = [path for pair in usable for path in pair.image_paths]
        paths += [side.image for pair in usable for side in pair.negatives if side.image]
        hashes, damaged = compute_hashes(list(dict.fromkeys(paths)), on_progress)
        usable = _keep_usable(usable, lambda path: path not in damaged)
    distinct: dict[Pair, Pair] = {}  # without the dataset's name, which may differ
    for pair in usable:
        keyed = replace(pair, item=content_keys.item_of(pair))
        distinct.setdefault(replace(keyed, dataset=""), keyed)
    return MergedPairs(
        pairs=list(distinct.values()),
        missing=missing,
        inexact=inexact,
        damaged=damaged,
        duplicates=len(usable) - len(distinct),
        hashes=hashes,
    )


def describe_missing(missing: Sequence[str]) -> str:
    """Describe missing images: 12 pictures are missing, such as a.jpg, b.jpg, c.jpg."""
    count = "1 picture is" if len(missing) == 1 else f"{len(missing)} pictures are"
    shown = (path if len(path) <= 200 else f"{path[:120]}…" for path in missing[:MAX_PATHS_SHOWN])
    return f"{count} missing, such as {', '.join(shown)}"


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
        split, *others = _read_splits(path / "dataset_dict.json")
        if others:
            raise DataError(f"{path} has several splits; choose one: {path / split}")
        return [(path / split, path.name)]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
    if not found:
        raise DataError(f"{path} has no table of pairs ({', '.join(READERS)})")
    return [(p, p.parent.name if p.suffix == ".parquet" else p.stem) for p in found]


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


def _drop_missing(pairs: Iterable[Pair]) -> tuple[list[Pair], list[str], list[FoundFile]]:
    """Drop the pairs whose images do not exist.

    Returns:
        The others; the missing paths, sorted; and the images whose names are not exact, which
        replace those that are written.
    """
    missing: set[str] = set()
    inexact: dict[str, FoundFile] = {}

    @cache
    def find(path: str) -> str | None:
        if os.path.isfile(path):  # noqa: PTH113 - False too for a name that is too long
            return path
        match = find_file(path)
        if match.name is None or not Path(match.name).is_file():
            missing.add(path)
            return None
        inexact[path] = (path, match.name, match.how)
        return match.name

    def relocate(side: Side) -> Side:
        found = find(side.image) if side.image else None
        return replace(side, image=found) if found and found != side.image else side

    relocated = (
        replace(
            pair,
            query=relocate(pair.query),
            positive=relocate(pair.positive),
            negatives=tuple(map(relocate, pair.negatives)),
        )
        for pair in pairs
    )
    usable = _keep_usable(relocated, lambda path: find(path) is not None)
    return usable, sorted(missing), list(inexact.values())


def _keep_usable(pairs: Iterable[Pair], is_usable: Callable[[str], bool]) -> list[Pair]:
    """Keep pairs whose query and positive are usable, with their usable negatives."""
    kept = []
    for pair in pairs:
        sides = (pair.query, pair.positive, *pair.negatives)
        query, positive, *rest = [not side.image or is_usable(side.image) for side in sides]
        if query and positive:
            negatives = zip(pair.negatives, rest, strict=True)
            kept.append(
                replace(pair, negatives=tuple(side for side, usable in negatives if usable))
            )
    return kept


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
