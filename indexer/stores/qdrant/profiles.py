"""The profiles of collections on a server: what is in RAM, what is quantised, how queries make up.

A number of a vector costs 4 bytes as it is and 2 as float16; quantised to four bits half a byte, to
two bits a quarter. What quantisation mistakes, rescoring mends: a query takes `oversampling` times
as many candidates from the quantised vectors as it wants, and orders them by the originals.
https://qdrant.tech/documentation/manage-data/quantization/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.errors import ConfigError
from indexer.stores.base import Schema
from indexer.stores.qdrant.connection import Layout

if TYPE_CHECKING:
    from qdrant_client import models


@dataclass(frozen=True, slots=True)
class Profile:
    """`bits` a number in RAM (None: not quantised); None of shards and replicas: the server's."""

    datatype: str
    originals_on_disk: bool
    bits: str | None
    graph_on_disk: bool  # HNSW's, about 150 bytes a point
    payload_on_disk: bool
    indexes_on_disk: bool  # of the payload and of words
    lookups_on_disk: bool  # of LOOKUPS
    shards: int | None = None
    replicas: int | None = None


PROFILES = {
    # To about a million points of dim 1024 in 16 GB. Nothing is lost, nothing waits for a disk.
    "small": Profile(
        datatype="float32",
        originals_on_disk=False,
        bits=None,
        graph_on_disk=False,
        payload_on_disk=False,
        indexes_on_disk=False,
        lookups_on_disk=False,
    ),
    # To some ten millions: RAM holds an eighth of the vectors, the graph, and the facets. float16
    # keeps a cosine to 1e-3 at worst, and halves what rescoring reads. TurboQuant's four bits are
    # within 1 to 2 points of int8's recall before rescoring, in half the RAM.
    "large": Profile(
        datatype="float16",
        originals_on_disk=True,
        bits="bits4",
        graph_on_disk=False,
        payload_on_disk=True,
        indexes_on_disk=False,
        lookups_on_disk=True,
    ),
    # Beyond, over several machines: RAM holds a sixteenth of the vectors and nothing else. One bit
    # would want vectors of dim 1000 and more; a starter has 384. Six shards spread over two,
    # three or six nodes; two replicas outlive the loss of one.
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

LOOKUP_KEYS = frozenset({"content", "paths", "name"})
"""Keys that nearly every point has a value of its own for: most of what indexes of the payload
would take in RAM, and asked for when one file is looked up, not at every search."""

OVERSAMPLING = {"bits4": 2.0, "bits2": 3.0}
"""Search already asks for 100 where it shows 20, so that little is wanted on top."""
MAX_OVERSAMPLING = 4.0  # for a coarser quantisation, of somebody else's collection

STRICT_MODE: dict[str, Any] = {
    "enabled": True,
    "unindexed_filtering_retrieve": True,  # people narrow by columns of their own tables
    "unindexed_filtering_update": False,  # what is changed is named by its id
    "search_allow_exact": True,
    "search_max_oversampling": 16.0,
    "search_max_hnsw_ef": 2048,
    "search_max_batchsize": 128,  # `QdrantStore` sends at most half of that
    "upsert_max_batchsize": 1024,  # and a quarter of that
    "max_query_limit": 100_000,  # page 500 of a search asks for that many candidates
}
"""Limits that our own queries keep, and that a mistaken one meets before the server suffers."""


def resolve_profile(layout: Layout) -> Profile:
    """Raises `ConfigError` for a profile that there is not."""
    try:
        return PROFILES[layout.profile]
    except KeyError:
        raise ConfigError(
            f"profile = {layout.profile!r}: expected one of {', '.join(PROFILES)}"
        ) from None


def make_collection_config(schema: Schema, layout: Layout) -> dict[str, Any]:
    """The arguments of `create_collection`, but for its name."""
    from qdrant_client import models

    profile = resolve_profile(layout)
    replicas = layout.replicas or profile.replicas
    return {
        "vectors_config": {name: _make_dense_params(profile, dim) for name, dim in schema.dense},
        "sparse_vectors_config": {name: _make_sparse_params(profile) for name in schema.sparse},
        "quantization_config": _make_quantization(profile.bits),
        "hnsw_config": models.HnswConfigDiff(on_disk=profile.graph_on_disk),
        "on_disk_payload": profile.payload_on_disk,
        "shard_number": layout.shards or profile.shards,
        "replication_factor": replicas,
        "write_consistency_factor": replicas and replicas // 2 + 1,  # most have it, or it failed
        "strict_mode_config": models.StrictModeConfig(**STRICT_MODE),
    }


def _make_dense_params(profile: Profile, dim: int) -> models.VectorParams:
    from qdrant_client import models

    return models.VectorParams(
        size=dim,
        distance=models.Distance.COSINE,
        on_disk=profile.originals_on_disk,
        datatype=models.Datatype(profile.datatype),
    )


def _make_sparse_params(profile: Profile) -> models.SparseVectorParams:
    from qdrant_client import models

    return models.SparseVectorParams(
        modifier=models.Modifier.IDF,
        index=models.SparseIndexParams(on_disk=profile.indexes_on_disk),
    )


def _make_quantization(bits: str | None) -> models.TurboQuantization | None:
    """In RAM whatever the originals do."""
    from qdrant_client import models

    if bits is None:
        return None
    return models.TurboQuantization(
        turbo=models.TurboQuantQuantizationConfig(
            bits=models.TurboQuantBitSize(bits), always_ram=True
        )
    )


def make_payload_indexes(schema: Schema, layout: Layout) -> dict[str, Any]:
    """Payload key -> its index. They must be there before the points: HNSW builds on them."""
    from qdrant_client import models

    profile = resolve_profile(layout)
    on_disk = profile.indexes_on_disk

    def words(on_disk: bool, tenant: bool | None = None) -> models.KeywordIndexParams:
        kind = models.KeywordIndexType.KEYWORD
        return models.KeywordIndexParams(type=kind, is_tenant=tenant, on_disk=on_disk)

    seldom = LOOKUP_KEYS if profile.lookups_on_disk else frozenset()
    indexes: dict[str, Any] = {key: words(on_disk or key in seldom) for key in schema.keywords}
    for key in schema.integers:
        kind = models.IntegerIndexType.INTEGER
        indexes[key] = models.IntegerIndexParams(type=kind, on_disk=on_disk)
    if schema.tenant:
        indexes[schema.tenant] = words(on_disk, tenant=True)
    return indexes


def make_search_params(found: models.CollectionInfo) -> models.SearchParams | None:
    """What a query must say of a collection as it is found; None where it is not quantised."""
    from qdrant_client import models

    vectors = found.config.params.vectors
    own = [v.quantization_config for v in vectors.values()] if isinstance(vectors, dict) else []
    quantised = [one for one in (found.config.quantization_config, *own) if one]
    if not quantised:
        return None
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(
            rescore=True, oversampling=max(_get_oversampling(one) for one in quantised)
        )
    )


def _get_oversampling(quantization: Any) -> float:
    from qdrant_client import models

    if isinstance(quantization, models.ScalarQuantization):
        return OVERSAMPLING["bits4"]
    if isinstance(quantization, models.TurboQuantization) and quantization.turbo.bits:
        return OVERSAMPLING.get(quantization.turbo.bits.value, MAX_OVERSAMPLING)
    return MAX_OVERSAMPLING
