"""Qdrant's gRPC API of points, each call as a function of (state, request)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qdrant_points as points
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_messages import Call, given, shown, where
from qdrant_state import State

# -- writes of points


def result(number: int, wait: bool) -> Any:
    status = grpc.UpdateStatus.Completed if wait else grpc.UpdateStatus.Acknowledged
    return grpc.UpdateResult(operation_id=number, status=status)


def written(name: str, method: str, act: Callable[[State, Any], int]) -> Call:
    def do(state: State, request: Any) -> Any:
        return grpc.PointsOperationResponse(result=result(act(state, request), request.wait))

    return Call("Points", method, name, do, True)


def upsert(state: State, request: Any) -> int:
    return points.upsert(
        state,
        request.collection_name,
        models.PointsList(
            points=[GrpcToRest.convert_point_struct(point) for point in request.points],
            update_filter=where(request, "update_filter"),
            update_mode=given(request, "update_mode", GrpcToRest.convert_update_mode),
        ),
    )


def chosen(selector: Any) -> dict[str, Any]:
    """Points by their ids or a filter, as a payload's change names them."""
    return dict(GrpcToRest.convert_points_selector(selector))


def payload(request: Any) -> models.SetPayload:
    return models.SetPayload(
        payload=GrpcToRest.convert_payload(request.payload),
        key=given(request, "key"),
        **chosen(request.points_selector),
    )


def delete_payload(state: State, request: Any) -> int:
    told = models.DeletePayload(keys=list(request.keys), **chosen(request.points_selector))
    return points.delete_payload(state, request.collection_name, told)


def update_vectors(state: State, request: Any) -> int:
    told = models.UpdateVectors(
        points=[GrpcToRest.convert_point_vectors(point) for point in request.points],
        update_filter=where(request, "update_filter"),
    )
    return points.update_vectors(state, request.collection_name, told)


def delete_vectors(state: State, request: Any) -> int:
    told = models.DeleteVectors(
        vector=list(request.vectors.names), **chosen(request.points_selector)
    )
    return points.delete_vectors(state, request.collection_name, told)


def create_index(state: State, request: Any) -> int:
    schema = given(request, "field_index_params", GrpcToRest.convert_payload_schema_params)
    if schema is None and request.HasField("field_type"):
        kind = grpc.FieldType.Name(request.field_type).removeprefix("FieldType").lower()
        schema = models.PayloadSchemaType(kind)
    told = models.CreateFieldIndex(field_name=request.field_name, field_schema=schema)
    return state.create_index(request.collection_name, told)


def create_vector_name(state: State, request: Any) -> int:
    config = request.dense_config
    dense = models.DenseVectorConfig(
        size=config.size,
        distance=GrpcToRest.convert_distance(config.distance),
        datatype=given(request.dense_config, "datatype", GrpcToRest.convert_datatype),
    )
    wanted = models.DenseVectorNameConfig(dense=dense)
    return state.create_vector_name(request.collection_name, request.vector_name, wanted)


def batch(state: State, request: Any) -> Any:
    told = [GrpcToRest.convert_points_update_operation(one) for one in request.operations]
    numbers = points.batch(state, request.collection_name, told)
    return grpc.UpdateBatchResponse(result=[result(n, request.wait) for n in numbers])


WRITES = (
    written("upsert", "Upsert", upsert),
    written(
        "delete",
        "Delete",
        lambda s, r: points.delete(
            s, r.collection_name, GrpcToRest.convert_points_selector(r.points)
        ),
    ),
    written(
        "set_payload",
        "SetPayload",
        lambda s, r: points.set_payload(s, r.collection_name, payload(r)),
    ),
    written(
        "overwrite_payload",
        "OverwritePayload",
        lambda s, r: points.overwrite_payload(s, r.collection_name, payload(r)),
    ),
    written("delete_payload", "DeletePayload", delete_payload),
    written(
        "clear_payload",
        "ClearPayload",
        lambda s, r: points.clear_payload(
            s, r.collection_name, GrpcToRest.convert_points_selector(r.points)
        ),
    ),
    written("update_vectors", "UpdateVectors", update_vectors),
    written("delete_vectors", "DeleteVectors", delete_vectors),
    written("create_index", "CreateFieldIndex", create_index),
    written(
        "delete_index",
        "DeleteFieldIndex",
        lambda s, r: s.delete_index(r.collection_name, r.field_name),
    ),
    written("create_vector_name", "CreateVectorName", create_vector_name),
    written(
        "delete_vector_name",
        "DeleteVectorName",
        lambda s, r: s.delete_vector_name(r.collection_name, r.vector_name),
    ),
    Call("Points", "UpdateBatch", "batch", batch, True),
)

# -- reads of points


def retrieved(records: Sequence[models.Record]) -> list[Any]:
    """A message has no payload of None."""
    told = [one.model_copy(update={"payload": one.payload or {}}) for one in records]
    return [RestToGrpc.convert_retrieved_point(one) for one in told]


def retrieve(state: State, request: Any) -> Any:
    ids = [GrpcToRest.convert_point_id(one) for one in request.ids]
    found = points.retrieve(
        state, request.collection_name, models.PointRequest(ids=ids, **shown(request))
    )
    return grpc.GetResponse(result=retrieved(found))


def scroll(state: State, request: Any) -> Any:
    told = models.ScrollRequest(
        filter=where(request),
        offset=given(request, "offset", GrpcToRest.convert_point_id),
        limit=given(request, "limit"),
        order_by=given(request, "order_by", GrpcToRest.convert_order_by),
        **shown(request),
    )
    found = points.scroll(state, request.collection_name, told)
    after = found.next_page_offset
    return grpc.ScrollResponse(
        result=retrieved(found.points),
        next_page_offset=None if after is None else RestToGrpc.convert_extended_point_id(after),
    )


def count(state: State, request: Any) -> Any:
    told = models.CountRequest(filter=where(request), exact=given(request, "exact"))
    found = points.count(state, request.collection_name, told)
    return grpc.CountResponse(result=RestToGrpc.convert_count_result(found))


def facet(state: State, request: Any) -> Any:
    told = models.FacetRequest(
        key=request.key,
        filter=where(request),
        limit=given(request, "limit"),
        exact=given(request, "exact"),
    )
    found = points.facet(state, request.collection_name, told)
    return grpc.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])


def scored(points: Sequence[models.ScoredPoint]) -> list[Any]:
    return [RestToGrpc.convert_scored_point(point) for point in points]


def query(state: State, request: Any) -> Any:
    told = GrpcToRest.convert_query_points(request)
    return grpc.QueryResponse(
        result=scored(points.query(state, request.collection_name, told).points)
    )


def query_batch(state: State, request: Any) -> Any:
    told = [GrpcToRest.convert_query_points(one) for one in request.query_points]
    found = points.query_batch(state, request.collection_name, told)
    return grpc.QueryBatchResponse(
        result=[grpc.BatchResult(result=scored(answer.points)) for answer in found]
    )


def query_groups(state: State, request: Any) -> Any:
    told = models.QueryGroupsRequest(
        prefetch=[GrpcToRest.convert_prefetch_query(one) for one in request.prefetch] or None,
        query=given(request, "query", GrpcToRest.convert_query),
        using=given(request, "using"),
        filter=where(request),
        params=given(request, "params", GrpcToRest.convert_search_params),
        score_threshold=given(request, "score_threshold"),
        limit=given(request, "limit"),
        group_by=request.group_by,
        group_size=given(request, "group_size"),
        with_lookup=given(request, "with_lookup", GrpcToRest.convert_with_lookup),
        lookup_from=given(request, "lookup_from", GrpcToRest.convert_lookup_location),
        **shown(request),
    )
    found = points.query_groups(state, request.collection_name, told)
    return grpc.QueryGroupsResponse(result=RestToGrpc.convert_groups_result(found))


READS = (
    Call("Points", "Get", "retrieve", retrieve),
    Call("Points", "Scroll", "scroll", scroll),
    Call("Points", "Count", "count", count),
    Call("Points", "Facet", "facet", facet),
    Call("Points", "Query", "query", query),
    Call("Points", "QueryBatch", "query_batch", query_batch),
    Call("Points", "QueryGroups", "query_groups", query_groups),
)

CALLS = (*WRITES, *READS)
