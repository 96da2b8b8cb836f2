"""What is asked of points: writes and reads of one collection, through REST's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.local.qdrant_local import QdrantLocal
from qdrant_state import State
from qdrant_strict import (
    Refused,
    check_exact,
    check_facet,
    check_filter,
    check_limit,
    check_order,
)

# -- writes


def upsert(
    state: State,
    name: str,
    points: list[models.PointStruct] | models.Batch,
    where: models.Filter | None = None,
    mode: models.UpdateMode | None = None,
) -> int:
    with state.engine(name) as local:
        count = len(points) if isinstance(points, list) else len(points.ids)
        check_limit(count, state.strict(name).upsert_max_batchsize, "upsert limit")
        local.upsert(name, points, update_filter=where, update_mode=mode)
        return state.numbered()


def delete(state: State, name: str, selector: Any) -> int:
    return _select(state, name, selector, lambda local: local.delete(name, selector))


def set_payload(state: State, name: str, told: models.SetPayload) -> int:
    chosen = chosen_by(told)
    return _select(
        state, name, chosen, lambda local: local.set_payload(name, told.payload, chosen, told.key)
    )


def overwrite_payload(state: State, name: str, told: models.SetPayload) -> int:
    chosen = chosen_by(told)
    return _select(
        state, name, chosen, lambda local: local.overwrite_payload(name, told.payload, chosen)
    )


def delete_payload(state: State, name: str, told: models.DeletePayload) -> int:
    chosen = chosen_by(told)
    return _select(state, name, chosen, lambda local: local.delete_payload(name, told.keys, chosen))


def clear_payload(state: State, name: str, selector: Any) -> int:
    return _select(state, name, selector, lambda local: local.clear_payload(name, selector))


def update_vectors(state: State, name: str, told: models.UpdateVectors) -> int:
    with state.engine(name) as local:
        check_limit(len(told.points), state.strict(name).upsert_max_batchsize, "update limit")
        local.update_vectors(name, told.points, update_filter=told.update_filter)
        return state.numbered()


def delete_vectors(state: State, name: str, told: models.DeleteVectors) -> int:
    chosen = chosen_by(told)
    return _select(
        state, name, chosen, lambda local: local.delete_vectors(name, told.vector, chosen)
    )


def batch(state: State, name: str, operations: Sequence[Any]) -> list[int]:
    with state.engine(name) as local:
        for operation in operations:
            _check_operation(state, name, operation)
        local.batch_update_points(name, operations)
        return [state.numbered() for _ in operations]


def _check_operation(state: State, name: str, operation: Any) -> None:
    told = next(iter(dict(operation).values()))
    if isinstance(told, models.PointsList):
        check_limit(len(told.points), state.strict(name).upsert_max_batchsize, "upsert limit")
    _check_update(state, name, getattr(told, "filter", None))


def _select(state: State, name: str, chosen: Any, act: Callable[[QdrantLocal], Any]) -> int:
    with state.engine(name) as local:
        _check_update(state, name, getattr(chosen, "filter", None))
        act(local)
        return state.numbered()


# -- reads


def retrieve(state: State, name: str, told: models.PointRequest) -> list[models.Record]:
    with state.engine(name) as local:
        payload = True if told.with_payload is None else told.with_payload
        return local.retrieve(name, told.ids, payload, told.with_vector or False)


def scroll(state: State, name: str, told: models.ScrollRequest) -> models.ScrollResult:
    with state.engine(name) as local:
        limit = 10 if told.limit is None else told.limit
        check_limit(limit, state.strict(name).max_query_limit, "limit")
        _check_read(state, name, told.filter)
        if told.order_by is not None:
            check_order(getattr(told.order_by, "key", told.order_by), state.index(name))
        points, after = local.scroll(
            name,
            told.filter,
            limit,
            told.order_by,
            told.offset,
            True if told.with_payload is None else told.with_payload,
            told.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=after)


def count(state: State, name: str, told: models.CountRequest) -> models.CountResult:
    with state.engine(name) as local:
        check_exact(told.exact in (None, True), state.strict(name).search_allow_exact)
        _check_read(state, name, told.filter)
        return local.count(name, told.filter)


def facet(state: State, name: str, told: models.FacetRequest) -> models.FacetResponse:
    with state.engine(name) as local:
        check_limit(told.limit, state.strict(name).max_query_limit, "limit")
        check_exact(told.exact, state.strict(name).search_allow_exact)
        _check_read(state, name, told.filter)
        check_facet(told.key, state.index(name))
        return local.facet(name, told.key, told.filter, told.limit or 10)


def query(state: State, name: str, told: models.QueryRequest) -> models.QueryResponse:
    with state.engine(name) as local:
        return _query(state, local, name, told)


def query_batch(
    state: State, name: str, told: Sequence[models.QueryRequest]
) -> list[models.QueryResponse]:
    with state.engine(name) as local:
        check_limit(len(told), state.strict(name).search_max_batchsize, "search batch size")
        return [_query(state, local, name, one) for one in told]


def _query(
    state: State, local: QdrantLocal, name: str, told: models.QueryRequest
) -> models.QueryResponse:
    _check_query(state, name, told)
    return local.query_points(
        name,
        query=resolved(told.query),
        prefetch=prefetches(told.prefetch),
        using=told.using,
        query_filter=told.filter,
        search_params=told.params,
        limit=10 if told.limit is None else told.limit,
        offset=told.offset,
        with_payload=told.with_payload or False,
        with_vectors=told.with_vector or False,
        score_threshold=told.score_threshold,
        lookup_from=told.lookup_from,
    )


def query_groups(state: State, name: str, told: models.QueryGroupsRequest) -> models.GroupsResult:
    with state.engine(name) as local:
        _check_query(state, name, told)
        return local.query_points_groups(
            name,
            told.group_by,
            query=resolved(told.query),
            prefetch=prefetches(told.prefetch),
            using=told.using,
            query_filter=told.filter,
            search_params=told.params,
            limit=told.limit or 10,
            group_size=told.group_size or 3,
            with_payload=told.with_payload or False,
            with_vectors=told.with_vector or False,
            score_threshold=told.score_threshold,
            with_lookup=told.with_lookup,
            lookup_from=told.lookup_from,
        )


def _check_read(state: State, name: str, where: models.Filter | None) -> None:
    if state.strict(name).unindexed_filtering_retrieve is False:
        check_filter(where, state.index(name))


def _check_update(state: State, name: str, where: models.Filter | None) -> None:
    if state.strict(name).unindexed_filtering_update is False:
        check_filter(where, state.index(name))


def _check_query(state: State, name: str, told: Any) -> None:
    """A query, and each of its prefetches in turn."""
    strict, query = state.strict(name), told.query
    check_limit(10 if told.limit is None else told.limit, strict.max_query_limit, "limit")
    _check_read(state, name, told.filter)
    if told.params:
        check_exact(told.params.exact, strict.search_allow_exact)
        check_limit(told.params.hnsw_ef, strict.search_max_hnsw_ef, "hnsw_ef")
        oversampling = getattr(told.params.quantization, "oversampling", None)
        check_limit(oversampling, strict.search_max_oversampling, "oversampling")
    if isinstance(query, models.OrderByQuery):
        check_order(getattr(query.order_by, "key", query.order_by), state.index(name))
    for inner in prefetches(told.prefetch) or []:
        _check_query(state, name, inner)


def chosen_by(told: Any) -> Any:
    """The points that a change of payload or vectors names."""
    if told.points is not None:
        return models.PointIdsList(points=told.points)
    if told.filter is not None:
        return models.FilterSelector(filter=told.filter)
    raise Refused(400, "Wrong input: either list of point ids or a filter must be given")


def resolved(query: Any) -> Any:
    """A bare vector or id is a query for what is nearest to it."""
    return QdrantClient._resolve_query(query)


def prefetches(given: Any) -> list[models.Prefetch] | None:
    if given is None:
        return None
    listed = given if isinstance(given, list) else [given]
    return [
        one.model_copy(update={"query": resolved(one.query), "prefetch": prefetches(one.prefetch)})
        for one in listed
    ]
