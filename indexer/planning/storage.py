"""Bytes of a collection on a Qdrant server, structure by structure, in RAM and on disk.

The formulas are those of https://qdrant.tech/documentation/capacity-planning/, with what Qdrant's
own engine was seen to write where that differs (figures.py). The profiles are those that
collections are made with (stores/layout.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.collections.schema import make_schema
from indexer.planning import constants as of
from indexer.stores.qdrant.profiles import Profile

BYTES_PER_VALUE = {"float32": 4, "float16": 2}  # bytes, by datatype
BITS_PER_VALUE = {"bits4": 4.0, "bits2": 2.0, "bits1_5": 1.5, "bits1": 1.0}
IN_RAM, ON_DISK_ONLY = True, False


@dataclass(frozen=True, slots=True)
class CollectionLoad:
    """What is to be kept. `captions` is how many a picture has on average; `texts` are passages:
    a short text is one. A picture's captions make one vector together."""

    images: int
    texts: int
    captions: float
    dim: int

    @property
    def points(self) -> int:
        return self.images + self.texts

    @property
    def vectors(self) -> int:
        """Dense vectors that there are: of pictures, of their captions, of texts."""
        return self.images + round(self.images * min(self.captions, 1.0)) + self.texts

    @property
    def slots(self) -> int:
        """Dense vectors that take space: each name of the schema takes it in every point, whether
        the point has such a vector or not (measured: the engine writes zeros)."""
        return self.points * len(make_schema(self.dim).dense)

    @property
    def payload(self) -> float:
        """Bytes of JSON in all."""
        captions = self.images * self.captions * of.CAPTION_BYTES
        return self.images * of.PAYLOAD_BYTES + captions + self.texts * of.PASSAGE_BYTES

    @property
    def words(self) -> float:
        """Words in all sparse vectors."""
        spoken = of.IMAGE_WORDS + of.CAPTION_WORDS * self.captions
        return self.images * spoken + self.texts * of.PASSAGE_WORDS


@dataclass(frozen=True, slots=True)
class StorageComponent:
    """One structure of one copy of the collection, in bytes."""

    name: str
    disk: float
    ram: float


def list_components(
    load: CollectionLoad, profile: Profile, hnsw_m: int = of.HNSW_M
) -> list[StorageComponent]:
    """What one copy of the collection consists of, without headroom; `links` is HNSW's m."""
    payload = load.payload * of.PAYLOAD_STORE_FACTOR
    disk_and_ram = [
        ("original vectors", *original_vector_bytes(load, profile)),
        ("quantised vectors", quantized_vector_bytes(load, profile), IN_RAM),
        ("HNSW graphs", hnsw_graph_bytes(load, hnsw_m), not profile.graph_on_disk),
        ("facets, indexed", facet_index_bytes(load), not profile.indexes_on_disk),
        ("look-ups, indexed", lookup_index_bytes(load), not profile.lookups_on_disk),
        ("words, stored", sparse_vector_bytes(load), ON_DISK_ONLY),
        ("words, indexed", load.words * of.SPARSE_INDEX_WORD_BYTES, not profile.indexes_on_disk),
        ("ids and versions", float(load.points * of.ID_TRACKER_BYTES), IN_RAM),
    ]
    rest = [
        StorageComponent(name, size, size if in_ram else 0.0) for name, size, in_ram in disk_and_ram
    ]
    payload_ram = 0.0 if profile.payload_on_disk else payload * of.PAYLOAD_RAM_FACTOR
    return [*rest, StorageComponent("payload", payload, payload_ram)]


def original_vector_bytes(load: CollectionLoad, profile: Profile) -> tuple[float, bool]:
    """Bytes = slots x dim x bytes a number (DOCS: dense_size), and whether they are in RAM."""
    size = float(load.slots * load.dim * BYTES_PER_VALUE[profile.datatype])
    return size, not profile.originals_on_disk


def quantized_vector_bytes(load: CollectionLoad, profile: Profile) -> float:
    """Bytes = slots x (dim x bits / 8 + 8) (DOCS: quantized_size; the 8 are measured)."""
    if profile.bits is None:
        return 0.0
    return load.slots * (load.dim * BITS_PER_VALUE[profile.bits] / 8 + of.QUANTIZED_EXTRA_BYTES)


def hnsw_graph_bytes(load: CollectionLoad, hnsw_m: int = of.HNSW_M) -> float:
    """Bytes = vectors x 2 m x 4 x 1.2 (DOCS: hnsw_size), and a quarter more for the links that
    searches with a filter follow (measured)."""
    return load.vectors * hnsw_m * of.LINK_BYTES * of.FILTER_LINK_FACTOR


def facet_index_bytes(load: CollectionLoad) -> float:
    """Bytes of the indexes of what searches are narrowed by."""
    return load.points * (of.INDEXED_BYTES - of.LOOKUP_BYTES) * of.PAYLOAD_INDEX_FACTOR


def lookup_index_bytes(load: CollectionLoad) -> float:
    """Bytes of the indexes of what single files are looked up by."""
    return load.points * of.LOOKUP_BYTES * of.PAYLOAD_INDEX_FACTOR


def sparse_vector_bytes(load: CollectionLoad) -> float:
    """Bytes of the sparse vectors themselves: a number and a weight a word, in blocks."""
    return load.points * of.SPARSE_VECTOR_BYTES + load.words * of.SPARSE_WORD_BYTES


def sum_components(components: Sequence[StorageComponent], replicas: int) -> tuple[float, float]:
    """(RAM, disk) in bytes of the whole cluster: every copy, and a fifth of headroom."""
    factor = replicas * of.HEADROOM_FACTOR
    return sum(part.ram for part in components) * factor, sum(
        part.disk for part in components
    ) * factor
