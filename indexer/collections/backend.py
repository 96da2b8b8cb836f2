"""What a place does that keeps collections: which there are, and which of their indexes is in use.

An index is what one model made of the files. A collection has one in use, perhaps the old one that
it has replaced, and perhaps one that is being built. A switch is one step: whoever searches finds
the old index or the new one, whole.
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
    """One index: its points are in the store under `key`, its catalogue and errors in `folder`."""

    key: str  # a path within the collection's folder, or a collection's own name on a server
    card: ModelCard
    created: str
    ingested: str | None
    folder: Path  # on this machine
    found: ServerCollection | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ServerCollection:
    """What a server said of an index when it was resolved, so that nobody has to ask again."""

    info: models.CollectionInfo | None  # None: this process has just created it
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionIndexes:
    """The indexes of a collection."""

    in_use: CollectionIndex
    old: CollectionIndex | None = None
    building: CollectionIndex | None = None


class CollectionBackend(Protocol):
    """The collections of one store. Every method raises `IndexerError` in words for the user."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines reach the store: their disk, not ours, holds the points."""
        ...

    @property
    def location(self) -> str:
        """The store, always written in the same way."""
        ...

    @property
    def upload_concurrency(self) -> int:
        """The number of uploads that may run at a time."""
        ...

    def list_names(self) -> list[str]:
        """The collections there are, sorted."""
        ...

    def exists(self, name: str) -> bool: ...

    def find(self, name: str) -> CollectionIndex | None:
        """The active index, or None where there is no such collection; one request to a server.

        Raises `CollectionError` where it is damaged.
        """
        ...

    def get_indexes(self, name: str) -> CollectionIndexes:
        """Raises `CollectionError` where there is no such collection, or it is damaged."""
        ...

    def local_dir(self, name: str) -> Path:
        """What is kept of the collection on this machine: thumbnails, votes, the writer's lock."""
        ...

    def get_layout(self, index: CollectionIndex) -> Layout:
        """How it is laid out."""
        ...

    def create(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        """A collection that is there, and empty."""
        ...

    def start_build(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        """A new index, empty and not in use; of a collection that need not be there yet."""
        ...

    def get_build(self, name: str) -> CollectionIndex | None:
        """The index that has been begun and is not in use, if there is one."""
        ...

    def count_points(self, index: CollectionIndex) -> int | None:
        """How many points it holds; None where only opening it can tell."""
        ...

    def switch(self, name: str, index: CollectionIndex) -> None:
        """Put `index`, which was begun, in use. The one in use so far is kept as the old one, and
        the one before that is deleted. The caller holds the collection for writing."""
        ...

    def rollback(self, name: str) -> ModelCard:
        """Put the old index in use again and keep the other; the card of what is in use now."""
        ...

    def delete_inactive(self, name: str) -> list[ModelCard]:
        """Delete the indexes that are not in use; the cards of those there were."""
        ...

    def collect_garbage(self, name: str) -> None:
        """Delete what belongs to no index, as a crash may leave it."""
        ...

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        """Record that an ingest has ended now."""
        ...

    def delete(self, name: str) -> None:
        """Delete the collection, all its indexes, and what is kept of it on this machine."""
        ...

    def open(self, index: CollectionIndex) -> Store:
        """The store of an index, ready: `ensure` has been called."""
        ...
