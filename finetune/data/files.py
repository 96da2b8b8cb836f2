"""Pairs from files and folders, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from finetune.data.formats import columns, mmeb
from finetune.data.formats.tables import find_tables, read_rows
from finetune.data.missing_images import describe_missing, drop_missing
from finetune.data.pairs import Pair
from finetune.errors import DataError


def read_pairs(path: Path, images: Path | None = None) -> list[Pair]:
    """The pairs of a table or of a folder of tables (JSON lines, CSV, TSV, Parquet, `datasets`).

    Relative paths of pictures are told from `images`, or from the folder the table lies in. Raises
    `DataError`, which names the table and the row, and where pictures are missing.
    """
    pairs = list(iter_pairs(path, images))
    if not pairs:
        raise DataError(f"there are no pairs in {path}")
    _, missing = drop_missing(pairs)
    if missing:
        raise DataError(
            f"{describe_missing(missing)}; name the folder they are in, or leave out their pairs: "
            f"finetune pairs {path} --images FOLDER --out FILE.jsonl"
        )
    return pairs


def iter_pairs(path: Path, images: Path | None = None) -> Iterator[Pair]:
    """The same as they come, whether their pictures are there or not."""
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
    """Write `pairs` as JSON lines, the file whole or not at all; how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, count = path.with_name(f".{path.name}.{os.getpid()}"), 0
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
            for pair in pairs:
                file.write(json.dumps(mmeb.to_row(pair), ensure_ascii=False) + "\n")
                count += 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
