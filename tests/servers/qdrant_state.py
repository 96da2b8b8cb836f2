"""What the stand-in keeps: qdrant-client's local engine, and beside it what that one forgets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from qdrant_checks import check_counts, check_name, check_path, check_sizes
from qdrant_client import models
from qdrant_client.common.client_warnings import SEEN_MESSAGES
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.qdrant_local import QdrantLocal
from qdrant_cluster import Cluster
from qdrant_strict import Refused, check_limit

T = TypeVar("T", bound=BaseModel)
SEEN_MESSAGES.update(  # the engine need not say what it does not do
    (
        "create-local-payload-indexes",
        "delete-local-payload-indexes",
        "local_query_points_search_params_ignored",
        "large-local-collection",
    )
)
HNSW = models.HnswConfig(
    m=16, ef_construct=100, full_scan_threshold=10000, max_indexing_threads=0, on_disk=False
)
OPTIMIZERS = models.OptimizersConfig(
    deleted_threshold=0.2,
    vacuum_min_vector_number=1000,
    default_segment_number=0,
    indexing_threshold=10000,
    flush_interval_sec=5,
)
WAL = models.WalConfig(wal_capacity_mb=32, wal_segments_ahead=0, wal_retain_closed=1)


def merged(base: T, diff: BaseModel | None) -> T:
    """`base` with what `diff` sets."""
    told = diff.model_dump(exclude_none=True) if diff else {}
    return type(base).model_validate({**base.model_dump(), **told})


class State:
    """Collections and aliases, through REST's models. Raises `Refused`. Thread-safe."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self._local = QdrantLocal(":memory:")
            self._given: dict[str, models.CreateCollection] = {}  # by physical name
            self._indexes: dict[str, dict[str, models.PayloadIndexInfo]] = {}
            self._snapshots: dict[str, list[models.SnapshotDescription]] = {}
            self._operations = itertools.count(1)
            self.peers = Cluster()

    # -- collections

    def collections(self) -> models.CollectionsResponse:
        with self.lock:
            return self._local.get_collections()

    def exists(self, name: str) -> models.CollectionExistence:
        with self.lock:
            return models.CollectionExistence(exists=self._local.collection_exists(name))

    def create(self, name: str, given: models.CreateCollection) -> bool:
        check_name(name)
        check_counts(given)
        check_sizes(given.vectors)
        with self.engine() as local:
            if name in local.collections:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            if name in local.aliases:
                raise Refused(
                    400,
                    f"Wrong input: Can't create collection with name {name}. "
                    "Alias with the same name already exists",
                )
            local.create_collection(name, given.vectors, given.sparse_vectors, given.metadata)
            self._given[name], self._indexes[name] = given, {}
            return True

    def update(self, name: str, diff: models.UpdateCollection) -> bool:
        check_counts(diff.params)
        with self.engine(name) as local:
            local.update_collection(name, diff.sparse_vectors, diff.metadata, diff.vectors)
            given = self._given[self._physical(name)]
            told = diff.params.model_dump(exclude_none=True) if diff.params else {}
            told |= {
                key: merged(getattr(given, key) or type(part)(), part)
                for key in ("hnsw_config", "optimizers_config", "strict_mode_config")
                if (part := getattr(diff, key)) is not None
            }
            if diff.quantization_config is not None:
                off = isinstance(diff.quantization_config, models.Disabled)
                told["quantization_config"] = None if off else diff.quantization_config
            self._given[self._physical(name)] = given.model_copy(update=told)
            self._update_vectors(name, diff.vectors or {})
            return True

    def _update_vectors(self, name: str, diffs: dict[str, models.VectorParamsDiff]) -> None:
        kept = self.kept(name).config.vectors
        for vector, diff in diffs.items():
            params = kept[vector] if isinstance(kept, dict) else kept
            for key in diff.model_fields_set:
                value = getattr(diff, key)
                if key == "hnsw_config" and params.hnsw_config:
                    value = merged(params.hnsw_config, value)
                setattr(params, key, None if isinstance(value, models.Disabled) else value)

    def delete_collection(self, name: str) -> bool:
        """By its own name: an alias deletes nothing, and that is no error."""
        with self.engine() as local:
            self._given.pop(name, None)
            self._indexes.pop(name, None)
            self._snapshots.pop(name, None)
            return bool(local.delete_collection(name))

    def info(self, name: str) -> models.CollectionInfo:
        with self.engine(name) as local:
            found, given = local.get_collection(name), self._given[self._physical(name)]
            indexes = self._indexes[self._physical(name)]
            found.payload_schema = {
                key: index.model_copy(update={"points": self._having(name, key)})
                for key, index in indexes.items()
            }
            found.config = self._config(found.config, given)
            found.update_queue = models.UpdateQueueInfo(length=0)
            return found

    def _config(
        self, found: models.CollectionConfig, given: models.CreateCollection
    ) -> models.CollectionConfig:
        """As it was given, and the server's defaults for the rest."""
        extra = {key: getattr(given, key, None) for key in models.CollectionParams.model_fields}
        defaults = {
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        }
        params = {**defaults, **{k: v for k, v in extra.items() if v is not None}}
        params |= {"vectors": found.params.vectors, "sparse_vectors": found.params.sparse_vectors}
        strict = given.strict_mode_config
        return models.CollectionConfig(
            params=models.CollectionParams(**params),
            hnsw_config=merged(HNSW, given.hnsw_config),
            optimizer_config=merged(OPTIMIZERS, given.optimizers_config),
            wal_config=merged(WAL, given.wal_config),
            quantization_config=given.quantization_config,
            strict_mode_config=strict and models.StrictModeConfigOutput(**strict.model_dump()),
            metadata=found.metadata,
        )

    def _having(self, name: str, key: str) -> int:
        """Points that have the key; counted by hand, for information is asked for often."""
        kept = self.kept(name)
        if "." in key or "[" in key:
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return int(self._local.count(name, models.Filter(must_not=[empty])).count)
        living = zip(kept.payload, kept.deleted, strict=True)
        return sum(not gone and payload.get(key) not in (None, []) for payload, gone in living)

    def cluster(self, name: str) -> models.CollectionClusterInfo:
        with self.engine(name) as local:
            return self.peers.describe(self._given[self._physical(name)], local.count(name).count)

    # -- aliases

    def aliases(self, name: str | None = None) -> models.CollectionsAliasesResponse:
        with self.lock:
            if name is None:
                return self._local.get_aliases()
            return self._local.get_collection_aliases(name)

    def change_aliases(self, actions: Sequence[Any]) -> bool:
        """One after the other: what comes before one that is refused is done, as by the server,
        which wants a collection behind an alias, no other alias."""
        with self.engine() as local:
            for action in actions:
                self._check_alias(action)
                local.update_collection_aliases([action])
            return True

    def _check_alias(self, action: Any) -> None:
        collections, new = self._local.collections, None
        if isinstance(action, models.CreateAliasOperation):
            new, target = action.create_alias.alias_name, action.create_alias.collection_name
            if target not in collections:
                raise Refused(404, f"Not found: Collection `{target}` doesn't exist!")
        elif isinstance(action, models.RenameAliasOperation):
            new, old = action.rename_alias.new_alias_name, action.rename_alias.old_alias_name
            if old not in self._local.aliases:
                raise Refused(404, f"Not found: Alias {old} does not exists!")
        if new in collections:
            raise Refused(409, f"Wrong input: Collection `{new}` already exists!")

    # -- payload indexes

    def create_index(self, name: str, wanted: models.CreateFieldIndex) -> int:
        check_path(wanted.field_name)
        with self.engine(name) as local:
            schema = wanted.field_schema
            if schema is None:
                raise Refused(400, "Wrong input: field_schema is required")
            kind = schema if isinstance(schema, models.PayloadSchemaType) else schema.type
            params = None if isinstance(schema, models.PayloadSchemaType) else schema
            local.create_payload_index(name, wanted.field_name, schema)
            self._indexes[self._physical(name)][wanted.field_name] = models.PayloadIndexInfo(
                data_type=models.PayloadSchemaType(kind.value), params=params, points=0
            )
            return self.numbered()

    def delete_index(self, name: str, field: str) -> int:
        with self.engine(name) as local:
            local.delete_payload_index(name, field)
            self._indexes[self._physical(name)].pop(field, None)
            return self.numbered()

    def create_vector_name(
        self, name: str, vector: str, wanted: models.DenseVectorNameConfig
    ) -> int:
        with self.engine(name) as local:
            local.create_vector_name(name, vector, wanted)
            params = models.VectorParams(**wanted.dense.model_dump(exclude_none=True))
            self._set_vectors(name, {**self._vectors(name), vector: params})
            return self.numbered()

    def delete_vector_name(self, name: str, vector: str) -> int:
        with self.engine(name) as local:
            local.delete_vector_name(name, vector)
            kept = {key: params for key, params in self._vectors(name).items() if key != vector}
            self._set_vectors(name, kept)
            return self.numbered()

    def _vectors(self, name: str) -> dict[str, models.VectorParams]:
        vectors = self._given[self._physical(name)].vectors
        return dict(vectors) if isinstance(vectors, dict) else {}

    def _set_vectors(self, name: str, vectors: dict[str, models.VectorParams]) -> None:
        own = self._physical(name)
        self._given[own] = self._given[own].model_copy(update={"vectors": vectors})

    # -- snapshots

    def snapshot(self, name: str) -> models.SnapshotDescription:
        """Its name and date; the stand-in keeps no bytes."""
        with self.engine(name):
            made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            stem = f"{self._physical(name)}-1-{made.replace('T', '-').replace(':', '-')}"
            described = models.SnapshotDescription(
                name=f"{stem}.snapshot", creation_time=made, size=0, checksum="0" * 64
            )
            self._snapshots.setdefault(self._physical(name), []).append(described)
            return described

    def snapshots(self, name: str) -> list[models.SnapshotDescription]:
        with self.engine(name):
            return self._snapshots.get(self._physical(name), [])

    # -- for the points

    @contextmanager
    def engine(self, name: str | None = None) -> Iterator[QdrantLocal]:
        """The engine, alone with it; a mistake in the request becomes a `Refused`."""
        with self.lock:
            if name is not None and not self._local.collection_exists(name):
                raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
            try:
                yield self._local
            except (ValueError, KeyError, TypeError) as error:
                text = str(error).removeprefix("Wrong input: ")
                raise Refused(400, f"Wrong input: {text}") from error

    @contextmanager
    def writing(self, name: str) -> Iterator[QdrantLocal]:
        """The engine, for a change of points, which enough replicas must take."""
        with self.engine(name) as local:
            if refusal := self.peers.refusal(self._given[self._physical(name)]):
                raise refusal
            yield local

    def _physical(self, name: str) -> str:
        return str(self._local.aliases.get(name, name))

    def index(self, name: str) -> dict[str, models.PayloadIndexInfo]:
        return self._indexes[self._physical(name)]

    def strict(self, name: str) -> models.StrictModeConfig:
        strict = self._given[self._physical(name)].strict_mode_config
        return strict if strict and strict.enabled else models.StrictModeConfig()

    def kept(self, name: str) -> LocalCollection:
        return self._local.collections[self._physical(name)]

    def check_timeout(self, name: str, timeout: int | None) -> None:
        """A missing collection is refused by what is asked of it."""
        if self._physical(name) in self._given:
            check_limit(timeout, self.strict(name).max_timeout, "timeout")

    def numbered(self) -> int:
        """The number of the next write."""
        return next(self._operations)
