"""A collection out of the file of a snapshot.

A file may come from anywhere: every member's digest is compared before anything is begun, nothing
is unpickled, and what lies in it is read by its form alone. What it says is believed: its model is
the one that a search loads, and its paths are where the pictures are looked for.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from embedder.types import ModelCard
from indexer.collections import open_backend
from indexer.collections.collection import lock_for_writing
from indexer.collections.metadata_file import parse_card
from indexer.collections.schema import make_schema
from indexer.config import Config, parse_name
from indexer.errors import CollectionError
from indexer.ingest.thumbnails import thumbnail_path
from indexer.stores.validation import check_records
from indexer.transfer.archive import FIRST, Archive, unpack_local_state
from indexer.transfer.local_state import CATALOG_FILE, THUMBNAIL_DIR
from indexer.transfer.serialization import unpack_blobs, unpack_records
from indexer.transfer.snapshot import FORMAT_VERSION
from indexer.transfer.source import PAGE_SIZE, Page, PointCounts
from indexer.transfer.sqlite_check import is_valid_catalog
from indexer.transfer.transfer import Mode, TransferReport, transfer
from indexer.types import IngestProgress, Record

SCRATCH_DIR = ".restoring"  # in the collection's folder
SAMPLED_CHUNKS = 16  # that a sample is drawn from
MAX_DIM = 1 << 16


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What the file says of itself."""

    collection: str
    tenant: str | None
    created: str
    ingested: str | None
    counts: PointCounts
    card: ModelCard


def restore(
    path: Path,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> TransferReport:
    """Make the collection of `to` out of the file `path`; see `move`.

    Raises `CollectionError` for what is no snapshot, or a damaged one, before anything is begun;
    and what `move` raises.
    """
    place, tell = open_backend(to), on_progress or (lambda _: None)
    folder = place.local_dir(to.collection)
    with Archive(path) as archive:
        header, started = read_header(archive), time.monotonic()

        def on_bytes(done: int, total: int) -> None:
            tell(IngestProgress("read", done >> 20, total >> 20, 0, time.monotonic() - started))

        archive.verify(on_bytes)
        with lock_for_writing(folder):
            scratch = folder / SCRATCH_DIR
            try:
                unpack_local_state(archive, scratch)
                source = SnapshotSource(archive, header, scratch)
                return transfer(source, place, to, mode, on_progress=on_progress, stop=stop)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def read_collection_name(path: Path) -> str:
    """The collection that the file is a snapshot of; raises as `restore` does."""
    with Archive(path) as archive:
        return read_header(archive).collection


def read_header(archive: Archive) -> SnapshotHeader:
    """Raises `CollectionError` for a format that is not known, or what is none."""
    try:
        told: dict[str, Any] = json.loads(archive.read(FIRST))
        if int(told["format"]) > FORMAT_VERSION:
            raise CollectionError(
                f"{archive.path} has format {told['format']}, and this program reads up to "
                f"{FORMAT_VERSION}: update it (pip install --upgrade polylens)"
            )
        return _parse_header(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise archive.damage_error(f"its {FIRST} cannot be read ({error})") from None


def _parse_header(told: dict[str, Any]) -> SnapshotHeader:
    card = parse_card(told)
    if not (isinstance(card.dim, int) and 0 < card.dim <= MAX_DIM):
        raise ValueError(f"its vectors have {card.dim!r} numbers")
    if not (isinstance(card.name, str) and isinstance(card.fingerprint, str)):
        raise ValueError("its model has no name")
    kept = make_schema(card.dim)
    if (told["dense"], told["sparse"]) != (dict(kept.dense), list(kept.sparse)):
        raise ValueError(f"its vectors are {told['dense']} and {told['sparse']}")
    kinds = {str(kind): int(points) for kind, points in told["kinds"].items()}
    return SnapshotHeader(
        parse_name(told["collection"]),
        told["tenant"],
        str(told["created"]),
        told["ingested"],
        PointCounts(int(told["points"]), kinds),
        card,
    )


class SnapshotSource:
    """The points of an archive; what is a machine's own has been unpacked to `scratch`."""

    def __init__(self, archive: Archive, header: SnapshotHeader, scratch: Path) -> None:
        self.label, self.card, self.ingested = str(archive.path), header.card, header.ingested
        self.identity = archive.digest
        self.path = self.index = scratch
        self._archive, self._header = archive, header
        self._schema = make_schema(header.card.dim)
        self._chunks = _group_chunks(archive)
        for catalogue in scratch.rglob(CATALOG_FILE):
            if not is_valid_catalog(catalogue):
                catalogue.unlink()  # the next ingest makes it anew

    def counts(self) -> PointCounts:
        return self._header.counts

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        """Places are told as CHUNK/POINT."""
        first, start = map(int, after.split("/")) if after else (0, 0)
        if not self._chunks:
            yield Page([], None)
        for number in range(first, len(self._chunks)):
            records = self._read_chunk(number, thumbs=True)
            last = number + 1 == len(self._chunks)
            for begin in range(start, len(records), PAGE_SIZE):
                end = begin + PAGE_SIZE
                after_all = None if last else f"{number + 1}/0"
                following = f"{number}/{end}" if end < len(records) else after_all
                yield Page(records[begin:end], following)
            start = 0

    def sample(self, size: int) -> list[Record]:
        random, count = Random(), len(self._chunks)
        drawn = random.sample(range(count), min(count, SAMPLED_CHUNKS))
        records = [self._read_chunk(number) for number in drawn]
        share = -(-size // max(1, len(drawn)))
        return [r for found in records for r in random.sample(found, min(share, len(found)))]

    def is_unchanged(self) -> bool:
        return True

    def _read_chunk(self, number: int, *, thumbs: bool = False) -> list[Record]:
        """A chunk's; `thumbs` lays its thumbnails out."""
        parts = {end: self._archive.read(name) for end, name in self._chunks[number].items()}
        try:
            records = unpack_records(parts, self._schema)
            check_records(records, self._schema)
            if thumbs and "thumbs.jpgs" in parts:
                self._write_thumbnails(records, unpack_blobs(parts, "thumbs", len(records)))
        except Exception as error:  # whatever a hostile file may bring about in numpy or json
            raise self._archive.damage_error(f"chunk {number} holds no points ({error})") from error
        if not records:
            raise self._archive.damage_error(f"chunk {number} holds no points")
        return records

    def _write_thumbnails(self, records: list[Record], pieces: list[bytes | None]) -> None:
        for record, piece in zip(records, pieces, strict=True):
            if piece is not None:
                path = thumbnail_path(self.path / THUMBNAIL_DIR, record.id)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(piece)


def _group_chunks(archive: Archive) -> list[dict[str, str]]:
    """Of each chunk: the end of a member's name -> the name."""
    found: dict[int, dict[str, str]] = {}
    for name in archive.names():
        if match := re.fullmatch(r"points/(\d{8})\.(.+)", name):
            found.setdefault(int(match[1]), {})[match[2]] = name
    if sorted(found) != list(range(len(found))):
        raise archive.damage_error("some of its points are missing")
    return [found[number] for number in range(len(found))]
