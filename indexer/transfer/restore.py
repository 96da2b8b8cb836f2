"""Makes a collection out of a snapshot file.

A file may come from anywhere: the digest of every member is compared before anything is written,
nothing is unpickled, and the contents are checked strictly. What it says is trusted: a search loads
the model that it names, and looks for the images under its paths.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from embedder.files import make_private_dir, open_private
from embedder.types import ModelCard
from indexer.collections import open_backend
from indexer.collections.backend import parse_card
from indexer.collections.collection import lock_for_writing
from indexer.collections.schema import TextIndexing, make_schema
from indexer.config import Config, parse_name
from indexer.errors import CollectionError
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.stores.base import check_records
from indexer.transfer.archive import FIRST, Archive, open_archive
from indexer.transfer.local_state import LocalState, is_valid_catalog
from indexer.transfer.migrate import Mode, Transfer, TransferReport
from indexer.transfer.serialization import unpack_records, unpack_thumbnails
from indexer.transfer.snapshot import FORMAT_VERSION
from indexer.transfer.source import PAGE_SIZE, SAMPLE_SIZE, Page, PointCounts, PointSource
from indexer.types import IngestProgress, Record

SCRATCH_DIR = ".restoring"  # in the collection's folder
SAMPLED_CHUNKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotHeader:
    """What `snapshot.json` says."""

    collection: str
    ingested: str | None
    counts: PointCounts
    card: ModelCard
    texts: TextIndexing


def restore(
    path: Path,
    to: Config,
    mode: Mode = "new",
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> TransferReport:
    """Make the collection of `to` out of the file `path`; see `Transfer`.

    Raises `CollectionError` for a file that is not a snapshot, or is damaged, before anything is
    written; and what `Transfer.run` raises.
    """
    backend, started = open_backend(to), time.monotonic()

    def on_bytes(done: int, total: int) -> None:
        if on_progress:
            seconds = time.monotonic() - started
            on_progress(IngestProgress("read", done >> 20, total >> 20, 0, seconds))

    with open_archive(path) as archive:
        header = read_header(archive)
        archive.verify(on_bytes)
        folder = backend.local_dir(to.collection)
        with lock_for_writing(folder):
            scratch = folder / SCRATCH_DIR
            try:
                archive.unpack_local_state(scratch)
                source = SnapshotSource(archive, header, scratch)
                report = Transfer(source, backend, to, mode, on_progress, stop).run()
                return replace(report, unnamed_sources=source.unnamed_sources)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def read_collection_name(path: Path) -> str:
    """The name of the collection in a snapshot; raises as `restore` does."""
    with open_archive(path) as archive:
        return read_header(archive).collection


def read_header(archive: Archive) -> SnapshotHeader:
    """Raises `CollectionError` for an unknown format, or a header that cannot be read."""
    try:
        header: dict[str, Any] = json.loads(archive.read(FIRST))
        if int(header["format"]) > FORMAT_VERSION:
            raise CollectionError(
                f"{archive.path} has format {header['format']}, and this program reads up to "
                f"{FORMAT_VERSION}: update Polylens"
            )
        card = parse_card(header)
        texts = TextIndexing.from_meta(header)
        schema = make_schema(card.dim, names=texts.names)
        if (header["dense"], header["sparse"]) != (dict(schema.dense), list(schema.sparse)):
            raise ValueError(f"its vectors are {header['dense']} and {header['sparse']}")
        kinds = {str(kind): int(points) for kind, points in header["kinds"].items()}
        return SnapshotHeader(
            collection=parse_name(header["collection"]),
            ingested=header["ingested"],
            counts=PointCounts(int(header["points"]), kinds),
            card=card,
            texts=texts,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise archive.damage_error(f"its {FIRST} cannot be read ({error})") from None


class SnapshotSource(PointSource):
    """The points of an archive, whose local state has been unpacked to `scratch`."""

    def __init__(self, archive: Archive, header: SnapshotHeader, scratch: Path) -> None:
        self.label, self.card, self.ingested = str(archive.path), header.card, header.ingested
        self.identity, self.counts = archive.digest, header.counts
        self.local_state = LocalState(scratch, scratch)
        self.texts = header.texts
        self._archive = archive
        self._schema = make_schema(header.card.dim, names=header.texts.names)
        self._chunks = _group_chunks(archive)
        self.unnamed_sources = _forget_remote_sources(scratch)

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        """A position is CHUNK/POINT."""
        first, start = map(int, after.split("/")) if after else (0, 0)
        if not self._chunks:
            yield Page([], None)
        for number in range(first, len(self._chunks)):
            records = self._read_chunk(number, thumbs=True)
            next_chunk = f"{number + 1}/0" if number + 1 < len(self._chunks) else None
            for begin in range(start, len(records), PAGE_SIZE):
                end = begin + PAGE_SIZE
                next_id = f"{number}/{end}" if end < len(records) else next_chunk
                yield Page(records[begin:end], next_id)
            start = 0

    def sample(self) -> list[Record]:
        random, count = Random(), len(self._chunks)
        numbers = random.sample(range(count), min(count, SAMPLED_CHUNKS))
        chunks = [self._read_chunk(number) for number in numbers]
        share = -(-SAMPLE_SIZE // max(1, len(numbers)))
        return [r for records in chunks for r in random.sample(records, min(share, len(records)))]

    def _read_chunk(self, number: int, *, thumbs: bool = False) -> list[Record]:
        """The records of a chunk; with `thumbs`, its thumbnails are unpacked."""
        parts = {suffix: self._archive.read(name) for suffix, name in self._chunks[number].items()}
        try:
            records = unpack_records(parts, self._schema)
            check_records(records, self._schema)
            if not records:
                raise ValueError("it is empty")
            if thumbs and "thumbs.jpgs" in parts:
                thumbnails = unpack_thumbnails(parts, len(records))
                for record, thumbnail in zip(records, thumbnails, strict=True):
                    path = self.local_state.locate_thumbnail(record)
                    if thumbnail is not None and path is not None:
                        make_private_dir(path.parent)
                        with open_private(path, "wb") as file:
                            file.write(thumbnail)
        except Exception as error:  # whatever a hostile file causes in numpy or json
            raise self._archive.damage_error(f"chunk {number} is invalid ({error})") from error
        return records


def _forget_remote_sources(scratch: Path) -> tuple[str, ...]:
    """Let the catalogs name no other host: whoever wrote the snapshot may not choose what the
    program contacts. Returns the roots that are forgotten; a damaged catalog is deleted."""
    forgotten: list[str] = []
    for file in scratch.rglob(CATALOG_FILE):
        if not is_valid_catalog(file):
            file.unlink()  # the next ingest creates it again
            continue
        with closing(Catalog(file)) as catalog:
            forgotten += catalog.forget_remote_roots()
            catalog.commit()
    return tuple(dict.fromkeys(forgotten))


def _group_chunks(archive: Archive) -> list[dict[str, str]]:
    """For each chunk: the suffix of a member's name -> the name."""
    chunks: dict[int, dict[str, str]] = {}
    for name in archive.names:
        if match := re.fullmatch(r"points/(\d{8})\.(.+)", name):
            chunks.setdefault(int(match[1]), {})[match[2]] = name
    if sorted(chunks) != list(range(len(chunks))):
        raise archive.damage_error("some of its points are missing")
    return [chunks[number] for number in range(len(chunks))]
