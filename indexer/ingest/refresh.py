"""Brings all points up to date: vectors of names, BM25 vectors, signatures, and dates in names.

An index of an earlier version has no vectors of names, its words are those of another tokenizer,
and its images have no signatures. An ingest changes that from the payloads and the thumbnails: no
file is read, and no image is embedded. The same happens when names are turned on; when they are
turned off, their vectors are deleted.

Until all points are done, the index is searched as before. A cursor beside the catalog lets the
next ingest continue a run that was interrupted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from embedder.files import PRIVATE, write_file
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, NAME, TextIndexing, make_schema
from indexer.ingest.embed_stage import EmbedFailedError, EmbedStage, PointVectors
from indexer.ingest.payload import date_names, keyword_texts, names_to_embed
from indexer.ingest.thumbnails import sign_thumbnail
from indexer.ingest.time_and_place import choose_fields
from indexer.ingest.types import PointWrite
from indexer.paths import make_point_ids
from indexer.search.bm25 import build_document_vector
from indexer.search.image_signature import SIGNATURE
from indexer.stores.base import TENANT_KEY
from indexer.types import Payload, Record

CURSOR_FILE = "refresh.json"
PAGE_SIZE = 256  # points


class TextRefresh:
    """Brings an open index to the latest `TextIndexing`; the caller holds its write lock.

    Args:
        collection: The collection, for one tenant or all: the points of all tenants change.
        embed_stage: Embeds the names.
        names: Whether there are to be names; None: see `TextIndexing.update`.
        report_progress: Called with the stage, the points that are done, and their number.
        stop: Setting it ends the run after the current page.
    """

    def __init__(
        self,
        collection: OpenCollection,
        embed_stage: EmbedStage,
        names: bool | None,
        report_progress: Callable[[str, int, int], None],
        stop: threading.Event,
    ) -> None:
        self._collection, self._embed_stage = collection, embed_stage
        self._store = collection.index_store
        self._report_progress, self._stop = report_progress, stop
        self._texts = collection.active_index.texts
        self._wanted = self._texts.update(names)
        self._cursor = collection.active_index.folder / CURSOR_FILE

    def run(self) -> int:
        """Do nothing where the index is up to date; returns how many points were written.

        Raises `StoreError`, and `IndexerError` where the model cannot be reached.
        """
        if self._wanted == self._texts:
            return 0
        index = self._collection.active_index
        schema = make_schema(index.card.dim, names=self._wanted.names)
        texts = self._texts
        if texts.names and not self._wanted.names:  # first, so that no search uses them
            texts = replace(texts, names=False)
            self._collection.set_texts(texts)
        self._store.alter(schema)
        if texts == self._wanted:
            return 0
        written = self._write_points()
        if not self._stop.is_set():
            self._store.flush()
            self._collection.set_texts(self._wanted)
            self._cursor.unlink(missing_ok=True)
        return written

    def _write_points(self) -> int:
        after, done = _read_cursor(self._cursor, self._wanted)
        first, total = done, self._store.count()
        while not self._stop.is_set():
            page, after = self._store.scroll(limit=PAGE_SIZE, after=after)
            self._write_page(page)
            done += len(page)
            self._report_progress("refresh", done, total)
            if after is None:
                break
            self._store.flush()
            state = {"after": after, "done": done, "texts": asdict(self._wanted)}
            write_file(self._cursor, json.dumps(state), mode=PRIVATE)
        return done - first

    def _write_page(self, page: Sequence[Record]) -> None:
        writes = [
            PointWrite(
                id=record.id,
                payload=record.payload,
                is_new=False,
                names=tuple(names_to_embed(record.payload)) if self._wanted.names else (),
            )
            for record in page
        ]
        rows = self._embed_stage.submit(writes).result()
        if self._collection.is_shared:  # another machine may have changed them meanwhile
            page = self._store.retrieve([record.id for record in page])
        vectors = {write.id: row for write, row in zip(writes, rows, strict=True)}
        unnamed = [write.id for write in writes if not write.names]
        if self._wanted.names and unnamed:  # of a run after which names were turned off
            self._store.delete_vectors(unnamed, NAME)
        patches = [self._make_patch(record, vectors[record.id]) for record in page]
        self._store.patch(patches, merge=True)  # somebody may give a point tags meanwhile

    def _make_patch(self, record: Record, embedded: PointVectors | EmbedFailedError) -> Record:
        names = {} if isinstance(embedded, EmbedFailedError) else embedded
        payload = record.payload
        new = self._complete(payload) if payload["kind"] == "image" else payload
        changed = {
            key: new.get(key) for key in {**payload, **new} if payload.get(key) != new.get(key)
        }
        words = build_document_vector(keyword_texts(new))
        return Record(record.id, {**names, BM25: words}, changed)

    def _complete(self, payload: Payload) -> Payload:
        """Return an image's payload with the date in its name and the signature of its thumbnail,
        if that is on this machine. A catalog gets the signature when a content changes: see
        `load_stored`."""
        new = choose_fields(payload, date_names(payload))
        if SIGNATURE not in payload:
            (id,) = make_point_ids(payload["content"])  # those of tenants are masked
            folder = self._collection.find_thumbnail_dir(payload.get(TENANT_KEY))
            signature = sign_thumbnail(folder, id)
            if signature is not None:
                new[SIGNATURE] = signature
        return new


def _read_cursor(file: Path, wanted: TextIndexing) -> tuple[str | None, int]:
    """Where an interrupted run with the same aim has stopped, and how many points it had done."""
    try:
        state = json.loads(file.read_text("utf-8"))
        if state["texts"] == asdict(wanted):
            return str(state["after"]), int(state["done"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None, 0
