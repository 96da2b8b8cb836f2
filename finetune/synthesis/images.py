"""The pictures of a collection, and the neighbours of each by the vectors that the store has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder.client.schemas import is_utf8_encodable
from embedder.types import Vectors
from finetune.errors import FinetuneError
from finetune.synthesis.samples import Rejected, SampleImage
from indexer.collections.schema import IMAGE
from indexer.paths import resolve_display_path
from indexer.search.filters import build_store_filter
from indexer.search.rerank import DUPLICATE_COSINE

if TYPE_CHECKING:
    from indexer.stores.base import Store
    from indexer.types import Record

PAGE_SIZE = 1000
MAX_NEIGHBORS = 64  # neighbours that are looked at; near-duplicates among them fall away
IMAGE_FILTER = {"kind": ("image",)}


@dataclass(frozen=True, slots=True)
class CollectionImages:
    """`ids` are the points with pictures, in order. Thread-safe, as its store is."""

    store: Store
    ids: tuple[str, ...]

    @staticmethod
    def from_store(store: Store, name: str) -> CollectionImages:
        """All pictures of a collection; raises `FinetuneError` where there are none."""
        ids: list[str] = []
        after: str | None = None
        while True:
            records, after = store.scroll(
                build_store_filter(IMAGE_FILTER), limit=PAGE_SIZE, after=after
            )
            ids += [record.id for record in records]
            if after is None:
                break
        if not ids:
            raise FinetuneError(
                f"collection {name!r} has no pictures; type: indexer ingest FOLDER --collection "
                f"{name}"
            )
        return CollectionImages(store, tuple(sorted(ids)))

    def get_image(self, id: str) -> SampleImage:
        """Raises `Rejected` where its file is gone."""
        return _to_sample_image(self._retrieve(id))

    def display_path(self, id: str) -> str:
        """Where a picture lies, for a person to read."""
        return str(self._retrieve(id).payload["paths"][0])

    def find_neighbors(self, id: str) -> list[str]:
        """Pictures like `id`, the likest first, none of them nearly the same as `id` or as one
        before it."""
        from qdrant_client import models

        vector = self._retrieve(id).vectors[IMAGE]
        request = models.QueryRequest(
            query=list(map(float, np.asarray(vector))),
            using=IMAGE,
            filter=build_store_filter(IMAGE_FILTER),
            limit=MAX_NEIGHBORS,
            with_vector=[IMAGE],
        )
        hits = [hit for hit in self.store.query(request) if hit.id != id]
        kept_vectors = [np.asarray(vector, np.float32)]
        kept = []
        for hit in hits:
            row = np.asarray(hit.vectors[IMAGE], np.float32)
            if max(float(row @ other) for other in kept_vectors) < DUPLICATE_COSINE:
                kept_vectors.append(row)
                kept.append(hit.id)
        return kept

    def get_vectors(self, ids: Sequence[str]) -> Vectors:
        """(n, dim) unit rows in the order of `ids`, less those that have gone."""
        records_by_id = {
            record.id: record for record in self.store.retrieve(list(ids), vectors=True)
        }
        rows = [records_by_id[id].vectors[IMAGE] for id in ids if id in records_by_id]
        return np.asarray(rows, np.float32)

    def _retrieve(self, id: str) -> Record:
        found = self.store.retrieve([id], vectors=True)
        if not found or IMAGE not in found[0].vectors:
            raise Rejected("picture is gone", "it is no longer in the collection")
        return found[0]


def _to_sample_image(record: Record) -> SampleImage:
    paths = [resolve_display_path(shown) for shown in record.payload["paths"]]
    existing_paths = [path for path in paths if is_utf8_encodable(path) and Path(path).is_file()]
    if not existing_paths:
        raise Rejected("picture is gone", f"no file at {record.payload['paths'][0]}")
    return SampleImage(record.id, record.payload["content"], existing_paths[0])
