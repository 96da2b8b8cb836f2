"""The collection's schema: named vectors, payload keys and the format's version."""

from __future__ import annotations

from indexer.stores.protocol import Schema

FORMAT = 1
"""Raised when an older program could not read what this one writes."""

IMAGE, TEXT, BM25 = "image", "text", "bm25"

KEYWORDS = ("kind", "format", "folder", "languages", "tags", "paths", "content", "name", "camera")
INTEGERS = ("year",)
FACETS = ("kind", "format", "folder", "year", "languages", "tags", "camera")


def schema(dim: int) -> Schema:
    """The schema of a collection whose model gives vectors of `dim` numbers."""
    return Schema(((IMAGE, dim), (TEXT, dim)), (BM25,), KEYWORDS, INTEGERS)
