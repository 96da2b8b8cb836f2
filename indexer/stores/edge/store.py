"""The embedded store: a client of the process that owns the shard, which it starts if needed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.files import make_private_dir, open_private
from indexer import errors
from indexer.errors import (
    CollectionError,
    DamagedError,
    IndexerError,
    StoreBusyError,
    StoreError,
    StoreUnavailableError,
)
from indexer.stores.base import Schema, ScoredPoint, check_disk_space, check_ids, check_records
from indexer.stores.edge.channel import Channel
from indexer.stores.edge.state import (
    LOCK_FILE,
    connect,
    damage_message,
    describe_lock_holder,
    find_server_dir,
    in_use_message,
    is_locked,
    lost_points_message,
)
from indexer.stores.edge.watch import Watch
from indexer.stores.filters import matches_nothing, simplify_filter, simplify_query
from indexer.types import Record, SparseVector, Vector

if TYPE_CHECKING:
    from pydantic import BaseModel
    from qdrant_client import models

log = logging.getLogger(__name__)
START_TIMEOUT = 60.0  # seconds the server process may take to answer
MAX_STARTS = 3  # of server processes that something kills
LOG_FILE = "keeper.log"
EXIT_TIMEOUT = 1.0  # seconds until a server process that has disconnected has ended
CRASH_SIGNALS = {signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL}


class EdgeStore:
    """The collection in the folder `path`. Thread-safe; several processes may use it at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schema: Schema | None = None
        self._folder: int | None = None  # the descriptor of the folder that was opened
        self._connection: tuple[Channel, Watch] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    def ensure(self, schema: Schema, *, accept_older: bool = False) -> None:
        """Open the shard, or create it. One that has fewer points than were saved is damaged, or
        older than its state file; `accept_older` opens it if each point that it has is sound."""
        self._schema = schema
        if loss := self._call("ensure", schema, accept_older):
            log.warning(
                "%s is older than its state file, or has lost points: %s, each as it was written. "
                "The missing ones are read again from their files",
                self._path,
                loss,
            )

    def alter(self, schema: Schema) -> None:
        self._call("alter", schema)
        self._schema = schema

    def upsert(self, records: Sequence[Record], stop: threading.Event | None = None) -> None:
        if records:
            check_records(records, self._require_schema())
            self._call("upsert", list(records))

    def patch(self, records: Sequence[Record], *, merge: bool = False) -> None:
        if records:
            check_records(records, self._require_schema())
            self._call("patch", list(records), merge)

    def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        self._call("delete", list(ids))

    def delete_vectors(self, ids: Sequence[str], name: str) -> None:
        check_ids(ids)
        self._call("delete_vectors", list(ids), name)

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]:
        simplified = [simplify_query(request) for request in requests]
        queries = [_dump_model(one) for one in simplified if one is not None]
        found = iter(self._call("query_batch", queries) if queries else [])
        return [
            [] if one is None else [ScoredPoint(*row) for row in next(found)] for one in simplified
        ]

    def query_union(
        self,
        requests: Sequence[models.QueryRequest],
        rescore: Sequence[models.QueryRequest] = (),
    ) -> list[list[ScoredPoint]]:
        """Run two steps: a second scan over the other requests' results is cheaper here than
        prefetch stages, which would scan once per request."""
        from qdrant_client import models

        answers = [*self.query_batch(requests), *([] for _ in rescore)]
        union = {point.id for points in answers for point in points}
        missing: dict[int, models.QueryRequest] = {}
        for number, (request, points) in enumerate(
            zip([*requests, *rescore], answers, strict=True)
        ):
            ids = sorted(union - {point.id for point in points})
            is_partial = number >= len(requests) or len(points) == request.limit
            if ids and is_partial:  # fewer than the limit: no more exist
                among = models.Filter(must=[models.HasIdCondition(has_id=[*ids])])
                change = {"filter": among, "limit": len(ids)}
                missing[number] = request.model_copy(update=change)
        for number, points in zip(missing, self.query_batch([*missing.values()]), strict=True):
            answers[number] += points
        return answers

    def retrieve(
        self, ids: Sequence[str], *, vectors: bool | Sequence[str] = False
    ) -> list[Record]:
        check_ids(ids)
        wanted = vectors if isinstance(vectors, bool) else list(vectors)
        rows = self._call("retrieve", list(ids), wanted)
        return [_parse_record(row, self._require_schema()) for row in rows]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        where = simplify_filter(where)
        if matches_nothing(where):
            return [], None
        rows, following = self._call("scroll", _dump_model(where), limit, after, vectors)
        return [_parse_record(row, self._require_schema()) for row in rows], following

    def count(self, where: models.Filter | None = None) -> int:
        where = simplify_filter(where)
        return 0 if matches_nothing(where) else int(self._call("count", _dump_model(where)))

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        where = simplify_filter(where)
        if matches_nothing(where):
            return []
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
            self._disconnect()
            if self._folder is not None:
                os.close(self._folder)
                self._folder = None

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone by then
        if self._folder is not None:
            close(self._folder)

    def _require_schema(self) -> Schema:
        if self._schema is None:
            raise StoreError("the collection is not open: call ensure(schema) first")
        return self._schema

    def _call(self, method: str, *arguments: object) -> Any:
        """Send a request, once more if the process has died: every operation is idempotent."""
        since = time.monotonic()
        with self._lock:
            for _ in range(2):
                self._check_folder()
                try:
                    return self._request(method, arguments, since)
                except (OSError, EOFError) as error:
                    self._disconnect()
                    failure = error
                except IndexerError:
                    raise
                except BaseException:  # such as Ctrl-C: the answer to come belongs to no request
                    self._disconnect()
                    raise
            check_disk_space(self._path)  # whose files are mapped: it dies of a full disk
            if self._has_crashed():
                reason = "the server process ends when it reads them"
                raise DamagedError(damage_message(self._path, reason)) from failure
            raise StoreError(
                f"the server process of {self._path} has died twice ({failure!r}); see "
                f"{find_server_dir(self._path) / LOG_FILE}, and run the command again"
            ) from failure

    def _request(self, method: str, arguments: tuple[object, ...], since: float) -> Any:
        if self._connection is None:
            self._connection = self._connect(since)
            if method != "ensure":
                self._request("ensure", (self._require_schema(), False), since)
        channel, watch = self._connection
        watch.start(method, since)
        try:
            channel.send((method, arguments))
            ok, answer = channel.receive()
        except StoreUnavailableError:
            self._disconnect()
            raise
        if ok:
            return answer
        name, message = answer
        raise getattr(errors, name, StoreError)(message)

    def _has_crashed(self) -> bool:
        """Whether the last server process was ended by what a damaged file causes: the files are
        mapped, and one may be too short, or lead to an address that is none."""
        try:
            code = 0 if self._process is None else self._process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            return False
        return -code in CRASH_SIGNALS

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection[0].close()
            self._connection = None

    def _check_folder(self) -> None:
        """Raise `CollectionError` unless `path` is the folder that it was when it was opened."""
        try:
            found = self._path.stat()
        except OSError:
            raise DamagedError(lost_points_message(self._path)) from None
        if self._folder is None:  # kept open, so that no other folder gets its inode
            self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        if not os.path.samestat(found, os.fstat(self._folder)):
            raise CollectionError(
                f"{self._path} was moved or replaced while it was open, and nothing more was "
                "written to it; run the command again"
            )

    def _connect(self, since: float) -> tuple[Channel, Watch]:
        started, starts, wait = time.monotonic(), 0, 0.005
        while time.monotonic() < started + START_TIMEOUT:
            live = connect(self._path, since=since)
            if live is not None:
                return live
            code = None if self._process is None else self._process.poll()
            if self._process is None or code is not None:
                if starts and code and (code > 0 or starts == MAX_STARTS):
                    break
                self._process = _start_server(self._path)
                starts += 1
            time.sleep(wait)
            wait = min(wait * 1.3, 0.2)
        raise self._start_error(time.monotonic() - started)

    def _start_error(self, seconds: float) -> StoreError:
        folder, pid = find_server_dir(self._path), self._process and self._process.pid
        holder = describe_lock_holder(folder / LOCK_FILE)
        if is_locked(folder / LOCK_FILE) and not holder.startswith(f"process {pid} "):
            return StoreBusyError(in_use_message(self._path, folder / LOCK_FILE))
        check_disk_space(self._path)
        try:
            last = (folder / LOG_FILE).read_text("utf-8", "replace").strip().rpartition("\n")[2]
        except OSError:
            last = ""
        return StoreError(
            f"the server process of {self._path} did not start within {seconds:.0f} s"
            f"{f' ({last})' if last else ''}; see {folder / LOG_FILE}"
        )


def _start_server(path: Path) -> subprocess.Popen[bytes]:
    """Start a server process that outlives us and holds none of our pipes or terminals."""
    root = Path(__file__).resolve().parents[3]  # where `-m indexer...` is found
    folder = find_server_dir(path)
    make_private_dir(folder)
    with open_private(folder / LOG_FILE, "wb") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "indexer.stores.edge.server",
                path.absolute(),
                folder.absolute(),
            ],
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


def _parse_record(row: Any, schema: Schema) -> Record:
    id, _, payload, vectors = row
    known = {*dict(schema.dense), *schema.sparse}
    named: dict[str, Vector | SparseVector] = {
        name: SparseVector(tuple(v[0]), tuple(v[1]))
        if isinstance(v, tuple)
        else np.asarray(v, dtype=np.float32)
        for name, v in vectors.items()
        if name in known
    }
    return Record(id, named, payload or {})
