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
from indexer.collection import FREE_BYTES, require_disk
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.ingest.thumbnails import thumbnail_path
from indexer.meta import now
from indexer.moving.archive import FIRST, LOCAL, Writer
from indexer.moving.chunks import pack, pack_pieces
from indexer.moving.local import CATALOGUE, THUMBS, Kept, take_catalogue
from indexer.moving.source import Page, Source, opened
from indexer.schema import schema
from indexer.stores.tenant import TENANT
from indexer.types import IngestProgress, Record

FORMAT = 1
MOST_POINTS = 4096  # in a chunk
MOST_BYTES = 64 << 20  # of a member of a chunk; what has more is halved


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
    with opened(config) as source:
        require_disk(path.parent, FREE_BYTES + 4 * source.card.dim * source.counts().points)
        tell = on_progress or (lambda _: None)
        run = _Run(source, config, thumbs, tell, stop or threading.Event(), started)
        try:
            with fresh.open("wb") as out:
                report = run(Writer(out), path)
                out.flush()
                os.fsync(out.fileno())
            if report is not None:
                fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return report


@dataclass(frozen=True, slots=True)
class _Run:
    source: Source
    config: Config
    thumbs: bool
    tell: Callable[[IngestProgress], None]
    stop: threading.Event
    started: float

    def __call__(self, writer: Writer, path: Path) -> SnapshotReport | None:
        writer.add(FIRST, json.dumps(self._header(), ensure_ascii=False, indent=2).encode())
        points = self._points(writer)
        if self.stop.is_set():
            return None
        wanted = self.source.counts().points
        if points != wanted or not self.source.unchanged():
            raise CollectionError(
                f"{self.source.label} has changed while it was read ({points:,} points written, "
                f"{wanted:,} at first); nothing is kept, type the command again"
            )
        catalogues, votes = _add_local(writer, Kept(self.source.path, self.source.index), path)
        size = writer.close()
        seconds = time.monotonic() - self.started
        return SnapshotReport(path, points, size, votes, catalogues, seconds)

    def _header(self) -> dict[str, object]:
        counts, kept = self.source.counts(), schema(self.source.card.dim)
        return {
            "format": FORMAT,
            "polylens": get_version(),
            "created": now(),
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

    def _points(self, writer: Writer) -> int:
        """Write them; how many. `stop` ends it early."""
        done = number = 0
        total = self.source.counts().points
        for records in _gathered(self.source.pages()):
            if self.stop.is_set():
                break
            for members in self._chunks(records):
                for end, data in members.items():
                    writer.add(f"points/{number:08}.{end}", data)
                number += 1
            done += len(records)
            self.tell(IngestProgress("copy", done, total, 0, time.monotonic() - self.started))
        return done

    def _chunks(self, records: Sequence[Record]) -> Iterator[dict[str, bytes]]:
        """The members of one chunk, or of several where one would have too many bytes."""
        members = pack(records, schema(self.source.card.dim))
        if self.thumbs:
            members.update(pack_pieces((self._thumbnail(r) for r in records), "thumbs"))
        if len(records) > 1 and max(map(len, members.values())) > MOST_BYTES:
            half = len(records) // 2
            yield from self._chunks(records[:half])
            yield from self._chunks(records[half:])
        else:
            yield members

    def _thumbnail(self, record: Record) -> bytes | None:
        try:
            if record.payload.get("kind") == "image" and TENANT not in record.payload:
                return thumbnail_path(self.source.path / THUMBS, record.id).read_bytes()
        except FileNotFoundError:
            pass
        return None


def _gathered(pages: Iterable[Page]) -> Iterator[list[Record]]:
    """Records by the chunk."""
    held: list[Record] = []
    for page in pages:
        held += page.records
        if len(held) >= MOST_POINTS:
            yield held
            held = []
    if held:
        yield held


def _add_local(writer: Writer, kept: Kept, path: Path) -> tuple[int, int]:
    """Catalogues and votes of each owner; how many of both."""
    catalogues = votes = 0
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        for one in kept.owners():
            prefix = (Path("local") / one.path.relative_to(kept.path)).as_posix()
            whole = Path(scratch) / CATALOGUE
            if take_catalogue(one.index / CATALOGUE, whole):
                writer.add_file(f"{prefix}/{CATALOGUE}", whole)
                catalogues += 1
            votes += _add_votes(writer, one.path, prefix)
    return catalogues, votes


def _add_votes(writer: Writer, folder: Path, prefix: str) -> bool:
    file = folder / feedback.VOTES_FILE
    if not file.exists():
        return False
    writer.add_file(f"{prefix}/{feedback.VOTES_FILE}", file)
    for picture in sorted((folder / feedback.IMAGES_FOLDER).glob("*")):
        name = f"{prefix}/{feedback.IMAGES_FOLDER}/{picture.name}"
        if picture.is_file() and LOCAL.fullmatch(name):
            writer.add_file(name, picture)
    return True
