"""Writes a collection to one file, from which `indexer restore` makes a collection in any store.

`snapshot.json` describes it, `points/NNNNNNNN.*` are the points (see `serialization`), `local/` is
the local state: catalogs and votes. Qdrant's own snapshots hold the share of one node, in the
server's own format; this file is made by reading every point, so it is the same from a folder, a
server or a cluster.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.cli.console import get_version
from embedder.files import PRIVATE, delete_stale_parts, open_part, replace_file
from indexer import feedback
from indexer.collections.backend import current_time
from indexer.collections.collection import tenant_dir
from indexer.collections.schema import make_schema
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.ingest.catalog import CATALOG_FILE
from indexer.ingest.thumbnails import read_thumbnail
from indexer.stores.base import MIN_FREE_BYTES, check_disk_space
from indexer.transfer.archive import FIRST, LOCAL_NAME_PATTERN, ArchiveWriter
from indexer.transfer.local_state import LocalState, copy_catalog
from indexer.transfer.serialization import pack_records, pack_thumbnails
from indexer.transfer.source import PointSource, open_source_collection
from indexer.types import IngestProgress, Record

FORMAT_VERSION = 2  # 1 has no names
MAX_CHUNK_POINTS = 4096
MAX_MEMBER_BYTES = 64 << 20  # of a member of a chunk; larger chunks are halved


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotReport:
    """What was written."""

    points: int
    bytes: int
    catalogs: int
    votes: int  # files of votes: the collection's, and one per tenant
    seconds: float


class _StoppedError(Exception):
    """The snapshot was stopped: no file is written."""


def snapshot(
    config: Config,
    path: Path,
    *,
    thumbs: bool = False,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> SnapshotReport | None:
    """Write the collection of `config` to `path`, completely or not at all.

    Args:
        config: Names the collection; only its tenant's points where it names one.
        path: The file; it is replaced atomically, and private: it has what the collection has.
        thumbs: Include the thumbnails, which can be rebuilt where the images are.
        on_progress: Called after each chunk.
        stop: Ends the snapshot early when it is set.

    Returns:
        What was written; None where `stop` was set.

    Raises:
        CollectionError, StoreError, StoreBusyError, DiskFullError, OSError: Nothing was written.
    """
    started = time.monotonic()
    with open_source_collection(config) as source:
        dim, total = source.card.dim, source.counts.points
        check_disk_space(path.parent, MIN_FREE_BYTES + 4 * dim * total)
        try:
            delete_stale_parts(path.parent, f"*{path.suffix}*")  # the default name has the time
            with replace_file(path, mode=PRIVATE) as out:
                writer, points = ArchiveWriter(out), 0
                header = _make_header(config, source, thumbs=thumbs)
                writer.add(FIRST, json.dumps(header, ensure_ascii=False, indent=2).encode())
                for points in _write_points(writer, source, thumbs=thumbs):
                    if on_progress:
                        seconds = time.monotonic() - started
                        on_progress(IngestProgress("copy", points, total, 0, seconds))
                    if stop and stop.is_set():
                        raise _StoppedError
                if points != total or not source.is_unchanged():
                    raise CollectionError(
                        f"{source.label} has changed while it was read ({points:,} points written, "
                        f"{total:,} at first); no file was written, run the command again"
                    )
                catalogs, votes = _write_local_state(writer, source.local_state, path)
                size = writer.close()
        except _StoppedError:
            return None
    return SnapshotReport(
        points=points,
        bytes=size,
        catalogs=catalogs,
        votes=votes,
        seconds=time.monotonic() - started,
    )


def _make_header(config: Config, source: PointSource, *, thumbs: bool) -> dict[str, object]:
    schema = make_schema(source.card.dim, names=source.texts.names)
    return {
        "format": FORMAT_VERSION,
        "polylens": get_version(),
        "created": current_time(),
        "collection": config.collection,
        "tenant": config.tenant,
        "ingested": source.ingested,
        "points": source.counts.points,
        "kinds": source.counts.kinds,
        "dense": dict(schema.dense),
        "sparse": list(schema.sparse),
        **source.texts.to_meta(),
        "thumbs": thumbs,
        "card": asdict(source.card),
    }


def _write_points(writer: ArchiveWriter, source: PointSource, *, thumbs: bool) -> Iterator[int]:
    """Write all points; yield how many have been written after each group of chunks."""
    done = number = 0
    records: list[Record] = []
    for page in source.iter_pages():
        records += page.records
        if records and (len(records) >= MAX_CHUNK_POINTS or page.next_id is None):
            for members in _pack_chunks(records, source, thumbs=thumbs):
                for suffix, data in members.items():
                    writer.add(f"points/{number:08}.{suffix}", data)
                number += 1
            done += len(records)
            yield done
            records = []


def _pack_chunks(
    records: Sequence[Record], source: PointSource, *, thumbs: bool
) -> Iterator[dict[str, bytes]]:
    """The members of one chunk, or of several where one would have too many bytes."""
    members = pack_records(records, make_schema(source.card.dim, names=source.texts.names))
    if thumbs:
        members |= pack_thumbnails([_read_thumbnail(r, source.local_state) for r in records])
    if len(records) > 1 and max(map(len, members.values())) > MAX_MEMBER_BYTES:
        half = len(records) // 2
        yield from _pack_chunks(records[:half], source, thumbs=thumbs)
        yield from _pack_chunks(records[half:], source, thumbs=thumbs)
    else:
        yield members


def _read_thumbnail(record: Record, state: LocalState) -> bytes | None:
    path = state.locate_thumbnail(record)
    return read_thumbnail(path) if path else None


def _write_local_state(writer: ArchiveWriter, state: LocalState, path: Path) -> tuple[int, int]:
    """Add the catalogs and votes of the collection and its tenants; return the number of each."""
    catalogs = votes = 0
    with open_part(path.with_name(f"{path.name}.{CATALOG_FILE}"), mode=PRIVATE) as part:
        copy = Path(part.name)
        for tenant in state.list_tenants():
            own, prefix = state.for_tenant(tenant), tenant_dir(Path("local"), tenant).as_posix()
            if copy_catalog(own.catalog, copy):
                writer.add_file(f"{prefix}/{CATALOG_FILE}", copy)
                catalogs += 1
            votes_file = own.path / feedback.VOTES_FILE
            if not votes_file.exists():
                continue
            writer.add_file(f"{prefix}/{feedback.VOTES_FILE}", votes_file)
            votes += 1
            for image in sorted((own.path / feedback.IMAGES_FOLDER).glob("*")):
                name = f"{prefix}/{feedback.IMAGES_FOLDER}/{image.name}"
                if image.is_file() and LOCAL_NAME_PATTERN.fullmatch(name):
                    writer.add_file(name, image)
    return catalogs, votes
