"""One Qdrant Edge shard on disk, opened by one process only.

All records have been validated (`check_records`). A Rust panic is a BaseException that poisons
the write-ahead log: it becomes `ShardLostError`, after which the shard must be opened again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge  # noqa: TID253  only the shard's process imports this module

from embedder.files import sync_folder
from indexer.errors import CollectionError, StoreError
from indexer.stores.base import Schema, check_disk_space
from indexer.stores.edge import filters
from indexer.stores.edge.state import ShardState, lost_points_message, read_state, write_state
from indexer.types import Payload, Record, SparseVector

T = TypeVar("T")
FLUSH_INTERVAL = 5_000  # points written between two flushes
MIN_FREE_BYTES = 100 << 20  # the files are mapped: a full disk would kill the process
INDEXING_THRESHOLD = 1 << 40  # KB; no graph: a scan of 100k x 384 takes 4 ms

Row = tuple[str, float | None, Payload | None, dict[str, Any]]
"""(id, score, payload, vectors): dense as lists, sparse as (indices, values)."""


class ShardLostError(StoreError):
    """The engine has panicked; the shard must be opened again."""


class Shard:
    """The operations of `Store` in plain types, on the shard in `path/shard`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path, self._dirty = path, 0
        self._shard = _guard(lambda: self._open(schema), "open")
        self._check_count()

    def _open(self, schema: Schema) -> edge.EdgeShard:
        folder = self._path / "shard"
        if not folder.exists() or not any(folder.iterdir()):
            state = read_state(self._path)
            if state and state.points and not folder.exists():
                raise CollectionError(lost_points_message(self._path))
            self._create(folder, schema)
        return edge.EdgeShard.load(str(folder))

    def _create(self, folder: Path, schema: Schema) -> None:
        """Create it under another name: one that a crash left half made could not be opened."""
        new = folder.with_name("shard.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(new), _make_config(schema))
        keywords = schema.keywords + ((schema.tenant,) if schema.tenant else ())
        for keys, kind in ((keywords, "Keyword"), (schema.integers, "Integer")):
            for key in keys:
                index = edge.UpdateOperation.create_field_index(
                    key, getattr(edge.PayloadSchemaType, kind)
                )
                shard.update(index)
        shard.flush()
        shard.close()
        new.replace(folder)
        sync_folder(folder.parent)

    def _check_count(self) -> None:
        """Compare the count with that of the last clean close: corruption can be silent."""
        state = read_state(self._path)
        points = self.count(None)
        if state and state.is_clean and state.points != points:
            raise CollectionError(
                f"{self._path} is damaged: {state.points} points were saved, {points} were "
                f"found. Restore a backup, or delete {self._path} and ingest again; your "
                "images are not touched"
            )
        self._write_state(clean=False)

    def upsert(self, records: Sequence[Record]) -> None:
        self._update(
            len(records),
            edge.UpdateOperation.upsert_points(
                [edge.Point(r.id, _to_wire(r), r.payload) for r in records]
            ),
        )

    def patch(self, records: Sequence[Record]) -> None:
        known = {row[0] for row in self.retrieve([r.id for r in records], False)}
        for record in records:
            if record.id not in known:
                continue
            # the payload last: after a crash between the two, it tells that the patch is not done
            if record.vectors:
                vectors = edge.PointVectors(record.id, _to_wire(record))
                self._update(0, edge.UpdateOperation.update_vectors([vectors]))
            self._update(1, edge.UpdateOperation.overwrite_payload([record.id], record.payload))

    def delete(self, ids: Sequence[str]) -> None:
        self._update(len(ids), edge.UpdateOperation.delete_points(list(ids)))

    def query_batch(self, requests: Sequence[filters.JsonObject]) -> list[list[Row]]:
        asked = [filters.convert_query(request) for request in requests]
        answers = [_guard(lambda q=q: self._shard.query(q), "query") for q in asked]  # type: ignore[misc]
        return [[_to_row(p, p.score) for p in points] for points in answers]

    def retrieve(self, ids: Sequence[str], vectors: bool) -> list[Row]:
        records = _guard(lambda: self._shard.retrieve(list(ids), True, vectors), "retrieve")
        return [_to_row(record, None) for record in records]

    def scroll(
        self, where: filters.JsonObject | None, limit: int, after: str | None, vectors: bool
    ) -> tuple[list[Row], str | None]:
        request = edge.ScrollRequest(
            offset=after,
            limit=limit,
            filter=filters.convert_filter(where),
            with_payload=True,
            with_vector=vectors,
        )
        records, following = _guard(lambda: self._shard.scroll(request), "scroll")
        return [_to_row(record, None) for record in records], str(following) if following else None

    def count(self, where: filters.JsonObject | None) -> int:
        request = edge.CountRequest(filter=filters.convert_filter(where), exact=True)
        return int(_guard(lambda: self._shard.count(request), "count"))

    def facet(
        self, key: str, where: filters.JsonObject | None, limit: int
    ) -> list[tuple[str, int]]:
        request = edge.FacetRequest(
            key, limit=limit, exact=True, filter=filters.convert_filter(where)
        )
        response = _guard(lambda: self._shard.facet(request), "facet")
        return [(str(hit.value), int(hit.count)) for hit in response.hits]

    def flush(self) -> None:
        """Make everything written so far durable."""
        _guard(self._shard.flush, "flush")
        self._dirty = 0

    def close(self) -> None:
        self.flush()
        self._write_state(clean=True)
        _guard(self._shard.close, "close")

    def _update(self, points: int, operation: edge.UpdateOperation) -> None:
        check_disk_space(self._path, MIN_FREE_BYTES)
        _guard(lambda: self._shard.update(operation), "write")
        self._dirty += points
        if self._dirty >= FLUSH_INTERVAL:
            self.flush()

    def _write_state(self, *, clean: bool) -> None:
        write_state(self._path, ShardState(self.count(None), clean))


def _make_config(schema: Schema) -> edge.EdgeConfig:
    """Store 16 bits per value and no graph: a scan has the recall of exact values.

    Eight bits would take half the time and lose 1 to 2 % of the nearest neighbors in dense regions.
    """
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(
                size=dim,
                distance=edge.Distance.Cosine,
                datatype=edge.VectorStorageDatatype.Turbo16,
            )
            for name, dim in schema.dense
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf) for name in schema.sparse
        },
        hnsw_config=edge.HnswIndexConfig(
            m=0, ef_construct=16, full_scan_threshold=INDEXING_THRESHOLD
        ),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=INDEXING_THRESHOLD, default_segment_number=1
        ),
    )


def _guard(call: Callable[[], T], what: str) -> T:
    try:
        return call()
    except (StoreError, CollectionError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise StoreError(f"the embedded store could not {what}: {error}") from error
    except BaseException as error:  # a Rust panic
        raise ShardLostError(f"the embedded store failed internally ({what}): {error}") from error


def _to_wire(record: Record) -> dict[str, Any]:
    return {
        name: edge.SparseVector(list(vector.indices), list(vector.values))
        if isinstance(vector, SparseVector)
        else vector.tolist()
        for name, vector in record.vectors.items()
    }


def _to_row(point: Any, score: float | None) -> Row:
    vectors = {
        name: (vector.indices, vector.values) if hasattr(vector, "indices") else vector
        for name, vector in (point.vector or {}).items()
    }
    return str(point.id), score, point.payload, vectors
