"""The interface of a backend: which collections exist, and which of their indexes is active.

An index holds the files as one model embedded them. A collection has an active index, and may have
the previous one and one that is being built. A switch is atomic: a search uses either the old index
or the complete new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from embedder.types import ModelCard
from indexer.collections.schema import LATEST_TEXTS, TextIndexing, make_schema
from indexer.errors import CollectionError
from indexer.stores.base import Layout, Schema, Store

if TYPE_CHECKING:
    from qdrant_client import models

Meta: TypeAlias = "dict[str, Any]"
"""What is stored of an index: format, created, card, ingested, and where it is."""

TIMESTAMP_FORMAT = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True)
class CollectionIndex:
    """One index: its points are in the store under `key`, its catalog and errors in `folder`."""

    key: str  # a path within the collection's folder, or the name of a collection on a server
    card: ModelCard
    created: str
    ingested: str | None
    folder: Path  # on this machine
    server_collection: ServerCollection | None = field(default=None, compare=False, repr=False)
    texts: TextIndexing = LATEST_TEXTS

    @property
    def names(self) -> bool:
        """Whether its points have `name` vectors."""
        return self.texts.names

    @property
    def schema(self) -> Schema:
        return make_schema(self.card.dim, names=self.names)


@dataclass(frozen=True, slots=True)
class ServerCollection:
    """What a server returned for an index when it was resolved; saves a second request."""

    info: models.CollectionInfo | None  # None: created by this process just now
    metadata: Meta


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

    def find(self, name: str, *, repair: bool = False) -> CollectionIndex | None:
        """The active index, or None if the collection does not exist; one request to a server.

        `repair`: if a server has lost the record of which index is active, restore it.

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

    def set_write_consistency(self, index: CollectionIndex, copies: int) -> None:
        """Change how many copies must take a write to the index, on a server."""
        ...

    def find_lost_nodes(self) -> str:
        """Say which nodes of a server's cluster do not answer; "" if all do."""
        ...

    def create(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
        """Create an empty collection; the caller holds its write lock.

        Returns the index of the existing one, perhaps of another model, if another process or
        machine has created it in the meantime.
        """
        ...

    def start_build(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
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

    def set_texts(self, name: str, index: CollectionIndex, texts: TextIndexing) -> None:
        """Record what the points of the index have for searches by words from now on."""
        ...

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        """Record the current time as the end of the last ingest."""
        ...

    def delete(self, name: str) -> None:
        """Delete the collection, all its indexes, and its local state."""
        ...

    def open(self, index: CollectionIndex, *, for_ingest: bool = False) -> Store:
        """Open the store of an index and call its `ensure`. One in a folder that is older than its
        counts opens only for an ingest, which reads again what it lacks."""
        ...


def parse_card(meta: Meta) -> ModelCard:
    """Parse the card of the model that made the index; raises as `ModelCard.from_json`."""
    return ModelCard.from_json(meta["card"])


def current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_index_name() -> str:
    """Names are never reused: a program that still has an old index open must not find another one
    in its place."""
    return f"{datetime.now(UTC):{TIMESTAMP_FORMAT}}-{secrets.token_hex(2)}"


def missing_error(name: str, where: str, existing: Iterable[str]) -> CollectionError:
    """`where` is the store, as in "in /home/ada/polylens"; `existing` are its collections."""
    others = ", ".join(sorted(existing))
    return CollectionError(
        f"there is no collection {name!r} {where}; type: indexer ingest FOLDER"
        + (f", or name one of these with --collection: {others}" if others else "")
    )


def no_old_index_error(name: str) -> CollectionError:
    return CollectionError(
        f"collection {name!r} has no old index: it has not been re-indexed, or "
        "indexer reindex --forget has deleted it"
    )
