"""Write stage: planned changes with their vectors go into the store, then into the catalog.

The catalog never runs ahead of the store: `commit` flushes the store first. After a crash, points
that the catalog does not know are found in the store and adopted, not embedded again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25
from indexer.ingest.catalog import Catalog
from indexer.ingest.reconcile import Action, ContentPlan
from indexer.ingest.thumbnails import thumbnail_path
from indexer.ingest.types import StageTimer
from indexer.search.bm25 import build_document_vector
from indexer.types import Record, SparseVector, Vector

UPSERT_BATCH = 256  # points per message
COMMIT_INTERVAL = 5.0  # seconds; files written since then are read again after a crash


class WriteStage:
    """The only writer of the store and of the catalog's files and contents.

    Raises `StoreError`; what was written before stays.
    """

    def __init__(
        self,
        collection: OpenCollection,
        catalog: Catalog,
        timer: StageTimer | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self._store, self._thumbnails_dir = collection.store, collection.thumbnail_dir
        self._catalog = catalog
        self._timer, self.dry_run = timer or StageTimer(), dry_run
        self._committed = time.monotonic()

    def write(self, plans: Sequence[ContentPlan]) -> None:
        """Write a batch, apart from the plans with an error; it is acknowledged by the store before
        the catalog has it."""
        plans = [plan for plan in plans if not plan.error]
        deleted = [
            id
            for plan in plans
            if plan.action is Action.DELETE
            for id in plan.change.content.point_ids
        ]
        if not self.dry_run:
            with self._timer("upsert"):
                self._write_points(plans)
                if deleted:
                    self._store.delete(deleted)
            for id in deleted:
                thumbnail_path(self._thumbnails_dir, id).unlink(missing_ok=True)
        self._write_catalog(plans)

    def commit(self, *, interval: float = 0.0) -> None:
        """Keep what was written, if the last commit is `interval` seconds ago."""
        if self.dry_run or time.monotonic() - self._committed < interval:
            return
        self._store.flush()
        self._catalog.commit()
        self._committed = time.monotonic()

    def _write_points(self, plans: Sequence[ContentPlan]) -> None:
        writes = [(write, plan.vectors.get(write.id)) for plan in plans for write in plan.writes]
        dropped: dict[str, list[str]] = {}
        whole: list[Record] = []
        patches: list[Record] = []
        for write, embedded in writes:
            vectors: dict[str, Vector | SparseVector] = dict(embedded or {})
            if write.keyword_texts is not None:
                vectors[BM25] = build_document_vector(write.keyword_texts)
            records = whole if write.is_new else patches
            records.append(Record(write.id, vectors, write.payload))
            for name in write.dropped:
                dropped.setdefault(name, []).append(write.id)
        for start in range(0, len(whole), UPSERT_BATCH):
            self._store.upsert(whole[start : start + UPSERT_BATCH])
        for name, ids in dropped.items():  # before the payload, which tells that all is done
            self._store.delete_vectors(ids, name)
        for start in range(0, len(patches), UPSERT_BATCH):
            self._store.patch(patches[start : start + UPSERT_BATCH])

    def _write_catalog(self, plans: Sequence[ContentPlan]) -> None:
        """Deletions first: a path that has left one content may have arrived at another."""
        for plan in plans:
            for path in plan.delete_paths:
                self._catalog.delete_file(path)
        for plan in plans:
            content = plan.change.content
            if plan.action in {Action.DELETE, Action.FORGET}:
                self._catalog.delete_content(content.id)
                continue
            self._catalog.put_content(content)
            for file in plan.put_files:
                self._catalog.put_file(file)
            if plan.change.arrived:
                self._catalog.record_outcome(content.id, plan.outcome)
