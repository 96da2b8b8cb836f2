"""The collection's schema: named vectors, payload keys and the format's version."""

from __future__ import annotations

from indexer.stores.base import TENANT_KEY, Schema

FORMAT = 2
"""The newest readable format: 1 has one index, 2 may have several."""

IMAGE, TEXT, BM25 = "image", "text", "bm25"

KEYWORDS = ("kind", "format", "folder", "languages", "tags", "paths", "content", "name", "camera")
INTEGERS = ("year",)
FACETS = ("kind", "format", "folder", "year", "languages", "tags", "camera")


def make_schema(dim: int) -> Schema:
    """The schema of a collection with vectors of `dim`."""
    return Schema(((IMAGE, dim), (TEXT, dim)), (BM25,), KEYWORDS, INTEGERS, TENANT_KEY)
