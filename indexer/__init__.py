"""Index one's own images and texts into Qdrant, and search them.

The public API is what `__all__` names; docs/python.md shows how to use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import embedder  # noqa: F401  turns the telemetry of libraries off

if TYPE_CHECKING:
    from indexer.api import Collection
    from indexer.errors import (
        CollectionError,
        ConfigError,
        DiskFullError,
        IndexerError,
        QueryError,
        StoreBusyError,
        StoreError,
        StoreUnavailableError,
    )
    from indexer.search.query_syntax import parse_query
    from indexer.types import Hit, IngestProgress, IngestReport, Part, SearchResults, SkippedFile

__all__ = [
    "Collection",
    "CollectionError",
    "ConfigError",
    "DiskFullError",
    "Hit",
    "IndexerError",
    "IngestProgress",
    "IngestReport",
    "Part",
    "QueryError",
    "SearchResults",
    "SkippedFile",
    "StoreBusyError",
    "StoreError",
    "StoreUnavailableError",
    "parse_query",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the command line starts without them (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"Collection": "indexer.api", "parse_query": "indexer.search.query_syntax"}.get(name)
    if module is None:
        module = "indexer.errors" if name.endswith("Error") else "indexer.types"
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
