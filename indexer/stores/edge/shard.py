"""One Qdrant Edge shard on disk, opened by one process only.

All records have been validated (`check_records`). A Rust panic is a BaseException that poisons
the write-ahead log: it becomes `ShardLostError`, after which the shard must be opened again.
"""

from __future__ import annotations

import errno
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge  # noqa: TID253  only the shard's process imports this module

from embedder.files import sync_folder, sync_tree
from indexer.errors import CollectionError, DamagedError, StoreError
from indexer.stores.base import Schema, check_disk_space
from indexer.stores.edge import filters
from indexer.stores.edge.checksums import (
    CHECKSUM_KEY,
    NOT_CHECKED,
    Checksum,
    compute_checksum,
    find_fault,
)
from indexer.stores.edge.state import (
    ShardState,
    damage_message,
    lost_points_message,
    read_state,
    write_state,
)
from indexer.types import Payload, Record, SparseVector, Vector

T = TypeVar("T")
FLUSH_INTERVAL = 5_000  # points written between two flushes
MIN_FREE_BYTES = 100 << 20  # the files are mapped: a full disk would kill the process
DATATYPE = edge.VectorStorageDatatype.Turbo16
INDEXING_THRESHOLD = 1 << 40  # KB; no graph: a scan of 100k x 384 takes 4 ms

Row = tuple[str, float | None, Payload | None, dict[str, Any]]
"""(id, score, payload, vectors): dense as arrays of float32, sparse as (indices, values)."""
MAX_FACET_VALUES = 50
CHECKED_POINTS = 500  # at a time
NO_DAMAGE = (  # why a sound shard cannot be opened
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
    errno.ENOMEM, errno.EMFILE, errno.ENFILE,
)  # fmt: skip


class ShardLostError(StoreError):
    """The engine has panicked; the shard must be opened again."""


class Shard:
    """The operations of `Store` in plain types, on the shard in `path/shard`.

    Args:
        path: The folder.
        schema: What the points consist of.
        location: What messages call the folder, if not `path`.
        accept_older: Open it too if it has fewer points than were saved, each of them sound.

    Raises:
        DamagedError: It cannot be opened, or the engine has skipped what it cannot read.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        location: Path | None = None,
        *,
        accept_older: bool = False,
    ) -> None:
        self._path, self._location = path, location or path
        self._schema, self._dirty = schema, 0
        try:
            self._shard = _guard(lambda: self._open(schema), "open")
        except StoreError as error:
            if any(os.strerror(code) in str(error) for code in NO_DAMAGE):
                raise
            raise DamagedError(damage_message(self._location, str(error))) from error
        self._check_counts(accept_older=accept_older)

    def _open(self, schema: Schema) -> edge.EdgeShard:
        folder = self._path / "shard"
        if not folder.exists() or not any(folder.iterdir()):
            state = read_state(self._path)
            if state and state.points and not folder.exists():
                raise DamagedError(lost_points_message(self._location))
            self._create(folder, schema)
        for path in (folder, *folder.rglob("*")):
            if path.is_symlink():  # in a folder that somebody gave us, to a file of ours
                raise CollectionError(
                    f"{path} is a symbolic link, so that writing would change another file; if the "
                    "link is yours, put what it leads to in its place"
                )
        shard = edge.EdgeShard.load(str(folder))
        known = shard.info().payload_schema
        missing = {k: kind for k, kind in _list_indexes(schema).items() if k not in known}
        if missing:  # made by an earlier version
            check_disk_space(self._path, MIN_FREE_BYTES)
            _create_indexes(shard, missing)
        return shard

    def _create(self, folder: Path, schema: Schema) -> None:
        """Create it under another name: one that a crash left half made could not be opened."""
        new = folder.with_name("shard.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(new), _make_config(schema))
        _create_indexes(shard, _list_indexes(schema))
        shard.flush()
        shard.close()
        sync_tree(new)  # the engine has not synced all, such as version.info
        new.replace(folder)
        sync_folder(folder.parent)

    def _check_counts(self, *, accept_older: bool) -> None:
        """Compare the counts with those of the last clean close: the engine skips what it cannot
        read. There may be more, in a backup that has an older state, and fewer in one that has a
        newer state."""
        state, found = read_state(self._path), self._count_all()
        reason = _find_lower_count(state, found) if state and state.is_clean else None
        if reason and not (accept_older and self._is_sound()):
            raise DamagedError(damage_message(self._location, reason))
        self.loss = reason
        write_state(self._path, found)

    def _is_sound(self) -> bool:
        """Whether each point that is there is as it was written."""
        number, after = 0, None
        with suppress(StoreError):  # it cannot be read
            while True:
                ids, after = self.list_ids(CHECKED_POINTS, after)
                number += len(ids)
                if self.check(ids):
                    return False
                if after is None:
                    return number == self.count(None)
        return False

    def _count_all(self) -> ShardState:
        names = [name for name, _ in self._schema.dense] + list(self._schema.sparse)
        vectors = {name: self._count(edge.HasVectorCondition(name)) for name in names}
        return ShardState(self.count(None), False, vectors)

    def alter(self, schema: Schema) -> None:
        former, wanted = dict(self._schema.dense), dict(schema.dense)
        for name, dim in wanted.items():
            if name not in former:  # does nothing where a former run has created it
                self._update(
                    0,
                    edge.UpdateOperation.create_dense_vector(
                        name, dim, edge.Distance.Cosine, datatype=DATATYPE
                    ),
                )
        self._schema = schema
        for name in former.keys() - wanted.keys():
            after = None
            while True:
                ids, after = self.list_ids(CHECKED_POINTS, after)
                self.delete_vectors(ids, name)
                if after is None:
                    break
            self._update(0, edge.UpdateOperation.delete_vector_name(name))
        self.flush()

    def upsert(self, records: Sequence[Record]) -> None:
        self._update(
            len(records),
            edge.UpdateOperation.upsert_points(
                [
                    edge.Point(r.id, _to_wire(r), {**r.payload, CHECKSUM_KEY: _checksum_of(r)})
                    for r in records
                ]
            ),
        )

    def patch(self, records: Sequence[Record], merge: bool) -> None:
        known = {str(p.id): p for p in self._retrieve([record.id for record in records])}
        for record in records:
            if record.id not in known:
                continue
            former = (known[record.id].payload or {}).get(CHECKSUM_KEY)
            if not isinstance(former, dict):  # of an earlier version
                (point,) = self._retrieve([record.id], vectors=True)
                former = compute_checksum(record.id, None, _parse_vectors(point))
            # merged here, where there is one writer: the checksum is of the whole payload
            new = _merge_payload(known[record.id], record) if merge else record
            payload = {**new.payload, CHECKSUM_KEY: {**former, **_checksum_of(new)}}
            # the payload last: after a crash between the two, it tells that the patch is not done
            if record.vectors:
                vectors = edge.PointVectors(record.id, _to_wire(record))
                self._update(0, edge.UpdateOperation.update_vectors([vectors]))
            self._update(1, edge.UpdateOperation.overwrite_payload([record.id], payload))

    def delete(self, ids: Sequence[str]) -> None:
        self._update(len(ids), edge.UpdateOperation.delete_points(list(ids)))

    def delete_vectors(self, ids: Sequence[str], name: str) -> None:
        for point in self._retrieve(ids):
            checksum = (point.payload or {}).get(CHECKSUM_KEY)
            if isinstance(checksum, dict) and name in checksum:
                rest = {key: value for key, value in checksum.items() if key != name}
                id = str(point.id)
                self._update(0, edge.UpdateOperation.delete_vectors([id], [name]))
                self._update(1, edge.UpdateOperation.set_payload([id], {CHECKSUM_KEY: rest}))

    def query_batch(self, requests: Sequence[filters.JsonObject]) -> list[list[Row]]:
        asked = [filters.convert_query(request) for request in requests]
        answers = [_guard(lambda q=q: self._shard.query(q), "query") for q in asked]  # type: ignore[misc]
        return [[_to_row(p, p.score) for p in points] for points in answers]

    def retrieve(self, ids: Sequence[str], vectors: bool | list[str]) -> list[Row]:
        return [_to_row(record, None) for record in self._retrieve(ids, vectors=vectors)]

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
        if vectors:  # for a copy or a snapshot: damage must not take the place of a sound one
            for point in records:
                fault = _find_point_fault(point, str(point.id), self._schema)
                if fault not in (None, NOT_CHECKED):
                    reason = f"point {point.id}: {fault}"
                    raise DamagedError(damage_message(self._location, reason))
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

    def list_ids(self, limit: int, after: str | None) -> tuple[list[str], str | None]:
        """One page of ids in order, and the start of the next; reads nothing else of the points."""
        request = edge.ScrollRequest(
            offset=after, limit=limit, with_payload=False, with_vector=False
        )
        records, following = _guard(lambda: self._shard.scroll(request), "scroll")
        return [str(record.id) for record in records], str(following) if following else None

    def check(self, ids: Sequence[str]) -> list[tuple[str, str]]:
        """Compare points with their checksums: (id, what is wrong with it), or `NOT_CHECKED` for
        one that a version without checksums has written, and whose vectors look sound."""
        found = {str(point.id): point for point in self._retrieve(ids, vectors=True)}
        faults = [(id, _find_point_fault(found.get(id), id, self._schema)) for id in ids]
        return [(id, fault) for id, fault in faults if fault]

    def check_filters(self, ids: Sequence[str]) -> list[str]:
        """The payload keys by which filters do not find what the payloads of `ids` have."""
        payloads = [point.payload or {} for point in self._retrieve(ids)]
        schema, own = self._schema, edge.HasIdCondition(set(ids))
        return [
            key
            for key in _list_indexes(schema)
            if not (
                self._has_dates(key, payloads, own)
                if key in schema.datetimes
                else self._is_indexed(key, payloads, own)
            )
        ]

    def _has_dates(self, key: str, payloads: Sequence[Payload], own: Any) -> bool:
        by_time = Counter[datetime]()
        for payload in payloads:
            with suppress(KeyError, ValueError):  # what is no date is not in the index
                time = datetime.fromisoformat(payload[key])
                by_time[time if time.tzinfo else time.replace(tzinfo=UTC)] += 1
        return all(
            self._count(own, edge.FieldCondition(key, range=edge.RangeDateTime(gte=t, lte=t))) == n
            for t, n in ((time.isoformat(), num) for time, num in by_time.items())
        )

    def _is_indexed(self, key: str, payloads: Sequence[Payload], own: Any) -> bool:
        listed = [value if isinstance(value := p.get(key), list) else [value] for p in payloads]
        values = Counter(v for row in listed for v in set(row) if v is not None)

        if self._count(own, edge.IsEmptyCondition(key)) != sum(r in ([], [None]) for r in listed):
            return False
        any_value = edge.FieldCondition(key, match=edge.MatchAny(list(values)))
        if values and self._count(own, any_value) != sum(r not in ([], [None]) for r in listed):
            return False
        if len(values) <= MAX_FACET_VALUES:  # a facet of many takes a tenth of a second
            request = edge.FacetRequest(
                key, limit=len(values) + 1, exact=True, filter=edge.Filter(must=[own])
            )
            hits = _guard(lambda: self._shard.facet(request), "facet").hits
            if {hit.value: hit.count for hit in hits} != values:
                return False
        ranges = values if key in self._schema.integers else {}
        return all(
            self._count(own, edge.FieldCondition(key, range=edge.RangeFloat(gte=v, lte=v))) == num
            for v, num in ranges.items()
        )

    def add_checksums(self, ids: Sequence[str]) -> None:
        """Give points of an earlier version a checksum of what they are now."""
        for point in self._retrieve(ids, vectors=True):
            id, payload = str(point.id), point.payload or {}
            if CHECKSUM_KEY not in payload:
                checksum = compute_checksum(id, payload, _parse_vectors(point))
                self._update(1, edge.UpdateOperation.set_payload([id], {CHECKSUM_KEY: checksum}))

    def flush(self) -> None:
        """Make everything written so far durable."""
        _guard(self._shard.flush, "flush")
        self._dirty = 0

    def close(self) -> None:
        self.flush()
        write_state(self._path, replace(self._count_all(), is_clean=True))
        _guard(self._shard.close, "close")

    def _count(self, *conditions: Any) -> int:
        request = edge.CountRequest(filter=edge.Filter(must=list(conditions)), exact=True)
        return int(_guard(lambda: self._shard.count(request), "count"))

    def _retrieve(self, ids: Sequence[str], *, vectors: bool | list[str] = False) -> list[Any]:
        return list(_guard(lambda: self._shard.retrieve(list(ids), True, vectors), "retrieve"))

    def _update(self, points: int, operation: edge.UpdateOperation) -> None:
        check_disk_space(self._path, MIN_FREE_BYTES)
        _guard(lambda: self._shard.update(operation), "write")
        self._dirty += points
        if self._dirty >= FLUSH_INTERVAL:
            self.flush()


def _find_lower_count(saved: ShardState, found: ShardState) -> str | None:
    """What there is less of than was saved, in words."""
    if saved.points > found.points:
        return f"{saved.points} points were saved, {found.points} were found"
    for name, number in saved.vectors.items():
        if number > found.vectors.get(name, number):  # those that the schema lacks are not counted
            return f"{number} vectors {name!r} were saved, {found.vectors[name]} were found"
    return None


def _list_indexes(schema: Schema) -> dict[str, edge.PayloadSchemaType]:
    """Payload key -> the kind of its index."""
    kind = edge.PayloadSchemaType
    return {
        **dict.fromkeys(schema.keywords, kind.Keyword),
        **dict.fromkeys(schema.integers, kind.Integer),
        **dict.fromkeys(schema.datetimes, kind.Datetime),
        **({schema.tenant: kind.Keyword} if schema.tenant else {}),
    }


def _create_indexes(shard: edge.EdgeShard, missing: Mapping[str, edge.PayloadSchemaType]) -> None:
    for key, kind in missing.items():
        shard.update(edge.UpdateOperation.create_field_index(key, kind))


def _make_config(schema: Schema) -> edge.EdgeConfig:
    """Store 16 bits per value and no graph: a scan has the recall of exact values.

    Eight bits would take half the time and lose 1 to 2 % of the nearest neighbors in dense regions.
    """
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(
                size=dim,
                distance=edge.Distance.Cosine,
                datatype=DATATYPE,
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


def _merge_payload(stored: Any, record: Record) -> Record:
    """`record` with the other keys of the stored point's payload, and without those that are
    None."""
    merged = {**(stored.payload or {}), **record.payload}
    deleted = {CHECKSUM_KEY, *(key for key, value in record.payload.items() if value is None)}
    payload = {key: value for key, value in merged.items() if key not in deleted}
    return replace(record, payload=payload)


def _checksum_of(record: Record) -> Checksum:
    return compute_checksum(record.id, record.payload, record.vectors)


def _find_point_fault(point: Any, id: str, schema: Schema) -> str | None:
    """What is wrong with the payload, or with a vector of the schema: a crash may have left some of
    the vectors that an earlier schema had."""
    if point is None:
        return "it cannot be read"
    known = {"", *dict(schema.dense), *schema.sparse}
    payload = dict(point.payload or {})
    vectors = {name: row for name, row in _parse_vectors(point).items() if name in known}
    checksum = payload.pop(CHECKSUM_KEY, None)
    if checksum is not None:
        listed = checksum if isinstance(checksum, dict) else {}
        return find_fault(id, payload, vectors, {k: v for k, v in listed.items() if k in known})
    if not payload:
        return "its payload is missing"
    import numpy as np

    dense = [vector for vector in vectors.values() if not isinstance(vector, SparseVector)]
    is_sound = all(abs(float(np.linalg.norm(vector)) - 1) < 0.01 for vector in dense)
    return NOT_CHECKED if dense and is_sound else "it has no vector, or a damaged one"


def _parse_vectors(point: Any) -> dict[str, Vector | SparseVector]:
    import numpy as np

    return {
        name: SparseVector(tuple(vector.indices), tuple(vector.values))
        if hasattr(vector, "indices")
        else np.asarray(vector, np.float32)
        for name, vector in (point.vector or {}).items()
    }


def _to_row(point: Any, score: float | None) -> Row:
    vectors = {
        # an array, as pickling and parsing a list of numbers takes several times as long
        name: (vector.indices, vector.values) if hasattr(vector, "indices") else array("f", vector)
        for name, vector in (point.vector or {}).items()
    }
    payload = point.payload
    if payload is not None:
        payload.pop(CHECKSUM_KEY, None)
    return str(point.id), score, payload, vectors
