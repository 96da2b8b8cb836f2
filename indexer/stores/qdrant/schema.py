"""Creates a collection on a server, or checks that an existing one has the right schema."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from indexer.errors import StoreError
from indexer.stores.base import Layout, Schema
from indexer.stores.qdrant.errors import get_status
from indexer.stores.qdrant.profiles import make_collection_config, make_payload_indexes

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from indexer.stores.qdrant.server import Server

log = logging.getLogger(__name__)


def create_collection(
    server: Server,
    name: str,
    schema: Schema,
    layout: Layout,
    metadata: dict[str, Any] | None = None,
) -> bool:
    """Create the collection `name` with its payload indexes; raises `StoreError`.

    Returns False if it exists: another process created it, or the response to us was lost.
    """
    arguments = make_collection_config(schema, layout)

    def create(client: QdrantClient) -> bool:
        try:
            return client.create_collection(name, **arguments, metadata=metadata)
        except Exception as error:
            if get_status(error) != 409:
                raise
            return False

    is_new = server.call(create)
    _create_indexes(server, name, make_payload_indexes(schema, layout))
    return is_new


def ensure_collection(
    server: Server,
    name: str,
    schema: Schema,
    layout: Layout,
    info: models.CollectionInfo | None = None,
) -> models.CollectionInfo:
    """Create the collection `name` and its payload indexes if missing; raises `StoreError`.

    `info` is the server's description of it, if known. With a read-only key an existing collection
    is used as it is.
    """
    if info is None:
        if not server.call(lambda client: client.collection_exists(name)):
            create_collection(server, name, schema, layout)
        info = server.call(lambda client: client.get_collection(name))
    _check_vectors(info, name, schema)
    wanted = make_payload_indexes(schema, layout)
    _create_indexes(server, name, {k: v for k, v in wanted.items() if k not in info.payload_schema})
    return info


def _create_indexes(server: Server, name: str, missing: dict[str, Any]) -> None:
    def create(client: QdrantClient) -> bool:
        try:
            for key, index in missing.items():
                client.create_payload_index(name, key, index, wait=True)
        except Exception as error:
            if get_status(error) != 403:
                raise
            return False
        return True

    if missing and not server.call(create):
        log.warning(
            "collection %s has no index on %s, and the API key may not create one: facets on it "
            "fail, and filters on it are slow",
            name,
            ", ".join(missing),
        )


def _check_vectors(info: models.CollectionInfo, name: str, schema: Schema) -> None:
    dense, sparse = info.config.params.vectors, info.config.params.sparse_vectors or {}
    named = dense if isinstance(dense, dict) else {}
    missing = [v for v, _ in schema.dense if v not in named]
    missing += [v for v in schema.sparse if v not in sparse]
    if missing:
        existing = ", ".join([*named, *sparse]) or "one without a name"
        raise StoreError(
            f"collection {name!r} on the server has no vectors {' and '.join(missing)} (it has "
            f"{existing}): it was not created by indexer ingest; choose another with --collection"
        )
    for vector, dim in schema.dense:
        if named[vector].size != dim:
            raise StoreError(
                f"collection {name!r} on the server has {vector} vectors of "
                f"dim {named[vector].size}, and the model has dim {dim}: name the collection's "
                "own model with --model, or another collection with --collection; indexer reindex "
                "gives a collection another model"
            )
        if named[vector].distance != "Cosine":
            raise StoreError(
                f"collection {name!r} on the server compares its {vector} vectors by "
                f"{named[vector].distance.value}, not by cosine: it was not created by indexer "
                "ingest; choose another with --collection"
            )
