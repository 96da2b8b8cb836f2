"""A collection as an earlier version has left it: no names, other words, no signatures."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, TextIndexing, make_schema
from indexer.config import Config
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.search.bm25 import to_sparse_vector
from indexer.search.image_signature import SIGNATURE
from indexer.stores.base import iterate_records

OLD = TextIndexing(names=False, version=1)


def make_outdated(config: Config, *, names: bool = False) -> dict[str, str]:
    """Change an ingested collection; returns the signatures that its points had, by id."""
    signatures = {}
    with OpenCollection.open(config) as collection:
        store, card = collection.index_store, collection.active_index.card
        for record in list(iterate_records(store)):
            payload = dict(record.payload)
            if SIGNATURE in payload:
                signatures[record.id] = payload.pop(SIGNATURE)
            store.patch(
                [replace(record, vectors={BM25: to_sparse_vector({7: 1.0})}, payload=payload)]
            )
        store.alter(make_schema(card.dim, names=names))
        collection.set_texts(replace(OLD, names=names))
        with closing(Catalog(collection.index_dir / CATALOG_FILE)) as catalog:
            for content in list(catalog.iter_contents()):
                for base in content.base_payloads:
                    base.pop(SIGNATURE, None)
                catalog.put_content(content)
            catalog.commit()
    return signatures
