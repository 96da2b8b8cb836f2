"""Bytes of a collection: on a Qdrant server, structure by structure, and in the embedded store.

The formulas follow https://qdrant.tech/documentation/capacity-planning/, except where Qdrant's own
engine was measured to write something else (constants.py). The profiles are those that collections
are created with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.collections.schema import make_schema
from indexer.planning import constants as of
from indexer.stores.qdrant.schema import PROFILES, Profile

BYTES_PER_VALUE = {"float32": 4, "float16": 2}  # by datatype
BITS_PER_VALUE = {"bits4": 4.0, "bits2": 2.0, "bits1_5": 1.5, "bits1": 1.0}
DEFAULT_SHARDS = 12  # divides evenly over 1, 2, 3, 4, 6 and 12 nodes
MIN_POINTS_TO_SHARD = 10_000_000  # from here on, more shards than nodes leave room to grow
MIN_REPLICATED_NODES = 3  # so that one may fail


@dataclass(frozen=True, slots=True)
class CollectionLoad:
    """The contents of a collection.

    `captions` is the average per image; all captions of an image make one vector, and its `names`
    another. `texts` counts chunks: a short text is one.
    """

    images: int
    texts: int
    captions: float
    dim: int
    names: bool = False

    @property
    def points(self) -> int:
        return self.images + self.texts

    @property
    def vectors(self) -> int:
        """The dense vectors of images, of their captions and names, and of texts. Not every name
        has words; that is not known before."""
        captioned = round(self.images * min(self.captions, 1.0))
        return self.images + captioned + self.named + self.texts

    @property
    def named(self) -> int:
        """The images whose names are embedded."""
        return self.images if self.names else 0

    @property
    def slots(self) -> int:
        """The dense vectors that take space: each named vector does in every point, even in one
        without it (measured: the engine writes zeros)."""
        return self.points * len(make_schema(self.dim, names=self.names).dense)

    @property
    def payload(self) -> float:
        """Bytes of JSON."""
        captions = self.images * self.captions * of.CAPTION_BYTES
        return self.images * of.PAYLOAD_BYTES + captions + self.texts * of.PASSAGE_BYTES

    @property
    def words(self) -> float:
        """Words in all sparse vectors."""
        words_per_image = of.IMAGE_WORDS + of.CAPTION_WORDS * self.captions
        return self.images * words_per_image + self.texts * of.PASSAGE_WORDS


@dataclass(frozen=True, slots=True)
class StorageComponent:
    """One structure of one copy of the collection, in bytes."""

    name: str
    disk: float
    ram: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """What a profile needs. RAM and disk are bytes over all nodes.

    `decided` says what requires that many nodes, `whole` whether one node would hold a copy;
    `shards` of 0 leaves the number to the server.
    """

    profile: str
    ram: float
    disk: float
    replicas: int
    nodes: int
    decided: str
    whole: bool
    shards: int
    vectors_a_node: float
    pieces: dict[str, dict[str, float]]  # of one copy, without headroom


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStoreSize:
    """What the embedded store needs: bytes, and the median ms of a search.

    `limit` is the number of points of this dim up to which a search stays within 100 ms.
    """

    disk: float
    ram: float
    search_ms: float
    limit: int
    fits: bool


def size_cluster(
    load: CollectionLoad, profile: str, replicas: int | None, node_ram: int
) -> ClusterSize:
    """Size the cluster for `load` in `profile`; nodes have `node_ram` bytes.

    A cluster of several nodes gets two copies unless `replicas` says otherwise: the more nodes,
    the more often one is down.
    """
    size = _size_cluster(load, profile, replicas or PROFILES[profile].replicas or 1, node_ram)
    if replicas or size.nodes == 1 or size.replicas > 1:
        return size
    return _size_cluster(load, profile, 2, node_ram)


def _size_cluster(load: CollectionLoad, profile: str, replicas: int, node_ram: int) -> ClusterSize:
    components = list_components(load, PROFILES[profile])
    ram, disk = sum_components(components, replicas)
    nodes, decided = _count_nodes(ram, load.vectors * replicas, replicas, node_ram)
    return ClusterSize(
        profile=profile,
        ram=ram,
        disk=disk,
        replicas=replicas,
        nodes=nodes,
        decided=decided,
        whole=ram / replicas <= node_ram * of.USABLE_RAM_SHARE,
        shards=count_shards(nodes, load.points),
        vectors_a_node=load.vectors * replicas / nodes,
        pieces={part.name: {"disk": part.disk, "ram": part.ram} for part in components},
    )


def _count_nodes(ram: float, vectors: int, replicas: int, node_ram: int) -> tuple[int, str]:
    """Return the nodes and why: RAM, about 100 million vectors each, three if there are copies."""
    requirements = [
        (math.ceil(ram / (node_ram * of.USABLE_RAM_SHARE)), "RAM"),
        (math.ceil(vectors / of.MAX_VECTORS_PER_NODE), "100 million vectors per node"),
        (max(MIN_REPLICATED_NODES, replicas), "one may fail")
        if replicas > 1
        else (1, "one is enough"),
    ]
    nodes = max(count for count, _ in requirements)
    return nodes, next(reason for count, reason in reversed(requirements) if count == nodes)


def count_shards(nodes: int, points: int) -> int:
    """Return the shards, the same number on each node; 0 if one is enough.

    A large collection gets two or more per node, a small one only one: each shard costs something.
    """
    if points < MIN_POINTS_TO_SHARD:
        return nodes if nodes > 1 else 0
    return DEFAULT_SHARDS if DEFAULT_SHARDS % nodes == 0 and nodes < DEFAULT_SHARDS else 2 * nodes


def list_components(load: CollectionLoad, profile: Profile) -> list[StorageComponent]:
    """List the structures of one copy of the collection, without headroom."""
    payload = load.payload * of.PAYLOAD_STORE_FACTOR
    words = load.words * of.SPARSE_INDEX_WORD_BYTES
    facets = payload_index_bytes(load, of.INDEXED_BYTES - of.LOOKUP_BYTES)
    lookups = payload_index_bytes(load, of.LOOKUP_BYTES)
    # links, and a quarter more for those that searches with a filter follow (measured)
    graphs = load.vectors * of.HNSW_M * of.LINK_BYTES * of.FILTER_LINK_FACTOR
    sizes = [  # name, bytes, whether they are in RAM
        ("original vectors", original_vector_bytes(load, profile), not profile.originals_on_disk),
        ("quantized vectors", quantized_vector_bytes(load, profile), True),
        ("HNSW graphs", graphs, not profile.graph_on_disk),
        ("facets, indexed", facets, not profile.indexes_on_disk),
        ("look-ups, indexed", lookups, not profile.lookups_on_disk),
        ("words, stored", sparse_vector_bytes(load), False),
        ("words, indexed", words, not profile.indexes_on_disk),
        ("ids and versions", float(load.points * of.ID_TRACKER_BYTES), True),
    ]
    components = [StorageComponent(name, n, n if in_ram else 0.0) for name, n, in_ram in sizes]
    payload_ram = 0.0 if profile.payload_on_disk else payload * of.PAYLOAD_RAM_FACTOR
    return [*components, StorageComponent("payload", payload, payload_ram)]


def original_vector_bytes(load: CollectionLoad, profile: Profile) -> float:
    """Return slots x dim x bytes per value (DOCS: dense_size)."""
    return float(load.slots * load.dim * BYTES_PER_VALUE[profile.datatype])


def quantized_vector_bytes(load: CollectionLoad, profile: Profile) -> float:
    """Return slots x (dim x bits / 8 + 8) (DOCS: quantized_size; the 8 is measured)."""
    if profile.bits is None:
        return 0.0
    return load.slots * (load.dim * BITS_PER_VALUE[profile.bits] / 8 + of.QUANTIZED_EXTRA_BYTES)


def payload_index_bytes(load: CollectionLoad, field_bytes: int) -> float:
    """Return the bytes of the indexes of fields with `field_bytes` per point."""
    return load.points * field_bytes * of.PAYLOAD_INDEX_FACTOR


def sparse_vector_bytes(load: CollectionLoad) -> float:
    """Return the bytes of the sparse vectors themselves: an index and a weight per word."""
    return load.points * of.SPARSE_VECTOR_BYTES + load.words * of.SPARSE_WORD_BYTES


def sum_components(components: Sequence[StorageComponent], replicas: int) -> tuple[float, float]:
    """Return (RAM, disk) in bytes of the whole cluster: every copy, and a fifth of headroom."""
    factor = replicas * of.HEADROOM_FACTOR
    ram, disk = sum(part.ram for part in components), sum(part.disk for part in components)
    return ram * factor, disk * factor


def size_embedded_store(load: CollectionLoad) -> EmbeddedStoreSize:
    """Size the embedded store: files on the local disk, searched in full."""
    vector_bytes = load.slots * load.dim * of.EMBEDDED_BYTES_PER_VALUE
    index_bytes = sparse_vector_bytes(load) + payload_index_bytes(load, of.INDEXED_BYTES)
    return EmbeddedStoreSize(
        disk=vector_bytes + load.payload + index_bytes + of.EMBEDDED_WAL_BYTES,
        ram=float(vector_bytes + index_bytes),
        search_ms=estimate_search_ms(load.points * load.dim),
        limit=max_points(load.dim),
        fits=load.points <= max_points(load.dim),
    )


def estimate_search_ms(values: float) -> float:
    """Return the ms of a scan over points x dim values: a line through the two measurements."""
    base_ms, slope = _fit_search_time()
    return max(0.0, base_ms + (values - of.SEARCH_MEASUREMENTS[0][0]) * slope)


def max_points(dim: int) -> int:
    """Return the points of this dim up to which a search stays comfortable."""
    base_ms, slope = _fit_search_time()
    return int((of.SEARCH_MEASUREMENTS[0][0] + (of.COMFORTABLE_SEARCH_MS - base_ms) / slope) / dim)


def _fit_search_time() -> tuple[float, float]:
    (fewer, fast), (more, slow) = of.SEARCH_MEASUREMENTS
    return fast, (slow - fast) / (more - fewer)
