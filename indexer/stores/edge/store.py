"""The embedded store: a client of the process that owns the shard, which it starts if needed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer import errors
from indexer.errors import CollectionError, StoreError
from indexer.stores.base import Schema, ScoredPoint, check_ids, check_records
from indexer.stores.edge.state import connect, lost_points_message
from indexer.types import Record, SparseVector, Vector

if TYPE_CHECKING:
    from pydantic import BaseModel
    from qdrant_client import models

START_TIMEOUT = 60.0  # seconds the server process may take to answer


class EdgeStore:
    """The collection in the folder `path`. Thread-safe; several processes may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schema: Schema | None = None
        self._connection: connection.Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    def ensure(self, schema: Schema) -> None:
        self._schema = schema
        self._call("ensure", schema)

    def upsert(self, records: Sequence[Record], stop: threading.Event | None = None) -> None:
        if records:
            check_records(records, self._require_schema())
            self._call("upsert", list(records))

    def patch(self, records: Sequence[Record]) -> None:
        if records:
            check_records(records, self._require_schema())
            self._call("patch", list(records))

    def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        self._call("delete", list(ids))

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]:
        answers = self._call("query_batch", [_dump_model(request) for request in requests])
        return [[ScoredPoint(*row) for row in rows] for rows in answers]

    def query_union(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]:
        """Run two steps: a second scan over the other requests' results is cheaper here than
        prefetch stages, which would scan once per request."""
        from qdrant_client import models

        answers = self.query_batch(requests)
        union = {point.id for points in answers for point in points}
        missing: dict[int, models.QueryRequest] = {}
        for number, (request, points) in enumerate(zip(requests, answers, strict=True)):
            ids = sorted(union - {point.id for point in points})
            if ids and len(points) == request.limit:  # fewer than the limit: no more exist
                among = models.Filter(must=[models.HasIdCondition(has_id=[*ids])])
                change = {"filter": among, "limit": len(ids)}
                missing[number] = request.model_copy(update=change)
        for number, points in zip(missing, self.query_batch([*missing.values()]), strict=True):
            answers[number] += points
        return answers

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record]:
        check_ids(ids)
        return [_parse_record(row) for row in self._call("retrieve", list(ids), vectors)]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        rows, following = self._call("scroll", _dump_model(where), limit, after, vectors)
        return [_parse_record(row) for row in rows], following

    def count(self, where: models.Filter | None = None) -> int:
        return int(self._call("count", _dump_model(where)))

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        return list(self._call("facet", key, _dump_model(where), limit))

    def flush(self) -> None:
        self._call("flush")

    def list_ids(self, limit: int, after: str | None = None) -> tuple[list[str], str | None]:
        """One page of ids in order, and the start of the next; nothing else of them is read."""
        ids, following = self._call("list_ids", limit, after)
        return list(ids), following

    def check(self, ids: Sequence[str]) -> dict[str, str]:
        """What is wrong with points, by id; `NOT_CHECKED` of an earlier version's. No entry: it is
        as it was written. Raises `StoreError` where one of them cannot be read."""
        return dict(self._call("check", list(ids)))

    def check_filters(self, ids: Sequence[str]) -> list[str]:
        """The payload keys by which filters do not find what the payloads of `ids` have."""
        return list(self._call("check_filters", list(ids)))

    def add_checksums(self, ids: Sequence[str]) -> None:
        """Give points of an earlier version a checksum of what they are now."""
        self._call("add_checksums", list(ids))

    def close(self) -> None:
        """Disconnect; the server process flushes and ends after its last client."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _require_schema(self) -> Schema:
        if self._schema is None:
            raise StoreError("the collection is not open: call ensure(schema) first")
        return self._schema

    def _call(self, method: str, *arguments: object) -> Any:
        """Send a request, once more if the process has died: every operation is idempotent."""
        with self._lock:
            for _ in range(2):
                try:
                    return self._request(method, arguments)
                except (OSError, EOFError) as error:
                    self.close()
                    failure = error
            raise StoreError(
                f"the server process of {self._path} has died twice ({failure!r}); see "
                f"{self._path / 'keeper.log'}, and run the command again"
            ) from failure

    def _request(self, method: str, arguments: tuple[object, ...]) -> Any:
        if self._connection is None:
            self._connection = self._connect()
            if method != "ensure":
                self._request("ensure", (self._require_schema(),))
        self._connection.send((method, arguments))
        ok, answer = self._connection.recv()
        if ok:
            return answer
        name, message = answer
        raise getattr(errors, name, StoreError)(message)

    def _connect(self) -> connection.Connection:
        if not self._path.is_dir():
            raise CollectionError(lost_points_message(self._path))
        deadline = time.monotonic() + START_TIMEOUT
        wait = 0.005
        while time.monotonic() < deadline:
            live = connect(self._path)
            if live is not None:
                return live
            if self._process is None or self._process.poll() is not None:
                self._process = _start_server(self._path)
            time.sleep(wait)
            wait = min(wait * 1.3, 0.2)
        raise StoreError(
            f"the server process of {self._path} did not start within {START_TIMEOUT:.0f} s; see "
            f"{self._path / 'keeper.log'}"
        )


def _start_server(path: Path) -> subprocess.Popen[bytes]:
    """Start a server process that outlives us and holds none of our pipes or terminals."""
    root = Path(__file__).resolve().parents[3]  # where `-m indexer...` is found
    with (path / "keeper.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "indexer.stores.edge.server", str(path)],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def _dump_model(model: BaseModel | None) -> dict[str, Any] | None:
    """Convert to the REST form, so that the server process need not import qdrant-client.

    `mode="json"` leaves no enum of qdrant-client, whose pickle the other side would import.
    """
    if model is None:
        return None
    return model.model_dump(mode="json", exclude_none=True, by_alias=True)


def _parse_record(row: Any) -> Record:
    id, _, payload, vectors = row
    named: dict[str, Vector | SparseVector] = {
        name: SparseVector(tuple(v[0]), tuple(v[1]))
        if isinstance(v, tuple)
        else np.asarray(v, dtype=np.float32)
        for name, v in vectors.items()
    }
    return Record(id, named, payload or {})
