"""Collections on a Qdrant server: aliases name the active index of each collection.

The points of an index are in a server collection of their own, `NAME@STAMP`, whose metadata holds
the model card. The alias `NAME` points to the active index, `NAME@old` to the previous one, and
`NAME@new` to the one that is being built; a switch changes all three in one request. The catalog
and the thumbnails are kept on this machine and can be rebuilt.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from embedder.types import ModelCard
from indexer.collections.backend import CollectionIndex, CollectionIndexes, ServerCollection
from indexer.collections.metadata_file import Meta, current_time, parse_card
from indexer.collections.schema import FORMAT, make_schema
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores.base import Store
from indexer.stores.qdrant.connection import Connection, Layout, redact_password
from indexer.stores.qdrant.errors import get_grpc_code, get_status

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

T = TypeVar("T")
METADATA_KEY = "polylens"  # the key of our metadata
OLD, NEW = "@old", "@new"
TIMESTAMP_FORMAT = "%Y%m%d-%H%M%S"
ORPHAN_AGE = timedelta(days=1)  # a newer collection without an alias may still be in creation


@dataclass(frozen=True, slots=True)
class QdrantBackend:
    """The collections of the server at `connection`; `local_root` holds their local state."""

    connection: Connection
    local_root: Path
    is_shared: ClassVar[bool] = True

    @classmethod
    def from_config(cls, config: Config) -> QdrantBackend:
        """Use the read API key if there is no other."""
        connection = Connection(
            config.store,
            config.qdrant_api_key or config.qdrant_read_api_key,
            config.qdrant_grpc_port,
            config.qdrant_ca,
            config.qdrant_timeout,
            config.qdrant_retry_seconds,
            config.upload_concurrency,
        )
        return cls(connection, config.local_folder)

    @property
    def location(self) -> str:
        return self.connection.url

    @property
    def upload_concurrency(self) -> int:
        return self.connection.upload_concurrency

    def list_names(self) -> list[str]:
        aliases = self._call(_list_aliases)
        return sorted(name for name, key in aliases.items() if key.startswith(f"{name}@"))

    def exists(self, name: str) -> bool:
        return name in self._call(_list_aliases)

    def find(self, name: str) -> CollectionIndex | None:
        """Resolve the alias in one request: the metadata has the server collection's name."""
        info = self._call(lambda client: _find_info(client, name), is_read=True)
        if info is None:
            return None
        meta = self._read_metadata(name, info.config)
        key = meta.get("key")
        if meta.get("name") != name or not key:  # made by an earlier version, or copied
            aliases = self._call(_list_aliases)
            if name not in aliases:
                raise CollectionError(self._missing_message(name, aliases))
            key = aliases[name]
        return self._make_index(name, key, ServerCollection(info, meta))

    def local_dir(self, name: str) -> Path:
        return self.local_root / name

    def get_indexes(self, name: str) -> CollectionIndexes:
        aliases = self._call(_list_aliases)
        if name not in aliases:
            raise CollectionError(self._missing_message(name, aliases))
        old, new = aliases.get(name + OLD), aliases.get(name + NEW)
        return CollectionIndexes(
            self._make_index(name, aliases[name]),
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
            server = self._make_index("", index.key).server_collection
        assert server and server.info
        profile, params = str(server.metadata.get("profile", "small")), server.info.config.params
        return Layout(profile, params.shard_number, params.replication_factor)

    def create(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        index = self._create_index(name, card, layout)
        self._call(
            lambda client: client.update_collection_aliases([_create_alias(name, index.key)])
        )
        return index

    def start_build(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        index = self._create_index(name, card, layout)
        self._set_aliases({name + NEW: index.key})
        return index

    def _create_index(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        from indexer.stores.qdrant.schema import create_collection
        from indexer.stores.qdrant.server import get_server

        key = f"{name}@{datetime.now(UTC):{TIMESTAMP_FORMAT}}-{secrets.token_hex(2)}"
        meta = {
            "name": name,
            "key": key,
            "created": current_time(),
            "card": asdict(card),
            "profile": layout.profile,
            "format": FORMAT,
        }
        create_collection(
            get_server(self.connection), key, make_schema(card.dim), layout, {METADATA_KEY: meta}
        )
        return self._make_index(name, key, ServerCollection(None, meta))

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
            raise CollectionError(
                f"collection {name!r} has no old index: it has not been re-indexed, or "
                "indexer reindex --forget has deleted it"
            )
        self._set_aliases({name: indexes.old.key, name + OLD: indexes.in_use.key})
        return indexes.old.card

    def delete_inactive(self, name: str) -> list[ModelCard]:
        keys = [self._call(_list_aliases).get(name + which) for which in (OLD, NEW)]
        inactive = [self._make_index(name, key) for key in keys if key]
        self._set_aliases({name + OLD: None, name + NEW: None})
        for index in inactive:
            self._delete_collection(index.key)
            shutil.rmtree(index.folder, ignore_errors=True)
        self.collect_garbage(name)
        return [index.card for index in inactive]

    def collect_garbage(self, name: str) -> None:
        def collections(client: QdrantClient) -> list[str]:
            return [one.name for one in client.get_collections().collections]

        used = set(self._call(_list_aliases).values())
        own = [key for key in self._call(collections) if key.startswith(f"{name}@")]
        for key in own:
            if key not in used and _get_age(key) > ORPHAN_AGE:
                self._delete_collection(key)
        for folder in (self.local_dir(name) / "indexes").glob("*"):
            if f"{name}@{folder.name}" not in {*used, *own}:
                shutil.rmtree(folder, ignore_errors=True)

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        server = index.server_collection
        meta = server.metadata if server else self._read_metadata(index.key)
        change = {"key": index.key, "ingested": current_time()}
        self._write_metadata(index.key, {**meta, **change})

    def delete(self, name: str) -> None:
        aliases = self._call(_list_aliases)
        own = [alias for alias in (name, name + OLD, name + NEW) if alias in aliases]
        self._set_aliases(dict.fromkeys(own))
        for alias in own:
            self._delete_collection(aliases[alias])
        shutil.rmtree(self.local_dir(name), ignore_errors=True)

    def open(self, index: CollectionIndex) -> Store:
        from indexer.stores.qdrant.server import get_server
        from indexer.stores.qdrant.store import QdrantStore

        server = index.server_collection or self._make_index("", index.key).server_collection
        assert server is not None
        layout = self.get_layout(index) if server.info else None
        store = QdrantStore(
            get_server(self.connection), index.key, layout, server.info, is_new=not server.info
        )
        store.ensure(make_schema(index.card.dim))
        return store

    def _call(self, operation: Callable[[QdrantClient], T], *, is_read: bool = False) -> T:
        from indexer.stores.qdrant.server import get_server

        return get_server(self.connection).call(operation, is_read=is_read)

    def _make_index(
        self, name: str, key: str, server: ServerCollection | None = None
    ) -> CollectionIndex:
        if server is None:
            info = self._call(lambda client: client.get_collection(key))
            server = ServerCollection(info, self._read_metadata(key, info.config))
        meta = server.metadata
        folder = self.local_dir(name) / "indexes" / key.partition("@")[2]
        return CollectionIndex(
            key, parse_card(meta), meta["created"], meta.get("ingested"), folder, server
        )

    def _read_metadata(self, key: str, config: models.CollectionConfig | None = None) -> Meta:
        """Read the metadata of an index; raises `CollectionError` if it is not ours."""
        if config is None:
            config = self._call(lambda client: client.get_collection(key).config)
        try:
            meta: Meta = dict((config.metadata or {})[METADATA_KEY])
            version = int(meta["format"])
            parse_card(meta)
        except (KeyError, TypeError, ValueError) as error:
            raise CollectionError(
                f"{key!r} on {redact_password(self.connection.url)} does not say which model its "
                f"vectors are from ({error}): indexer ingest did not create it, or its metadata "
                "was overwritten"
            ) from None
        if version > FORMAT:
            raise CollectionError(
                f"{key!r} has format {version}, and this program reads up to {FORMAT}: update it "
                "(pip install --upgrade polylens)"
            )
        return meta

    def _write_metadata(self, key: str, meta: Meta) -> None:
        plain = {METADATA_KEY: {**meta, "format": FORMAT}}
        self._call(lambda client: client.update_collection(key, metadata=plain))

    def _set_aliases(self, wanted: dict[str, str | None]) -> None:
        """Point each alias at its collection (None: delete it), atomically."""

        def change(client: QdrantClient) -> None:
            existing = _list_aliases(client)
            actions: list[models.AliasOperations] = [
                _delete_alias(a) for a in wanted if a in existing
            ]
            actions += [_create_alias(alias, key) for alias, key in wanted.items() if key]
            if actions:
                client.update_collection_aliases(actions)

        self._call(change)

    def _delete_collection(self, key: str) -> None:
        self._call(lambda client: client.delete_collection(key))

    def _missing_message(self, name: str, aliases: dict[str, str]) -> str:
        others = ", ".join(sorted(n for n, key in aliases.items() if key.startswith(f"{n}@")))
        return (
            f"there is no collection {name!r} on {redact_password(self.connection.url)}; "
            "type: indexer ingest FOLDER"
            + (f", or name one of these with --collection: {others}" if others else "")
        )


def _list_aliases(client: QdrantClient) -> dict[str, str]:
    """Alias -> collection."""
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}


def _find_info(client: QdrantClient, name: str) -> models.CollectionInfo | None:
    try:
        return client.get_collection(name)
    except Exception as error:
        if get_status(error) == 404 or get_grpc_code(error) == "NOT_FOUND":
            return None
        raise


def _create_alias(alias: str, key: str) -> models.CreateAliasOperation:
    from qdrant_client import models

    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=key, alias_name=alias)
    )


def _delete_alias(alias: str) -> models.DeleteAliasOperation:
    from qdrant_client import models

    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def _get_age(key: str) -> timedelta:
    """The age of a server collection, from the time in its name; 0 if it has none."""
    stamp = key.partition("@")[2].rpartition("-")[0]
    try:
        return datetime.now(UTC) - datetime.strptime(stamp, TIMESTAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return timedelta(0)
