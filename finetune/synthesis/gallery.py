"""The pictures of a collection, and the neighbours of each by the vectors that the store has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder.remote.wire import is_whole
from embedder.types import Vectors
from finetune.errors import FinetuneError
from finetune.synthesis.samples import Picture, Rejected
from indexer.filters import store_filter
from indexer.folding import SAME
from indexer.schema import IMAGE
from indexer.walk import file_path

if TYPE_CHECKING:
    from indexer.stores.protocol import Store
    from indexer.types import Record

PAGE = 1000
NEAR = 64  # neighbours that are looked at; near-duplicates among them fall away
PICTURES = {"kind": ("image",)}


@dataclass(frozen=True, slots=True)
class Gallery:
    """`ids` are the points with pictures, in order. Thread-safe, as its store is."""

    store: Store
    ids: tuple[str, ...]

    @staticmethod
    def of(store: Store, name: str) -> Gallery:
        """All pictures of a collection; raises `FinetuneError` where there are none."""
        ids: list[str] = []
        after: str | None = None
        while True:
            records, after = store.scroll(store_filter(PICTURES), limit=PAGE, after=after)
            ids += [record.id for record in records]
            if after is None:
                break
        if not ids:
            raise FinetuneError(
                f"collection {name!r} has no pictures; type: indexer ingest FOLDER --collection "
                f"{name}"
            )
        return Gallery(store, tuple(sorted(ids)))

    def picture(self, id: str) -> Picture:
        """Raises `Rejected` where its file is gone."""
        return _picture(self._record(id))

    def path(self, id: str) -> str:
        """Where a picture lies, for a person to read."""
        return str(self._record(id).payload["paths"][0])

    def neighbours(self, id: str) -> list[str]:
        """Pictures like `id`, the likest first, none of them nearly the same as `id` or as one
        before it."""
        from qdrant_client import models

        vector = self._record(id).vectors[IMAGE]
        request = models.QueryRequest(
            query=list(map(float, np.asarray(vector))),
            using=IMAGE,
            filter=store_filter(PICTURES),
            limit=NEAR,
            with_vector=[IMAGE],
        )
        found = [hit for hit in self.store.query(request) if hit.id != id]
        seen = [np.asarray(vector, np.float32)]
        kept = []
        for hit in found:
            row = np.asarray(hit.vectors[IMAGE], np.float32)
            if max(float(row @ other) for other in seen) < SAME:
                seen.append(row)
                kept.append(hit.id)
        return kept

    def vectors(self, ids: Sequence[str]) -> Vectors:
        """(n, dim) unit rows in the order of `ids`, less those that have gone."""
        found = {record.id: record for record in self.store.retrieve(list(ids), vectors=True)}
        rows = [found[id].vectors[IMAGE] for id in ids if id in found]
        return np.asarray(rows, np.float32)

    def _record(self, id: str) -> Record:
        found = self.store.retrieve([id], vectors=True)
        if not found or IMAGE not in found[0].vectors:
            raise Rejected("picture is gone", "it is no longer in the collection")
        return found[0]


def _picture(record: Record) -> Picture:
    paths = [file_path(shown) for shown in record.payload["paths"]]
    there = [path for path in paths if is_whole(path) and Path(path).is_file()]
    if not there:
        raise Rejected("picture is gone", f"no file at {record.payload['paths'][0]}")
    return Picture(record.id, record.payload["content"], there[0])
