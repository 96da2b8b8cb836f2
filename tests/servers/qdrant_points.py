"""What is asked of points: writes and reads of one collection, through REST's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qdrant_checks import (
    check_least,
    check_path,
    check_points,
    check_present,
    check_vectors,
    read_ids,
)
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
    conditions,
)

# -- writes


def upsert(state: State, name: str, told: models.PointInsertOperations) -> int:
    points = told.batch if isinstance(told, models.PointsBatch) else told.points
    with state.writing(name) as local:
        if isinstance(points, list):
            check_points(points)
        count = len(points) if isinstance(points, list) else len(points.ids)
        if count == 0:
            raise Refused(400, "Bad request: Empty update request")
        check_limit(count, state.strict(name).upsert_max_batchsize, "upsert limit")
        local.upsert(name, points, update_filter=told.update_filter, update_mode=told.update_mode)
        return state.numbered()


def delete(state: State, name: str, selector: Any) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.delete(name, chosen)

    return _select(state, name, selector, act, missing=True)


def set_payload(state: State, name: str, told: models.SetPayload) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.set_payload(name, told.payload, chosen, told.key)

    return _select(state, name, chosen_by(told), act)


def overwrite_payload(state: State, name: str, told: models.SetPayload) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.overwrite_payload(name, told.payload, chosen)

    return _select(state, name, chosen_by(told), act)


def delete_payload(state: State, name: str, told: models.DeletePayload) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.delete_payload(name, told.keys, chosen)

    return _select(state, name, chosen_by(told), act)


def clear_payload(state: State, name: str, selector: Any) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.clear_payload(name, chosen)

    return _select(state, name, selector, act)


def update_vectors(state: State, name: str, told: models.UpdateVectors) -> int:
    with state.writing(name) as local:
        check_points(told.points)
        check_limit(len(told.points), state.strict(name).upsert_max_batchsize, "update limit")
        ids, kept = read_ids(point.id for point in told.points), state.kept(name)
        present = [point for point, own in zip(told.points, ids, strict=True) if own in kept.ids]
        if present:
            local.update_vectors(name, present, update_filter=told.update_filter)
        check_present(ids, kept)
        return state.numbered()


def delete_vectors(state: State, name: str, told: models.DeleteVectors) -> int:
    def act(local: QdrantLocal, chosen: Any) -> None:
        local.delete_vectors(name, told.vector, chosen)

    return _select(state, name, chosen_by(told), act, missing=True)


CHANGES: dict[str, Callable[[State, str, Any], int]] = {  # by what a batch calls them
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_payload,
    "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload,
    "clear_payload": clear_payload,
    "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}


def batch(state: State, name: str, operations: Sequence[Any]) -> list[int]:
    """One after the other: what comes before one that is refused is done."""
    with state.writing(name):
        changes = [change for operation in operations for change in dict(operation).items()]
        return [CHANGES[kind](state, name, told) for kind, told in changes]


def _select(
    state: State,
    name: str,
    chosen: Any,
    act: Callable[[QdrantLocal, Any], None],
    *,
    missing: bool = False,
) -> int:
    """Change the points that are there; then refuse where some are not, unless `missing` ones may
    be named."""
    with state.writing(name) as local:
        _check_update(state, name, getattr(chosen, "filter", None))
        ids, kept = read_ids(getattr(chosen, "points", [])), state.kept(name)
        present = [own for own in ids if own in kept.ids]
        if present or not ids:
            act(local, models.PointIdsList(points=present) if present else chosen)
        if not missing:
            check_present(ids, kept)
        return state.numbered()


# -- reads


def retrieve(state: State, name: str, told: models.PointRequest) -> list[models.Record]:
    with state.engine(name) as local:
        payload = True if told.with_payload is None else told.with_payload
        return local.retrieve(name, read_ids(told.ids), payload, told.with_vector or False)


def point(state: State, name: str, given: str) -> models.Record:
    """One point, by the id in its path."""
    wanted = int(given) if given.isdigit() else given
    found = retrieve(state, name, models.PointRequest(ids=[wanted], with_vector=True))
    if not found:
        raise Refused(404, f"Not found: Point with id {wanted} does not exists!")
    return found[0]


def scroll(state: State, name: str, told: models.ScrollRequest) -> models.ScrollResult:
    with state.engine(name) as local:
        limit = 10 if told.limit is None else told.limit
        check_least(limit, "scroll_request.limit")
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
        _check_read(state, name, told.filter)
        check_exact(told.exact in (None, True), state.strict(name).search_allow_exact)
        return local.count(name, told.filter)


def facet(state: State, name: str, told: models.FacetRequest) -> models.FacetResponse:
    with state.engine(name) as local:
        check_least(told.limit, "internal.limit")
        check_limit(told.limit, state.strict(name).max_query_limit, "limit")
        _check_read(state, name, told.filter)
        check_exact(told.exact, state.strict(name).search_allow_exact)
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
    _check_filter(where)
    if state.strict(name).unindexed_filtering_retrieve is False:
        check_filter(where, state.index(name))


def _check_update(state: State, name: str, where: models.Filter | None) -> None:
    _check_filter(where)
    if state.strict(name).unindexed_filtering_update is False:
        check_filter(where, state.index(name))


def _check_filter(where: models.Filter | None) -> None:
    for key, _ in conditions(where):
        check_path(key)


def _check_query(state: State, name: str, told: Any) -> None:
    """A query, and each of its prefetches in turn."""
    strict, query = state.strict(name), resolved(told.query)
    check_least(told.limit, "internal.limit")
    check_limit(10 if told.limit is None else told.limit, strict.max_query_limit, "limit")
    _check_read(state, name, told.filter)
    if told.params:
        check_exact(told.params.exact, strict.search_allow_exact)
        check_limit(told.params.hnsw_ef, strict.search_max_hnsw_ef, "hnsw_ef")
        oversampling = getattr(told.params.quantization, "oversampling", None)
        check_limit(oversampling, strict.search_max_oversampling, "oversampling")
    if isinstance(query, models.OrderByQuery):
        check_order(getattr(query.order_by, "key", query.order_by), state.index(name))
    if not told.lookup_from:
        check_vectors(query, told.using, state.kept(name))
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
