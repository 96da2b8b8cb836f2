"""How a collection is stored on a server: its storage profile, vectors and payload indexes.

A profile says what is in RAM, and how it is quantized. A vector value takes 4 bytes as float32 and
2 as float16, half a byte quantized to four bits, and a quarter to two bits. Rescoring corrects the
quantization error: a query takes `oversampling` times its limit of candidates from the quantized
vectors and orders them by the original vectors.
https://qdrant.tech/documentation/manage-data/quantization/
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import ConfigError, StoreError
from indexer.stores.base import Layout, Schema
from indexer.stores.qdrant.cluster import compute_write_consistency
from indexer.stores.qdrant.errors import get_status

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from indexer.stores.qdrant.server import Server

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Profile:
    """`bits` per value in RAM (None: not quantized); shards, replicas: None is the default."""

    datatype: str
    originals_on_disk: bool = False
    bits: str | None = None
    graph_on_disk: bool = False  # HNSW, about 150 bytes per point
    payload_on_disk: bool = False
    indexes_on_disk: bool = False  # of payload keys and sparse vectors
    lookups_on_disk: bool = False  # of LOOKUP_KEYS
    shards: int | None = None
    replicas: int | None = None


PROFILES = {
    # Up to about a million points of dim 1024 in 16 GB. No quantization, no disk reads.
    "small": Profile(datatype="float32"),
    # Up to tens of millions: RAM holds an eighth of the vectors, the graph, and the facets. float16
    # keeps a cosine to 1e-3 at worst, and halves what rescoring reads. TurboQuant's four bits are
    # within 1 to 2 points of int8's recall before rescoring, in half the RAM.
    "large": Profile(
        datatype="float16",
        originals_on_disk=True,
        bits="bits4",
        payload_on_disk=True,
        lookups_on_disk=True,
    ),
    # More, on several machines: RAM holds a sixteenth of the vectors and nothing else. One bit
    # needs a dim of 1000 or more; the starter has 384. Six shards spread over two, three or six
    # nodes; two replicas tolerate the loss of one node.
    "huge": Profile(
        datatype="float16",
        originals_on_disk=True,
        bits="bits2",
        graph_on_disk=True,
        payload_on_disk=True,
        indexes_on_disk=True,
        lookups_on_disk=True,
        shards=6,
        replicas=2,
    ),
}

LOOKUP_KEYS = frozenset({"content", "paths", "name", "taken", "added"})
"""Keys with a distinct value in nearly every point. They need most of the RAM of the payload
indexes, and are used to look up a file or to sort by, not in every search."""

OVERSAMPLING = {"bits4": 2.0, "bits2": 3.0}
"""Search already requests 100 for a page of 20, so little oversampling is needed."""
MAX_OVERSAMPLING = 4.0  # for coarser quantization, of a collection that was not created here

STRICT_MODE: dict[str, Any] = {
    "enabled": True,
    "unindexed_filtering_retrieve": True,  # users filter by columns of their own tables
    "unindexed_filtering_update": False,  # updates name points by id
    "search_allow_exact": True,
    "search_max_oversampling": 16.0,
    "search_max_hnsw_ef": 2048,
    "search_max_batchsize": 128,  # `QdrantStore` sends at most half of this
    "upsert_max_batchsize": 1024,  # and a quarter of this
    "max_query_limit": 100_000,  # page 500 of a search requests this many candidates
}
"""Limits that our queries respect, and that protect the server from mistaken ones."""


def resolve_profile(layout: Layout) -> Profile:
    """Look up the profile; raises `ConfigError` for an unknown one."""
    try:
        return PROFILES[layout.profile]
    except KeyError:
        raise ConfigError(
            f"profile = {layout.profile!r}: expected one of {', '.join(PROFILES)}"
        ) from None


def make_collection_config(schema: Schema, layout: Layout) -> dict[str, Any]:
    """Make the arguments of `create_collection`, except the name."""
    from qdrant_client import models

    profile = resolve_profile(layout)
    replicas = layout.replicas or profile.replicas
    dense = {
        name: models.VectorParams(
            size=dim,
            distance=models.Distance.COSINE,
            on_disk=profile.originals_on_disk,
            datatype=models.Datatype(profile.datatype),
        )
        for name, dim in schema.dense
    }
    sparse = models.SparseVectorParams(
        modifier=models.Modifier.IDF,
        index=models.SparseIndexParams(on_disk=profile.indexes_on_disk),
    )
    quantization = profile.bits and models.TurboQuantization(
        turbo=models.TurboQuantQuantizationConfig(
            bits=models.TurboQuantBitSize(profile.bits), always_ram=True
        )
    )
    return {
        "vectors_config": dense,
        "sparse_vectors_config": dict.fromkeys(schema.sparse, sparse),
        "quantization_config": quantization,
        "hnsw_config": models.HnswConfigDiff(on_disk=profile.graph_on_disk),
        "on_disk_payload": profile.payload_on_disk,
        "shard_number": layout.shards or profile.shards,
        "replication_factor": replicas,
        "write_consistency_factor": replicas and compute_write_consistency(replicas),
        "strict_mode_config": models.StrictModeConfig(**STRICT_MODE),
    }


def make_payload_indexes(schema: Schema, layout: Layout) -> dict[str, Any]:
    """Payload key -> its index. They must exist before the points: HNSW uses them."""
    from qdrant_client import models

    profile = resolve_profile(layout)
    on_disk = profile.indexes_on_disk
    lookups = LOOKUP_KEYS if profile.lookups_on_disk else frozenset()
    keyword, integer = models.KeywordIndexType.KEYWORD, models.IntegerIndexType.INTEGER
    datetime = models.DatetimeIndexType.DATETIME
    indexes: dict[str, Any] = {
        key: models.KeywordIndexParams(type=keyword, on_disk=on_disk or key in lookups)
        for key in schema.keywords
    }
    for key in schema.integers:
        indexes[key] = models.IntegerIndexParams(type=integer, on_disk=on_disk)
    for key in schema.datetimes:
        indexes[key] = models.DatetimeIndexParams(type=datetime, on_disk=on_disk or key in lookups)
    if schema.tenant:
        indexes[schema.tenant] = models.KeywordIndexParams(
            type=keyword, on_disk=on_disk, is_tenant=True
        )
    return indexes


def make_search_params(info: models.CollectionInfo) -> models.SearchParams | None:
    """Make the search parameters of a collection; None if it is not quantized."""
    from qdrant_client import models

    vectors = info.config.params.vectors
    own = [v.quantization_config for v in vectors.values()] if isinstance(vectors, dict) else []
    quantizations = [one for one in (info.config.quantization_config, *own) if one]
    if not quantizations:
        return None
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(
            rescore=True, oversampling=max(_get_oversampling(one) for one in quantizations)
        )
    )


def _get_oversampling(quantization: Any) -> float:
    from qdrant_client import models

    if isinstance(quantization, models.ScalarQuantization):
        return OVERSAMPLING["bits4"]
    if isinstance(quantization, models.TurboQuantization) and quantization.turbo.bits:
        return OVERSAMPLING.get(quantization.turbo.bits.value, MAX_OVERSAMPLING)
    return MAX_OVERSAMPLING


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


def alter_collection(
    server: Server, name: str, former: Schema, schema: Schema, layout: Layout
) -> models.CollectionInfo:
    """Give the collection `name` the dense vectors of `schema`, and delete those that only `former`
    has; returns its new description. Raises `StoreError`."""
    from qdrant_client import models

    info = server.call(lambda client: client.get_collection(name))
    existing = info.config.params.vectors if isinstance(info.config.params.vectors, dict) else {}
    datatype = models.VectorStorageDatatype(resolve_profile(layout).datatype)
    for vector, dim in schema.dense:
        if vector in existing:
            continue
        config = models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(
                size=dim, distance=models.Distance.COSINE, datatype=datatype
            )
        )
        server.call(lambda client, v=vector, c=config: client.create_vector_name(name, v, c))  # type: ignore[misc]
    for vector in (dict(former.dense).keys() - dict(schema.dense).keys()) & existing.keys():
        server.call(lambda client, v=vector: client.delete_vector_name(name, v))  # type: ignore[misc]
    return server.call(lambda client: client.get_collection(name))


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
