"""Collections on a Qdrant server: aliases name the active index of each collection.

The points of an index are in a server collection of their own, `NAME@STAMP` (the first one is
`NAME@first`), whose metadata holds the model card. The alias `NAME` points to the active index,
`NAME@old` to the previous one, and `NAME@new` to the one that is being built; a switch changes all
three in one request. The catalog and the thumbnails are kept on this machine and can be rebuilt.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from embedder.files import make_private_dir
from embedder.redaction import redact_secrets
from embedder.types import ModelCard
from indexer.collections.backend import (
    TIMESTAMP_FORMAT,
    CollectionIndex,
    CollectionIndexes,
    Meta,
    ServerCollection,
    current_time,
    make_index_name,
    missing_error,
    no_old_index_error,
    parse_card,
)
from indexer.collections.schema import FORMAT, LATEST_TEXTS, TextIndexing, make_schema
from indexer.config import Config, server_dir
from indexer.errors import CollectionError
from indexer.stores.base import Layout, Store
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.errors import get_status

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

log = logging.getLogger(__name__)
T = TypeVar("T")
METADATA_KEY = "polylens"  # the key of our metadata
OLD, NEW = "@old", "@new"
FIRST = "first"
"""The stamp of a collection's first index: the server creates it only once, so that two machines
that ingest into a new collection at the same time share it."""
STAMP_PATTERN = re.compile(rf"{FIRST}|\d{{8}}-\d{{6}}-[0-9a-f]+")
ORPHAN_AGE = timedelta(days=1)  # a newer collection without an alias may still be in creation


@dataclass(frozen=True, slots=True)
class QdrantBackend:
    """The collections of the server at `connection`; `local_root` holds their local state."""

    connection: Connection
    local_root: Path
    is_shared: ClassVar[bool] = True

    @classmethod
    def from_config(cls, config: Config) -> QdrantBackend:
        """Use the read API key if there is no other, and none that is for another server."""
        has_key = config.qdrant_api_key or config.qdrant_read_api_key
        connection = Connection(
            config.store,
            config.store_api_key,
            config.qdrant_grpc_port,
            config.qdrant_ca,
            config.qdrant_timeout,
            config.qdrant_retry_seconds,
            config.upload_concurrency,
            is_key_withheld=bool(has_key and not config.store_api_key),
        )
        _rename_local_root(config)
        return cls(connection, config.local_folder)

    @property
    def location(self) -> str:
        return self.connection.url

    @property
    def upload_concurrency(self) -> int:
        return self.connection.upload_concurrency

    def list_names(self) -> list[str]:
        names = set(_list_names(self._read(_list_aliases)))
        found = self._read(lambda client: client.get_collections().collections)
        others = {one.name.partition("@")[0] for one in found if "@" in one.name} - names
        return sorted(names | {name for name in others if self.exists(name)})

    def exists(self, name: str) -> bool:
        return self._find_indexes(name) is not None

    def find(self, name: str, *, repair: bool = False) -> CollectionIndex | None:
        """Resolve the alias in one request: the metadata has the server collection's name."""
        info = self._read(lambda client: _find_info(client, name))
        if info is None:
            if not self._list_keys(name):
                return None
            indexes = self._repair(name) if repair else self._find_indexes(name)
            return indexes.in_use if indexes else None
        server = self._parse_metadata(name, info)
        key = server.metadata.get("key")
        if server.metadata.get("name") != name or not key:  # made by an earlier version, or copied
            key = self._read(_list_aliases)[name]
        return self._make_index(name, key, server)

    def local_dir(self, name: str) -> Path:
        return self.local_root / name

    def get_indexes(self, name: str) -> CollectionIndexes:
        indexes = self._find_indexes(name)
        if indexes is None:
            aliases = self._read(_list_aliases)
            if name + NEW in aliases:
                raise CollectionError(
                    f"collection {name!r} is not complete: a reindex, migrate or restore into it "
                    "was interrupted; run that command again, or delete what it has written: "
                    f"indexer reindex --forget --collection {name}"
                )
            where = f"on {redact_secrets(self.connection.url)}"
            raise missing_error(name, where, _list_names(aliases))
        return indexes

    def get_build(self, name: str) -> CollectionIndex | None:
        key = self._read(_list_aliases).get(name + NEW)
        return self._find_index(name, key) if key else None

    def count_points(self, index: CollectionIndex) -> int | None:
        return self._read(lambda client: int(client.count(index.key, exact=True).count))

    def get_layout(self, index: CollectionIndex) -> Layout:
        server = index.server_collection
        if server is None or server.info is None:
            server = self._describe(index.key)
        assert server.info
        profile, params = str(server.metadata.get("profile", "small")), server.info.config.params
        return Layout(
            profile,
            params.shard_number,
            params.replication_factor,
            params.write_consistency_factor,
        )

    def set_write_consistency(self, index: CollectionIndex, copies: int) -> None:
        from qdrant_client import models

        change = models.CollectionParamsDiff(write_consistency_factor=copies)
        self._call(lambda client: client.update_collection(index.key, collection_params=change))

    def find_lost_nodes(self) -> str:
        from indexer.stores.qdrant.server import get_server

        return get_server(self.connection).find_lost_nodes()

    def _find_indexes(self, name: str) -> CollectionIndexes | None:
        """Find the indexes that the aliases name, or what is left of them.

        Without the alias of the active index (an earlier version's switch that failed half way,
        another program) the old index is the active one, or else the last one that was completed.
        """
        aliases = self._read(_list_aliases)
        keys = [aliases.get(name + which) for which in ("", OLD, NEW)]
        found = {key: self._find_index(name, key) for key in dict.fromkeys(keys) if key}
        active, old, new = (found[key] if key else None for key in keys)
        if active is None:
            active = old or self._find_completed(name, set(aliases.values()))
            if active is None:
                return None
            log.warning(
                "collection %r has lost its alias on the server: its index of %s is used; the next "
                "indexer ingest restores the alias",
                name,
                active.card.name,
            )
        return CollectionIndexes(
            active,
            old if old != active else None,
            new if new not in (active, old) else None,
        )

    def _find_completed(self, name: str, named: Collection[str]) -> CollectionIndex | None:
        """The last completed index of the collection that has no alias."""
        keys = [key for key in self._list_keys(name) if key not in named]
        indexes = [index for key in keys if (index := self._find_index(name, key))]
        completed = [index for index in indexes if index.ingested]
        return max(completed, key=lambda index: str(index.ingested), default=None)

    def _repair(self, name: str) -> CollectionIndexes | None:
        """Make the aliases name the indexes that were found; changes nothing if they do."""
        indexes = self._find_indexes(name)
        if indexes is not None:
            old, new = indexes.old, indexes.building
            self._set_aliases(
                {
                    name: indexes.in_use.key,
                    name + OLD: old.key if old else None,
                    name + NEW: new.key if new else None,
                }
            )
        return indexes

    def create(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
        index = self._create_index(name, FIRST, card, layout, texts)
        if index.server_collection and index.server_collection.info:  # another process was faster
            found = self.find(name)
            if found is not None:
                return found
        self._call(
            lambda client: client.update_collection_aliases([_create_alias(name, index.key)])
        )
        return index

    def start_build(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
        index = self._create_index(name, make_index_name(), card, layout, texts)
        self._set_aliases({name + NEW: index.key})
        return index

    def _create_index(
        self, name: str, stamp: str, card: ModelCard, layout: Layout, texts: TextIndexing
    ) -> CollectionIndex:
        """Create the server collection, or return the existing one of that stamp."""
        from indexer.stores.qdrant.schema import create_collection
        from indexer.stores.qdrant.server import get_server

        key = f"{name}@{stamp}"
        meta = {
            "name": name,
            "key": key,
            "created": current_time(),
            "card": asdict(card),
            "profile": layout.profile,
            "format": FORMAT,
            **texts.to_meta(),
        }
        schema = make_schema(card.dim, names=texts.names)
        is_new = create_collection(
            get_server(self.connection), key, schema, layout, {METADATA_KEY: meta}
        )
        return self._make_index(name, key, ServerCollection(None, meta) if is_new else None)

    def switch(self, name: str, index: CollectionIndex) -> None:
        indexes = self._repair(name)
        before = indexes.in_use if indexes else None
        if before is None:
            self._set_aliases({name: index.key, name + NEW: None})
        elif before.key != index.key:  # else a retry after a lost response
            self._set_aliases({name: index.key, name + OLD: before.key, name + NEW: None})
            if indexes and indexes.old:
                self._delete_collection(indexes.old.key)
        self.collect_garbage(name)

    def rollback(self, name: str) -> ModelCard:
        indexes = self._repair(name)
        if indexes is None:
            indexes = self.get_indexes(name)  # raises
        if indexes.old is None:
            raise no_old_index_error(name)
        self._set_aliases({name: indexes.old.key, name + OLD: indexes.in_use.key})
        return indexes.old.card

    def delete_inactive(self, name: str) -> list[ModelCard]:
        indexes = self._repair(name)  # else the old index might be the only one
        found = (indexes.old, indexes.building) if indexes else (self.get_build(name),)
        inactive = [index for index in found if index]
        self._set_aliases({name + OLD: None, name + NEW: None})
        for index in inactive:
            self._delete_collection(index.key)
        self.collect_garbage(name)
        return [index.card for index in inactive]

    def collect_garbage(self, name: str) -> None:
        indexes = self._repair(name)
        if indexes is None:
            return
        found = [i for i in (indexes.in_use, indexes.old, indexes.building) if i]
        named = self._read(_list_aliases).values()
        for key in self._list_keys(name):
            if key not in named and (key == f"{name}@{FIRST}" or _get_age(key) > ORPHAN_AGE):
                self._delete_collection(key)
        folders = {index.folder for index in found}
        for folder in set((self.local_dir(name) / "indexes").glob("*")) - folders:
            shutil.rmtree(folder, ignore_errors=True)

    def set_texts(self, name: str, index: CollectionIndex, texts: TextIndexing) -> None:
        self._update_metadata(index, texts.to_meta())

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        self._update_metadata(index, {"ingested": current_time()})

    def _update_metadata(self, index: CollectionIndex, change: Meta) -> None:
        current = self._describe(index.key).metadata  # another machine may have changed it
        meta = {**current, "key": index.key, **change}
        meta["format"] = 2 if TextIndexing.from_meta(meta).is_first else FORMAT
        self._call(
            lambda client: client.update_collection(index.key, metadata={METADATA_KEY: meta})
        )

    def delete(self, name: str) -> None:
        aliases = self._read(_list_aliases)
        named = [key for which in (NEW, OLD, "") if (key := aliases.get(name + which))]
        # the active one comes last: until it is gone, with its alias, the command can be repeated
        for key in (*(set(self._list_keys(name)) - set(named)), *named):
            self._delete_collection(key)
        shutil.rmtree(self.local_dir(name), ignore_errors=True)

    def open(self, index: CollectionIndex, *, for_ingest: bool = False) -> Store:
        from indexer.stores.qdrant.server import get_server
        from indexer.stores.qdrant.store import QdrantStore

        server = index.server_collection or self._describe(index.key)
        layout = self.get_layout(index) if server.info else None
        store = QdrantStore(
            get_server(self.connection), index.key, layout, server.info, is_new=not server.info
        )
        store.ensure(index.schema)
        return store

    def _call(self, operation: Callable[[QdrantClient], T], *, is_read: bool = False) -> T:
        from indexer.stores.qdrant.server import get_server

        return get_server(self.connection).call(operation, is_read=is_read)

    def _read(self, operation: Callable[[QdrantClient], T]) -> T:
        return self._call(operation, is_read=True)

    def _list_keys(self, name: str) -> list[str]:
        """The server's collections that were created for this name, with an alias or without."""
        found = self._read(lambda client: client.get_collections().collections)
        stamps = {one.name: one.name.removeprefix(f"{name}@") for one in found}
        return [key for key, s in stamps.items() if s != key and STAMP_PATTERN.fullmatch(s)]

    def _find_index(self, name: str, key: str) -> CollectionIndex | None:
        """The index, or None if the server has lost it."""
        info = self._read(lambda client: _find_info(client, key))
        return self._make_index(name, key, self._parse_metadata(key, info)) if info else None

    def _make_index(
        self, name: str, key: str, server: ServerCollection | None = None
    ) -> CollectionIndex:
        server = server or self._describe(key)
        meta, stamp = server.metadata, key.partition("@")[2]
        if stamp == FIRST:  # not the folder of a deleted collection of this name
            stamp = re.sub(r"\D", "", meta["created"])
        folder = self.local_dir(name) / "indexes" / stamp
        return CollectionIndex(
            key,
            parse_card(meta),
            meta["created"],
            meta.get("ingested"),
            folder,
            server,
            TextIndexing.from_meta(meta),
        )

    def _describe(self, key: str) -> ServerCollection:
        return self._parse_metadata(key, self._read(lambda client: client.get_collection(key)))

    def _parse_metadata(self, key: str, info: models.CollectionInfo) -> ServerCollection:
        """Raises `CollectionError` if the server collection is not ours."""
        try:
            meta: Meta = dict((info.config.metadata or {})[METADATA_KEY])
            version = int(meta["format"])
            parse_card(meta)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CollectionError(
                f"{key!r} on {redact_secrets(self.connection.url)} does not say which model its "
                f"vectors are from ({error}): indexer ingest did not create it, or its metadata "
                "was overwritten"
            ) from None
        if version > FORMAT:
            raise CollectionError(
                f"{key!r} has format {version}, and this program reads up to {FORMAT}: "
                "update Polylens"
            )
        return ServerCollection(info, meta)

    def _set_aliases(self, wanted: dict[str, str | None]) -> None:
        """Point each alias at its collection (None: delete it), in one request.

        The server applies the changes one after the other, up to one that it refuses: so all are
        checked before. An alias that exists is replaced, and never missing in between.
        """
        from qdrant_client import models

        existing = self._read(_list_aliases)
        changed = {alias: key for alias, key in wanted.items() if existing.get(alias) != key}
        if not changed:
            return
        keys = self._read(lambda client: [one.name for one in client.get_collections().collections])
        lost = [key for key in changed.values() if key and key not in keys]
        if lost:
            raise CollectionError(
                f"{redact_secrets(self.connection.url)} has lost the collection {lost[0]!r}, which "
                "another program may have deleted; nothing was changed. Run the command again"
            )
        actions: list[models.AliasOperations] = [
            _create_alias(alias, key) for alias, key in changed.items() if key
        ]
        actions += [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            for alias, key in changed.items()
            if not key
        ]
        self._call(lambda client: client.update_collection_aliases(actions))

    def _delete_collection(self, key: str) -> None:
        self._call(lambda client: client.delete_collection(key))


def _rename_local_root(config: Config) -> None:
    """Move what 0.1.0 kept in a folder named after the whole URL, with its password."""
    old, new = server_dir(config.store), config.local_folder
    if old == new or not old.is_dir():
        return
    with suppress(OSError):  # another process does the same, or the disk is read-only
        make_private_dir(new)
        for folder in old.iterdir():
            names = (f"{folder.name}{'~' * number}" for number in count())
            folder.rename(next(new / name for name in names if not (new / name).exists()))
        old.rmdir()


def _list_aliases(client: QdrantClient) -> dict[str, str]:
    """Alias -> collection."""
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


def _list_names(aliases: dict[str, str]) -> list[str]:
    """The collections that have an active index, or an old one that takes its place."""
    names = {alias.removesuffix(OLD): key for alias, key in aliases.items()}
    return sorted(name for name, key in names.items() if key.startswith(f"{name}@"))


def _find_info(client: QdrantClient, name: str) -> models.CollectionInfo | None:
    try:
        return client.get_collection(name)
    except Exception as error:
        if get_status(error) == 404:
            return None
        raise


def _create_alias(alias: str, key: str) -> models.CreateAliasOperation:
    from qdrant_client import models

    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=key, alias_name=alias)
    )


def _get_age(key: str) -> timedelta:
    """The age of a server collection, from the time in its name; 0 if it has none."""
    stamp = key.partition("@")[2].rpartition("-")[0]
    try:
        return datetime.now(UTC) - datetime.strptime(stamp, TIMESTAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return timedelta(0)
