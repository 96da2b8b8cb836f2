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
from indexer.collection import writing
from indexer.config import Config, parse_name
from indexer.errors import CollectionError
from indexer.ingest.thumbnails import thumbnail_path
from indexer.meta import card_in
from indexer.moving.archive import FIRST, Archive, unpack_local
from indexer.moving.chunks import unpack, unpack_pieces
from indexer.moving.local import CATALOGUE, THUMBS
from indexer.moving.move import Mode, MoveReport, move
from indexer.moving.snapshot import FORMAT
from indexer.moving.source import PAGE, Counts, Page
from indexer.moving.trust import is_catalogue
from indexer.places import place_of
from indexer.schema import schema
from indexer.stores.validate import check_records
from indexer.types import IngestProgress, Record

SCRATCH = ".restoring"  # in the collection's folder
CHUNKS = 16  # that a sample is drawn from
MOST_DIM = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself."""

    collection: str
    tenant: str | None
    created: str
    ingested: str | None
    counts: Counts
    card: ModelCard


def restore(
    path: Path,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> MoveReport:
    """Make the collection of `to` out of the file `path`; see `move`.

    Raises `CollectionError` for what is no snapshot, or a damaged one, before anything is begun;
    and what `move` raises.
    """
    place, tell = place_of(to), on_progress or (lambda _: None)
    folder = place.folder(to.collection)
    with Archive(path) as archive:
        header, started = read_header(archive), time.monotonic()

        def on_bytes(done: int, total: int) -> None:
            tell(IngestProgress("read", done >> 20, total >> 20, 0, time.monotonic() - started))

        archive.verify(on_bytes)
        with writing(folder):
            scratch = folder / SCRATCH
            try:
                unpack_local(archive, scratch)
                source = SnapshotSource(archive, header, scratch)
                return move(source, place, to, mode, on_progress=on_progress, stop=stop)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def name_in(path: Path) -> str:
    """The collection that the file is a snapshot of; raises as `restore` does."""
    with Archive(path) as archive:
        return read_header(archive).collection


def read_header(archive: Archive) -> Header:
    """Raises `CollectionError` for a format that is not known, or what is none."""
    try:
        told: dict[str, Any] = json.loads(archive.read(FIRST))
        if int(told["format"]) > FORMAT:
            raise CollectionError(
                f"{archive.path} has format {told['format']}, and this program reads up to "
                f"{FORMAT}: update it (pip install --upgrade polylens)"
            )
        return _header(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise archive.damaged(f"its {FIRST} cannot be read ({error})") from None


def _header(told: dict[str, Any]) -> Header:
    card = card_in(told)
    if not (isinstance(card.dim, int) and 0 < card.dim <= MOST_DIM):
        raise ValueError(f"its vectors have {card.dim!r} numbers")
    if not (isinstance(card.name, str) and isinstance(card.fingerprint, str)):
        raise ValueError("its model has no name")
    kept = schema(card.dim)
    if (told["dense"], told["sparse"]) != (dict(kept.dense), list(kept.sparse)):
        raise ValueError(f"its vectors are {told['dense']} and {told['sparse']}")
    kinds = {str(kind): int(points) for kind, points in told["kinds"].items()}
    return Header(
        parse_name(told["collection"]),
        told["tenant"],
        str(told["created"]),
        told["ingested"],
        Counts(int(told["points"]), kinds),
        card,
    )


class SnapshotSource:
    """The points of an archive; what is a machine's own has been unpacked to `scratch`."""

    def __init__(self, archive: Archive, header: Header, scratch: Path) -> None:
        self.label, self.card, self.ingested = str(archive.path), header.card, header.ingested
        self.identity = archive.digest
        self.path = self.index = scratch
        self._archive, self._header = archive, header
        self._schema = schema(header.card.dim)
        self._chunks = _chunks(archive)
        for catalogue in scratch.rglob(CATALOGUE):
            if not is_catalogue(catalogue):
                catalogue.unlink()  # the next ingest makes it anew

    def counts(self) -> Counts:
        return self._header.counts

    def pages(self, after: str | None = None) -> Iterator[Page]:
        """Places are told as CHUNK/POINT."""
        first, start = map(int, after.split("/")) if after else (0, 0)
        if not self._chunks:
            yield Page([], None)
        for number in range(first, len(self._chunks)):
            records = self._records(number, thumbs=True)
            last = number + 1 == len(self._chunks)
            for begin in range(start, len(records), PAGE):
                end = begin + PAGE
                after_all = None if last else f"{number + 1}/0"
                following = f"{number}/{end}" if end < len(records) else after_all
                yield Page(records[begin:end], following)
            start = 0

    def sample(self, size: int) -> list[Record]:
        random, count = Random(), len(self._chunks)
        drawn = random.sample(range(count), min(count, CHUNKS))
        records = [self._records(number) for number in drawn]
        share = -(-size // max(1, len(drawn)))
        return [r for found in records for r in random.sample(found, min(share, len(found)))]

    def unchanged(self) -> bool:
        return True

    def _records(self, number: int, *, thumbs: bool = False) -> list[Record]:
        """A chunk's; `thumbs` lays its thumbnails out."""
        parts = {end: self._archive.read(name) for end, name in self._chunks[number].items()}
        try:
            records = unpack(parts, self._schema)
            check_records(records, self._schema)
            if thumbs and "thumbs.jpgs" in parts:
                self._lay_out(records, unpack_pieces(parts, "thumbs", len(records)))
        except Exception as error:  # whatever a hostile file may bring about in numpy or json
            raise self._archive.damaged(f"chunk {number} holds no points ({error})") from error
        if not records:
            raise self._archive.damaged(f"chunk {number} holds no points")
        return records

    def _lay_out(self, records: list[Record], pieces: list[bytes | None]) -> None:
        for record, piece in zip(records, pieces, strict=True):
            if piece is not None:
                path = thumbnail_path(self.path / THUMBS, record.id)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(piece)


def _chunks(archive: Archive) -> list[dict[str, str]]:
    """Of each chunk: the end of a member's name -> the name."""
    found: dict[int, dict[str, str]] = {}
    for name in archive.names():
        if match := re.fullmatch(r"points/(\d{8})\.(.+)", name):
            found.setdefault(int(match[1]), {})[match[2]] = name
    if sorted(found) != list(range(len(found))):
        raise archive.damaged("some of its points are missing")
    return [found[number] for number in range(len(found))]
