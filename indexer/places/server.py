"""Collections on a Qdrant server: aliases say which of a collection's indexes is in use.

The points of an index are in a collection of their own, `NAME@STAMP`, whose metadata hold its card.
The alias `NAME` is the index in use, `NAME@old` the one before it, `NAME@new` the one that is being
built; a switch changes all three in one request. Whoever reaches the server sees all of it: what is
kept beside it on this machine (catalogue, thumbnails, votes) can be made anew.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from embedder.types import ModelCard
from indexer.errors import CollectionError
from indexer.meta import Meta, card_in, now
from indexer.places.protocol import Index, Indexes
from indexer.schema import FORMAT, schema
from indexer.stores.connection import Connection, Layout, masked
from indexer.stores.protocol import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

T = TypeVar("T")
OURS = "polylens"  # the key of our metadata
OLD, NEW = "@old", "@new"
STAMP = "%Y%m%d-%H%M%S"
ORPHAN = timedelta(days=1)  # a collection without an alias may be one that is being made


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """The collections of the server at `connection`; `state` is what is kept of them here."""

    connection: Connection
    state: Path

    def names(self) -> list[str]:
        aliases = self._call(_aliases)
        return sorted(name for name, key in aliases.items() if key.startswith(f"{name}@"))

    def exists(self, name: str) -> bool:
        return name in self._call(_aliases)

    def folder(self, name: str) -> Path:
        return self.state / name

    def indexes(self, name: str) -> Indexes:
        aliases = self._call(_aliases)
        if name not in aliases:
            raise CollectionError(self._missing(name, aliases))
        old, new = aliases.get(name + OLD), aliases.get(name + NEW)
        return Indexes(
            self._index(name, aliases[name]),
            self._index(name, old) if old else None,
            self._index(name, new) if new else None,
        )

    def building(self, name: str) -> Index | None:
        key = self._call(_aliases).get(name + NEW)
        return self._index(name, key) if key else None

    def points(self, index: Index) -> int | None:
        return self._call(lambda client: int(client.count(index.key, exact=True).count))

    def layout(self, index: Index) -> Layout:
        config = self._config(index.key)
        profile = str(self._told(index.key, config).get("profile", "small"))
        return Layout(profile, config.params.shard_number, config.params.replication_factor)

    def create(self, name: str, card: ModelCard, layout: Layout) -> Index:
        index = self.begin(name, card, layout)
        if not self.exists(name):
            self.switch(name, index)
        return self.indexes(name).in_use

    def begin(self, name: str, card: ModelCard, layout: Layout) -> Index:
        key = f"{name}@{datetime.now(UTC):{STAMP}}-{secrets.token_hex(2)}"
        self._store(key, layout).ensure(schema(card.dim))
        meta = {"name": name, "created": now(), "card": asdict(card), "profile": layout.profile}
        self._write(key, meta)
        self._alias({name + NEW: key})
        return self._index(name, key)

    def switch(self, name: str, index: Index) -> None:
        aliases = self._call(_aliases)
        before, older = aliases.get(name), aliases.get(name + OLD)
        same = before == index.key  # asked again, after an answer that was lost
        if not same:
            self._alias({name: index.key, name + OLD: before or older, name + NEW: None})
        if before and older and not same:
            self._drop(older)
        self.sweep(name)

    def rollback(self, name: str) -> ModelCard:
        found = self.indexes(name)
        if found.old is None:
            raise CollectionError(
                f"collection {name!r} has no old index: it has not been re-indexed, or "
                "indexer reindex --forget has deleted it"
            )
        self._alias({name: found.old.key, name + OLD: found.in_use.key})
        return found.old.card

    def forget(self, name: str) -> list[ModelCard]:
        keys = [self._call(_aliases).get(name + which) for which in (OLD, NEW)]
        gone = [self._index(name, key) for key in keys if key]
        self._alias({name + OLD: None, name + NEW: None})
        for index in gone:
            self._drop(index.key)
            shutil.rmtree(index.folder, ignore_errors=True)
        self.sweep(name)
        return [index.card for index in gone]

    def sweep(self, name: str) -> None:
        def collections(client: QdrantClient) -> list[str]:
            return [one.name for one in client.get_collections().collections]

        used = set(self._call(_aliases).values())
        mine = [key for key in self._call(collections) if key.startswith(f"{name}@")]
        for key in mine:
            if key not in used and _age(key) > ORPHAN:
                self._drop(key)
        for folder in (self.folder(name) / "indexes").glob("*"):
            if f"{name}@{folder.name}" not in {*used, *mine}:
                shutil.rmtree(folder, ignore_errors=True)

    def mark_ingested(self, name: str, index: Index) -> None:
        meta = self._told(index.key, self._config(index.key))
        self._write(index.key, {**meta, "ingested": now()})

    def delete(self, name: str) -> None:
        aliases = self._call(_aliases)
        ours = [alias for alias in (name, name + OLD, name + NEW) if alias in aliases]
        self._alias(dict.fromkeys(ours))
        for alias in ours:
            self._drop(aliases[alias])
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def open(self, index: Index) -> Store:
        store = self._store(index.key, self.layout(index))
        store.ensure(schema(index.card.dim))
        return store

    def _call(self, operation: Callable[[QdrantClient], T]) -> T:
        from indexer.stores.server import server_of

        return server_of(self.connection).call(operation)

    def _store(self, key: str, layout: Layout) -> Store:
        from indexer.stores import open_store

        return open_store(self.connection, key, layout=layout)

    def _index(self, name: str, key: str) -> Index:
        meta = self._told(key, self._config(key))
        folder = self.folder(name) / "indexes" / key.partition("@")[2]
        return Index(key, card_in(meta), meta["created"], meta.get("ingested"), folder)

    def _config(self, key: str) -> models.CollectionConfig:
        return self._call(lambda client: client.get_collection(key).config)

    def _told(self, key: str, config: models.CollectionConfig) -> Meta:
        """What an index says of itself; raises `CollectionError`."""
        try:
            meta: Meta = dict((config.metadata or {})[OURS])
            version = int(meta["format"])
            card_in(meta)
        except (KeyError, TypeError, ValueError) as error:
            raise CollectionError(
                f"{key!r} on {masked(self.connection.url)} does not say which model its vectors "
                f"are of ({error}): indexer ingest did not make it, or its metadata were "
                "overwritten"
            ) from None
        if version > FORMAT:
            raise CollectionError(
                f"{key!r} has format {version}, and this program reads up to {FORMAT}: update it "
                "(pip install --upgrade polylens)"
            )
        return meta

    def _write(self, key: str, meta: Meta) -> None:
        plain = {OURS: {**meta, "format": FORMAT}}
        self._call(lambda client: client.update_collection(key, metadata=plain))

    def _alias(self, wanted: dict[str, str | None]) -> None:
        """Point each alias at its collection (None: nowhere), all in one step."""

        def change(client: QdrantClient) -> None:
            there = _aliases(client)
            actions: list[models.AliasOperations] = [_without(a) for a in wanted if a in there]
            actions += [_with(alias, key) for alias, key in wanted.items() if key]
            if actions:
                client.update_collection_aliases(actions)

        self._call(change)

    def _drop(self, key: str) -> None:
        self._call(lambda client: client.delete_collection(key))

    def _missing(self, name: str, aliases: dict[str, str]) -> str:
        others = ", ".join(sorted(n for n, key in aliases.items() if key.startswith(f"{n}@")))
        return (
            f"there is no collection {name!r} on {masked(self.connection.url)}; "
            "type: indexer ingest FOLDER"
            + (f", or name one of these with --collection: {others}" if others else "")
        )


def _aliases(client: QdrantClient) -> dict[str, str]:
    """Alias -> the collection that it stands for."""
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


def _with(alias: str, key: str) -> models.CreateAliasOperation:
    from qdrant_client import models

    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=key, alias_name=alias)
    )


def _without(alias: str) -> models.DeleteAliasOperation:
    from qdrant_client import models

    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def _age(key: str) -> timedelta:
    """How long ago a collection was begun, as its name tells; never, where it does not."""
    stamp = key.partition("@")[2].rpartition("-")[0]
    try:
        return datetime.now(UTC) - datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return timedelta(0)
