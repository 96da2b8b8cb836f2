"""Bytes of a collection on a Qdrant server, structure by structure, in RAM and on disk.

The formulas are those of https://qdrant.tech/documentation/capacity-planning/, with what Qdrant's
own engine was seen to write where that differs (figures.py). The profiles are those that
collections are made with (stores/layout.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.planning import figures as of
from indexer.schema import schema
from indexer.stores.layout import Profile

NUMBER = {"float32": 4, "float16": 2}  # bytes, by datatype
BITS = {"bits4": 4.0, "bits2": 2.0, "bits1_5": 1.5, "bits1": 1.0}
ALWAYS, NEVER = True, False


@dataclass(frozen=True, slots=True)
class Load:
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
        return self.points * len(schema(self.dim).dense)

    @property
    def payload(self) -> float:
        """Bytes of JSON in all."""
        captions = self.images * self.captions * of.CAPTION
        return self.images * of.PAYLOAD + captions + self.texts * of.PASSAGE

    @property
    def words(self) -> float:
        """Words in all sparse vectors."""
        spoken = of.WORDS + of.CAPTION_WORDS * self.captions
        return self.images * spoken + self.texts * of.PASSAGE_WORDS


@dataclass(frozen=True, slots=True)
class Piece:
    """One structure of one copy of the collection, in bytes."""

    name: str
    disk: float
    ram: float


def pieces(load: Load, profile: Profile, links: int = of.LINKS) -> list[Piece]:
    """What one copy of the collection consists of, without headroom; `links` is HNSW's m."""
    payload = load.payload * of.PAYLOAD_STORE
    disk_and_ram = [
        ("original vectors", *originals(load, profile)),
        ("quantised vectors", quantised(load, profile), ALWAYS),
        ("HNSW graphs", graphs(load, links), not profile.graph_on_disk),
        ("facets, indexed", facets(load), not profile.indexes_on_disk),
        ("look-ups, indexed", lookups(load), not profile.lookups_on_disk),
        ("words, stored", words_stored(load), NEVER),
        ("words, indexed", load.words * of.WORD_INDEXED, not profile.indexes_on_disk),
        ("ids and versions", float(load.points * of.ID_TRACKER), ALWAYS),
    ]
    rest = [Piece(name, size, size if in_ram else 0.0) for name, size, in_ram in disk_and_ram]
    kept = 0.0 if profile.payload_on_disk else payload * of.PAYLOAD_IN_RAM
    return [*rest, Piece("payload", payload, kept)]


def originals(load: Load, profile: Profile) -> tuple[float, bool]:
    """Bytes = slots x dim x bytes a number (DOCS: dense_size), and whether they are in RAM."""
    size = float(load.slots * load.dim * NUMBER[profile.datatype])
    return size, not profile.originals_on_disk


def quantised(load: Load, profile: Profile) -> float:
    """Bytes = slots x (dim x bits / 8 + 8) (DOCS: quantized_size; the 8 are measured)."""
    if profile.bits is None:
        return 0.0
    return load.slots * (load.dim * BITS[profile.bits] / 8 + of.QUANTISED_EXTRA)


def graphs(load: Load, links: int = of.LINKS) -> float:
    """Bytes = vectors x 2 m x 4 x 1.2 (DOCS: hnsw_size), and a quarter more for the links that
    searches with a filter follow (measured)."""
    return load.vectors * links * of.LINK_BYTES * of.FILTER_LINKS


def facets(load: Load) -> float:
    """Bytes of the indexes of what searches are narrowed by."""
    return load.points * (of.INDEXED - of.LOOKED_UP) * of.PAYLOAD_INDEX


def lookups(load: Load) -> float:
    """Bytes of the indexes of what single files are looked up by."""
    return load.points * of.LOOKED_UP * of.PAYLOAD_INDEX


def words_stored(load: Load) -> float:
    """Bytes of the sparse vectors themselves: a number and a weight a word, in blocks."""
    return load.points * of.WORDS_STORED + load.words * of.WORD_STORED


def totals(parts: Sequence[Piece], replicas: int) -> tuple[float, float]:
    """(RAM, disk) in bytes of the whole cluster: every copy, and a fifth of headroom."""
    times = replicas * of.HEADROOM
    return sum(part.ram for part in parts) * times, sum(part.disk for part in parts) * times
