"""Collections on a Qdrant server: aliases name the active index of each collection.

The points of an index are in a server collection of their own, `NAME@STAMP` (the first one is
`NAME@first`), whose metadata holds the model card. The alias `NAME` points to the active index,
`NAME@old` to the previous one, and `NAME@new` to the one that is being built; a switch changes all
three in one request. The catalog and the thumbnails are kept on this machine and can be rebuilt.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
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
from indexer.collections.schema import FORMAT, make_schema
from indexer.config import Config, server_dir
from indexer.errors import CollectionError
from indexer.stores.base import Layout, Store
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.errors import get_status

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

T = TypeVar("T")
METADATA_KEY = "polylens"  # the key of our metadata
OLD, NEW = "@old", "@new"
FIRST = "first"
"""The stamp of a collection's first index: the server creates it only once, so that two machines
that ingest into a new collection at the same time share it."""
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
        return _list_names(self._call(_list_aliases))

    def exists(self, name: str) -> bool:
        return name in self._call(_list_aliases)

    def find(self, name: str) -> CollectionIndex | None:
        """Resolve the alias in one request: the metadata has the server collection's name."""
        info = self._call(lambda client: _find_info(client, name), is_read=True)
        if info is None:
            return None
        server = self._parse_metadata(name, info)
        key = server.metadata.get("key")
        if server.metadata.get("name") != name or not key:  # made by an earlier version, or copied
            key = self._list_keys(name)[0]
        return self._make_index(name, key, server)

    def local_dir(self, name: str) -> Path:
        return self.local_root / name

    def get_indexes(self, name: str) -> CollectionIndexes:
        in_use, old, new = self._list_keys(name)
        return CollectionIndexes(
            self._make_index(name, in_use),
            self._make_index(name, old) if old else None,
            self._make_index(name, new) if new else None,
        )

    def get_build(self, name: str) -> CollectionIndex | None:
        key = self._call(_list_aliases).get(name + NEW)
        return self._make_index(name, key) if key else None

    def count_points(self, index: CollectionIndex) -> int | None:
        return self._call(lambda client: int(client.count(index.key, exact=True).count))

    def get_layout(self, index: CollectionIndex) -> Layout:
        server = index.server_collection
        if server is None or server.info is None:
            server = self._describe(index.key)
        assert server.info
        profile, params = str(server.metadata.get("profile", "small")), server.info.config.params
        return Layout(profile, params.shard_number, params.replication_factor)

    def create(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        index = self._create_index(name, FIRST, card, layout)
        if index.server_collection and index.server_collection.info:  # another process was faster
            found = self.find(name)
            if found is not None:
                return found
        self._call(
            lambda client: client.update_collection_aliases([_create_alias(name, index.key)])
        )
        return index

    def start_build(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        index = self._create_index(name, make_index_name(), card, layout)
        self._set_aliases({name + NEW: index.key})
        return index

    def _create_index(
        self, name: str, stamp: str, card: ModelCard, layout: Layout
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
        }
        is_new = create_collection(
            get_server(self.connection), key, make_schema(card.dim), layout, {METADATA_KEY: meta}
        )
        return self._make_index(name, key, ServerCollection(None, meta) if is_new else None)

    def switch(self, name: str, index: CollectionIndex) -> None:
        aliases = self._call(_list_aliases)
        before, older = aliases.get(name), aliases.get(name + OLD)
        same = before == index.key  # a retry after a lost response
        if not same:
            self._set_aliases({name: index.key, name + OLD: before or older, name + NEW: None})
        if before and older and not same:
            self._delete_collection(older)
        self.collect_garbage(name)

    def rollback(self, name: str) -> ModelCard:
        indexes = self.get_indexes(name)
        if indexes.old is None:
            raise no_old_index_error(name)
        self._set_aliases({name: indexes.old.key, name + OLD: indexes.in_use.key})
        return indexes.old.card

    def delete_inactive(self, name: str) -> list[ModelCard]:
        aliases = self._call(_list_aliases)
        inactive = self._make_indexes(name, (aliases.get(name + which) for which in (OLD, NEW)))
        self._set_aliases({name + OLD: None, name + NEW: None})
        for index in inactive:
            self._delete_collection(index.key)
        self.collect_garbage(name)
        return [index.card for index in inactive]

    def collect_garbage(self, name: str) -> None:
        def list_keys(client: QdrantClient) -> list[str]:
            return [one.name for one in client.get_collections().collections]

        aliases = self._call(_list_aliases)
        for key in self._call(list_keys):
            is_orphan = key.startswith(f"{name}@") and key not in aliases.values()
            is_replaced = key == f"{name}@{FIRST}" and name in aliases
            if is_orphan and (is_replaced or _get_age(key) > ORPHAN_AGE):
                self._delete_collection(key)
        used = self._make_indexes(name, (aliases.get(name + which) for which in ("", OLD, NEW)))
        for folder in set((self.local_dir(name) / "indexes").glob("*")) - {i.folder for i in used}:
            shutil.rmtree(folder, ignore_errors=True)

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        server = index.server_collection or self._describe(index.key)
        change = {"key": index.key, "ingested": current_time(), "format": FORMAT}
        metadata = {METADATA_KEY: {**server.metadata, **change}}
        self._call(lambda client: client.update_collection(index.key, metadata=metadata))

    def delete(self, name: str) -> None:
        aliases = self._call(_list_aliases)
        keys = {f"{name}@{FIRST}", *(aliases.get(name + which) for which in (OLD, NEW))}
        # the active one comes last: until it is gone, with its alias, the command can be repeated
        for key in (*(keys - {aliases.get(name)}), aliases.get(name)):
            if key:
                self._delete_collection(key)
        shutil.rmtree(self.local_dir(name), ignore_errors=True)

    def open(self, index: CollectionIndex) -> Store:
        from indexer.stores.qdrant.server import get_server
        from indexer.stores.qdrant.store import QdrantStore

        server = index.server_collection or self._describe(index.key)
        layout = self.get_layout(index) if server.info else None
        store = QdrantStore(
            get_server(self.connection), index.key, layout, server.info, is_new=not server.info
        )
        store.ensure(make_schema(index.card.dim))
        return store

    def _call(self, operation: Callable[[QdrantClient], T], *, is_read: bool = False) -> T:
        from indexer.stores.qdrant.server import get_server

        return get_server(self.connection).call(operation, is_read=is_read)

    def _list_keys(self, name: str) -> tuple[str, str | None, str | None]:
        """The keys of the active index, the old one, and the one that is being built."""
        aliases = self._call(_list_aliases)
        if name not in aliases:
            where = f"on {redact_secrets(self.connection.url)}"
            raise missing_error(name, where, _list_names(aliases))
        return aliases[name], aliases.get(name + OLD), aliases.get(name + NEW)

    def _make_indexes(self, name: str, keys: Iterable[str | None]) -> list[CollectionIndex]:
        return [self._make_index(name, key) for key in keys if key]

    def _make_index(
        self, name: str, key: str, server: ServerCollection | None = None
    ) -> CollectionIndex:
        server = server or self._describe(key)
        meta, stamp = server.metadata, key.partition("@")[2]
        if stamp == FIRST:  # not the folder of a deleted collection of this name
            stamp = re.sub(r"\D", "", meta["created"])
        folder = self.local_dir(name) / "indexes" / stamp
        return CollectionIndex(
            key, parse_card(meta), meta["created"], meta.get("ingested"), folder, server
        )

    def _describe(self, key: str) -> ServerCollection:
        return self._parse_metadata(key, self._call(lambda client: client.get_collection(key)))

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
        """Point each alias at its collection (None: delete it), atomically."""
        from qdrant_client import models

        def change(client: QdrantClient) -> None:
            existing = _list_aliases(client)
            actions: list[models.AliasOperations] = [
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
                for alias in wanted
                if alias in existing
            ]
            actions += [_create_alias(alias, key) for alias, key in wanted.items() if key]
            if actions:
                client.update_collection_aliases(actions)

        self._call(change)

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
    return sorted(name for name, key in aliases.items() if key.startswith(f"{name}@"))


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
