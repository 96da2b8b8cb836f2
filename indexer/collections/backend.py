"""The interface of a backend: which collections exist, and which of their indexes is active.

An index holds the files as one model embedded them. A collection has an active index, and may have
the previous one and one that is being built. A switch is atomic: a search uses either the old index
or the complete new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from embedder.types import ModelCard
from indexer.stores.base import Store
from indexer.stores.qdrant.connection import Layout

if TYPE_CHECKING:
    from qdrant_client import models


@dataclass(frozen=True, slots=True)
class CollectionIndex:
    """One index: its points are in the store under `key`, its catalog and errors in `folder`."""

    key: str  # a path within the collection's folder, or the name of a collection on a server
    card: ModelCard
    created: str
    ingested: str | None
    folder: Path  # on this machine
    server_collection: ServerCollection | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ServerCollection:
    """What a server returned for an index when it was resolved; saves a second request."""

    info: models.CollectionInfo | None  # None: created by this process just now
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionIndexes:
    """The indexes of a collection."""

    in_use: CollectionIndex
    old: CollectionIndex | None = None
    building: CollectionIndex | None = None


class CollectionBackend(Protocol):
    """The collections of one store. Every method raises `IndexerError` with a message for users."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines can use the store, which is not on this machine's disk."""
        ...

    @property
    def location(self) -> str:
        """The normalized location of the store; equal for equal stores."""
        ...

    @property
    def upload_concurrency(self) -> int:
        """The maximum number of concurrent uploads."""
        ...

    def list_names(self) -> list[str]:
        """The names of all collections, sorted."""
        ...

    def exists(self, name: str) -> bool: ...

    def find(self, name: str) -> CollectionIndex | None:
        """The active index, or None if the collection does not exist; one request to a server.

        Raises `CollectionError` if it is damaged.
        """
        ...

    def get_indexes(self, name: str) -> CollectionIndexes:
        """Raises `CollectionError` if the collection does not exist or is damaged."""
        ...

    def local_dir(self, name: str) -> Path:
        """The collection's folder on this machine: thumbnails, votes, the write lock."""
        ...

    def get_layout(self, index: CollectionIndex) -> Layout:
        """The layout of the index on a server."""
        ...

    def create(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        """Create an empty collection."""
        ...

    def start_build(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        """Create an empty, inactive index; the collection need not exist yet."""
        ...

    def get_build(self, name: str) -> CollectionIndex | None:
        """The index that is being built, if any."""
        ...

    def count_points(self, index: CollectionIndex) -> int | None:
        """The number of points; None if the index must be opened to count them."""
        ...

    def switch(self, name: str, index: CollectionIndex) -> None:
        """Activate `index`, which was being built. The active one is kept as the old one, and the
        previous old one is deleted. The caller holds the write lock of the collection."""
        ...

    def rollback(self, name: str) -> ModelCard:
        """Activate the old index and keep the other; returns the card of the active one."""
        ...

    def delete_inactive(self, name: str) -> list[ModelCard]:
        """Delete the inactive indexes; returns their cards."""
        ...

    def collect_garbage(self, name: str) -> None:
        """Delete data that belongs to no index, for example after a crash."""
        ...

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        """Record the current time as the end of the last ingest."""
        ...

    def delete(self, name: str) -> None:
        """Delete the collection, all its indexes, and its local state."""
        ...

    def open(self, index: CollectionIndex) -> Store:
        """Open the store of an index and call its `ensure`."""
        ...
