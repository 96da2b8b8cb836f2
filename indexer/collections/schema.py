"""The collection's schema: named vectors, payload keys and the format's version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indexer.stores.base import TENANT_KEY, Schema

FORMAT = 3
"""The newest readable format: 1 has one index, 2 may have several, 3 may have names, and words of
version 2 of `TextIndexing`."""

IMAGE, TEXT, NAME, BM25 = "image", "text", "name", "bm25"

TAKEN, ADDED = "taken", "added"
"""Payload keys: when an image was taken, and when a content came into the collection."""

KEYWORDS = ("kind", "format", "folder", "languages", "tags", "paths", "content", "name", "camera")
INTEGERS = ("year",)
DATETIMES = (TAKEN, ADDED)
FACETS = ("kind", "format", "folder", "year", "languages", "tags", "camera")


@dataclass(frozen=True, slots=True)
class TextIndexing:
    """What the points of an index have for searches by words; an ingest brings them up to date.

    Attributes:
        names: Whether an image whose file name has words has a `name` vector.
        version: 1: before there were names; 2: names, and `bm25` vectors with stems.
    """

    names: bool = True
    version: int = 2

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> TextIndexing:
        """Parse what an index's metadata says; nothing is version 1."""
        return cls(bool(meta.get("names", False)), int(meta.get("text_version", 1)))

    @property
    def is_first(self) -> bool:
        """Whether programs that know no names can use the index; a merge may set its version back
        while it has some."""
        return self.version == 1 and not self.names

    @property
    def is_outdated(self) -> bool:
        """Whether the next ingest brings the points up to date."""
        return self.version < LATEST_TEXTS.version

    def to_meta(self) -> dict[str, Any]:
        return {"names": self.names, "text_version": self.version}

    def update(self, names: bool | None) -> TextIndexing:
        """What an ingest makes of it: `names` of None keeps what there is, and adds names to an
        index of version 1."""
        if names is None:
            names = self.names or self.is_outdated
        return TextIndexing(names)


LATEST_TEXTS = TextIndexing()


def make_schema(dim: int, *, names: bool = True) -> Schema:
    """The schema of a collection with vectors of `dim`, and with those of names or without."""
    dense = (IMAGE, TEXT, NAME) if names else (IMAGE, TEXT)
    return Schema(
        dense=tuple((name, dim) for name in dense),
        sparse=(BM25,),
        keywords=KEYWORDS,
        integers=INTEGERS,
        tenant=TENANT_KEY,
        datetimes=DATETIMES,
    )
