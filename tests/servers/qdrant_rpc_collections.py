"""Qdrant's gRPC API of collections and aliases, each call as a function of (state, request)."""

from __future__ import annotations

from typing import Any

from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_messages import Call, given, payload_of
from qdrant_operations import VERSION
from qdrant_state import State


def create(state: State, request: Any) -> Any:
    told = models.CreateCollection(
        vectors=given(request, "vectors_config", GrpcToRest.convert_vectors_config),
        sparse_vectors=given(
            request, "sparse_vectors_config", GrpcToRest.convert_sparse_vector_config
        ),
        shard_number=given(request, "shard_number"),
        sharding_method=given(request, "sharding_method", GrpcToRest.convert_sharding_method),
        replication_factor=given(request, "replication_factor"),
        write_consistency_factor=given(request, "write_consistency_factor"),
        on_disk_payload=given(request, "on_disk_payload"),
        payload=given(request, "payload", GrpcToRest.convert_payload_storage_params),
        id_tracker=given(request, "id_tracker", GrpcToRest.convert_id_tracker_params),
        hnsw_config=given(request, "hnsw_config", GrpcToRest.convert_hnsw_config_diff),
        wal_config=given(request, "wal_config", GrpcToRest.convert_wal_config_diff),
        optimizers_config=given(
            request, "optimizers_config", GrpcToRest.convert_optimizers_config_diff
        ),
        quantization_config=given(
            request, "quantization_config", GrpcToRest.convert_quantization_config
        ),
        strict_mode_config=given(
            request, "strict_mode_config", GrpcToRest.convert_strict_mode_config
        ),
        metadata=payload_of(request),
    )
    return done(state.create(request.collection_name, told))


def update(state: State, request: Any) -> Any:
    diff = GrpcToRest.convert_update_collection(request)
    return done(state.update(request.collection_name, diff))


def done(result: bool) -> Any:
    return grpc.CollectionOperationResponse(result=result)


def change_aliases(state: State, request: Any) -> Any:
    actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
    return done(state.change_aliases(actions))


def aliases(found: models.CollectionsAliasesResponse) -> Any:
    listed = [RestToGrpc.convert_alias_description(alias) for alias in found.aliases]
    return grpc.ListAliasesResponse(aliases=listed)


def collections(state: State, request: Any) -> Any:
    listed = state.collections().collections
    return grpc.ListCollectionsResponse(
        collections=[RestToGrpc.convert_collection_description(one) for one in listed]
    )


def info(state: State, request: Any) -> Any:
    found = RestToGrpc.convert_collection_info(state.info(request.collection_name))
    return grpc.GetCollectionInfoResponse(result=found)


def exists(state: State, request: Any) -> Any:
    found = state.exists(request.collection_name).exists
    return grpc.CollectionExistsResponse(result=grpc.CollectionExists(exists=found))


def cluster(state: State, request: Any) -> Any:
    return RestToGrpc.convert_collection_cluster_info(state.cluster(request.collection_name))


def health(state: State, request: Any) -> Any:
    return grpc.HealthCheckReply(title="qdrant - vector search engine", version=VERSION)


CALLS = (
    Call("Collections", "List", "collections", collections),
    Call("Collections", "Get", "info", info),
    Call("Collections", "CollectionExists", "exists", exists),
    Call("Collections", "CollectionClusterInfo", "cluster", cluster),
    Call("Collections", "Create", "create", create, True),
    Call("Collections", "Update", "update", update, True),
    Call(
        "Collections",
        "Delete",
        "drop",
        lambda s, r: done(s.delete_collection(r.collection_name)),
        True,
    ),
    Call("Collections", "UpdateAliases", "change_aliases", change_aliases, True),
    Call("Collections", "ListAliases", "aliases", lambda s, r: aliases(s.aliases())),
    Call(
        "Collections",
        "ListCollectionAliases",
        "aliases",
        lambda s, r: aliases(s.aliases(r.collection_name)),
    ),
    Call("Qdrant", "HealthCheck", "version", health),
)
