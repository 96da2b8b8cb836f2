"""Reads, merges and writes pairs. `finetune.data.tables` finds and reads their tables,
`finetune.data.formats` parses the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from embedder.files import write_file
from finetune.data.formats import parse_row, to_row
from finetune.data.pairs import ContentKeys, Pair, ProgressCallback, Side, SourcePairs
from finetune.data.perceptual_hash import PerceptualHash, compute_hashes
from finetune.data.tables import find_tables, read_rows
from finetune.errors import DataError
from indexer.captions.find_file import find_file
from indexer.captions.matching import How

FoundFile = tuple[str, str, How]
"""A path as it is written, the file that was found for it, and how."""

MAX_PATHS_SHOWN = 3


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


def read_pairs(path: Path, images: Path | None = None, split: str = "") -> list[Pair]:
    """Read the pairs of a table or a folder of tables.

    Args:
        path: A table or a folder.
        images: Folder that relative image paths start from; by default that of the table.
        split: Which of several splits to read; by default the first of `SPLITS` that there is.

    Raises:
        DataError: A row is invalid or an image is missing; the message names the table and row.
    """
    pairs = list(iter_pairs(path, images, split))
    if not pairs:
        raise DataError(f"there are no pairs in {path}")
    pairs, missing, _ = _drop_missing(pairs)
    if missing:
        raise DataError(
            f"{describe_missing(missing)}; pass their folder with --images, or drop their pairs: "
            f"finetune pairs {path} --images FOLDER --out FILE.jsonl"
        )
    return pairs


def iter_pairs(path: Path, images: Path | None = None, split: str = "") -> Iterator[Pair]:
    """Yield the same pairs without checking that their images exist."""
    for table in find_tables(path, split):
        root = Path(os.path.expanduser(images or table.path.parent)).absolute()
        for where, row in read_rows(table.path):
            try:
                yield from parse_row(row, root, table.dataset)
            except DataError as error:
                raise DataError(f"{table.path}, {where}: {error}") from None


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
