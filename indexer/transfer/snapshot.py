"""A collection in one file, which `indexer restore` makes a collection of in any store.

`snapshot.json` tells what it is, `points/NNNNNNNN.*` are the points (`chunks`), `local/` is what
was kept of it on this machine: catalogue and votes. Qdrant's own snapshots are of one node's share,
in the server's own form; this file is made by reading every point, so it is the same from a folder,
a server or a cluster.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.cli.console import get_version
from indexer import feedback
from indexer.collections.collection import MIN_FREE_BYTES, check_disk_space
from indexer.collections.metadata_file import current_time
from indexer.collections.schema import make_schema
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.ingest.thumbnails import thumbnail_path
from indexer.stores.tenant import TENANT_KEY
from indexer.transfer.archive import FIRST, LOCAL_NAME_PATTERN, ArchiveWriter
from indexer.transfer.local_state import CATALOG_FILE, THUMBNAIL_DIR, LocalState, copy_catalog
from indexer.transfer.serialization import pack_blobs, pack_records
from indexer.transfer.source import Page, PointSource, open_source_collection
from indexer.types import IngestProgress, Record

FORMAT_VERSION = 1
MAX_CHUNK_POINTS = 4096  # in a chunk
MAX_MEMBER_BYTES = 64 << 20  # of a member of a chunk; what has more is halved


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What was written."""

    path: Path
    points: int
    bytes: int
    votes: int  # collections' files of votes: one, and one a tenant
    catalogues: int
    seconds: float


def snapshot(
    config: Config,
    path: Path,
    *,
    thumbs: bool = False,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> SnapshotReport | None:
    """Write the collection of `config` to `path`, whole or not at all; None where `stop` was set.

    `thumbs`: with the thumbnails, which can be made anew where the pictures are.
    Raises `CollectionError`, `StoreError`, `StoreBusyError`, `DiskFullError`, `OSError`.
    """
    fresh, started = path.with_name(f".{path.name}.{os.getpid()}"), time.monotonic()
    with open_source_collection(config) as source:
        check_disk_space(path.parent, MIN_FREE_BYTES + 4 * source.card.dim * source.counts().points)
        tell = on_progress or (lambda _: None)
        run = _SnapshotRun(source, config, thumbs, tell, stop or threading.Event(), started)
        try:
            with fresh.open("wb") as out:
                report = run(ArchiveWriter(out), path)
                out.flush()
                os.fsync(out.fileno())
            if report is not None:
                fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return report


@dataclass(frozen=True, slots=True)
class _SnapshotRun:
    source: PointSource
    config: Config
    thumbs: bool
    on_progress: Callable[[IngestProgress], None]
    stop: threading.Event
    started: float

    def __call__(self, writer: ArchiveWriter, path: Path) -> SnapshotReport | None:
        writer.add(FIRST, json.dumps(self._make_header(), ensure_ascii=False, indent=2).encode())
        points = self._write_points(writer)
        if self.stop.is_set():
            return None
        wanted = self.source.counts().points
        if points != wanted or not self.source.is_unchanged():
            raise CollectionError(
                f"{self.source.label} has changed while it was read ({points:,} points written, "
                f"{wanted:,} at first); nothing is kept, type the command again"
            )
        catalogues, votes = _add_local_state(
            writer, LocalState(self.source.path, self.source.index), path
        )
        size = writer.close()
        seconds = time.monotonic() - self.started
        return SnapshotReport(path, points, size, votes, catalogues, seconds)

    def _make_header(self) -> dict[str, object]:
        counts, kept = self.source.counts(), make_schema(self.source.card.dim)
        return {
            "format": FORMAT_VERSION,
            "polylens": get_version(),
            "created": current_time(),
            "collection": self.config.collection,
            "tenant": self.config.tenant,
            "ingested": self.source.ingested,
            "points": counts.points,
            "kinds": counts.kinds,
            "dense": dict(kept.dense),
            "sparse": list(kept.sparse),
            "thumbs": self.thumbs,
            "card": asdict(self.source.card),
        }

    def _write_points(self, writer: ArchiveWriter) -> int:
        """Write them; how many. `stop` ends it early."""
        done = number = 0
        total = self.source.counts().points
        for records in _merge_pages(self.source.iter_pages()):
            if self.stop.is_set():
                break
            for members in self._split_chunks(records):
                for end, data in members.items():
                    writer.add(f"points/{number:08}.{end}", data)
                number += 1
            done += len(records)
            self.on_progress(
                IngestProgress("copy", done, total, 0, time.monotonic() - self.started)
            )
        return done

    def _split_chunks(self, records: Sequence[Record]) -> Iterator[dict[str, bytes]]:
        """The members of one chunk, or of several where one would have too many bytes."""
        members = pack_records(records, make_schema(self.source.card.dim))
        if self.thumbs:
            members.update(pack_blobs((self._read_thumbnail(r) for r in records), "thumbs"))
        if len(records) > 1 and max(map(len, members.values())) > MAX_MEMBER_BYTES:
            half = len(records) // 2
            yield from self._split_chunks(records[:half])
            yield from self._split_chunks(records[half:])
        else:
            yield members

    def _read_thumbnail(self, record: Record) -> bytes | None:
        try:
            if record.payload.get("kind") == "image" and TENANT_KEY not in record.payload:
                return thumbnail_path(self.source.path / THUMBNAIL_DIR, record.id).read_bytes()
        except FileNotFoundError:
            pass
        return None


def _merge_pages(pages: Iterable[Page]) -> Iterator[list[Record]]:
    """Records by the chunk."""
    held: list[Record] = []
    for page in pages:
        held += page.records
        if len(held) >= MAX_CHUNK_POINTS:
            yield held
            held = []
    if held:
        yield held


def _add_local_state(writer: ArchiveWriter, kept: LocalState, path: Path) -> tuple[int, int]:
    """Catalogues and votes of each owner; how many of both."""
    catalogues = votes = 0
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        for one in kept.iter_tenants():
            prefix = (Path("local") / one.path.relative_to(kept.path)).as_posix()
            whole = Path(scratch) / CATALOG_FILE
            if copy_catalog(one.index / CATALOG_FILE, whole):
                writer.add_file(f"{prefix}/{CATALOG_FILE}", whole)
                catalogues += 1
            votes += _add_votes(writer, one.path, prefix)
    return catalogues, votes


def _add_votes(writer: ArchiveWriter, folder: Path, prefix: str) -> bool:
    file = folder / feedback.VOTES_FILE
    if not file.exists():
        return False
    writer.add_file(f"{prefix}/{feedback.VOTES_FILE}", file)
    for picture in sorted((folder / feedback.IMAGES_FOLDER).glob("*")):
        name = f"{prefix}/{feedback.IMAGES_FOLDER}/{picture.name}"
        if picture.is_file() and LOCAL_NAME_PATTERN.fullmatch(name):
            writer.add_file(name, picture)
    return True
