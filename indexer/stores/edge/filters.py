"""Converts queries and filters of Qdrant's REST API to the classes of Qdrant Edge.

The REST form is what `qdrant_client.models` dump: the process that owns the shard reads it without
importing qdrant-client, which takes longer than the rest of its start. Only the features that
this program uses are converted; others raise `StoreError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge  # noqa: TID253  only the shard's process imports this module

from indexer.errors import StoreError

JsonObject = Mapping[str, Any]
QUERY_KEYS = {"query", "using", "filter", "limit", "offset", "with_payload", "with_vector"}
CLAUSES = ("must", "should", "must_not")
MATCHES = {"value": edge.MatchValue, "any": edge.MatchAny}


def convert_query(query: JsonObject) -> edge.QueryRequest:
    """Convert a dumped `models.QueryRequest`: nearest to a vector, a random sample, a page, or one
    in the order of a payload key."""
    _check_keys(query, QUERY_KEYS, "query with")
    return edge.QueryRequest(
        limit=_or(query.get("limit"), 10),
        offset=_or(query.get("offset"), 0),
        query=_convert_scoring(query.get("query"), query.get("using")),
        filter=convert_filter(query.get("filter")),
        with_payload=_or(query.get("with_payload"), False),
        with_vector=_or(query.get("with_vector"), False),
    )


def convert_filter(where: JsonObject | None) -> edge.Filter | None:
    """Convert a dumped `models.Filter`."""
    if not where:
        return None
    _check_keys(where, set(CLAUSES), "filter by")
    must, should, must_not = (_convert_clause(where.get(name)) for name in CLAUSES)
    return edge.Filter(must=must, should=should, must_not=must_not)


def _convert_scoring(query: Any, using: str | None) -> Any:
    if query is None:
        return None
    if not isinstance(query, Mapping):
        return edge.Query.Nearest(list(query), using=using)
    if "indices" in query:
        sparse = edge.SparseVector(list(query["indices"]), list(query["values"]))
        return edge.Query.Nearest(sparse, using=using)
    _check_keys(query, {"sample", "order_by"}, "score by")
    if "sample" in query:
        return edge.Sample.Random
    order = query["order_by"]
    _check_keys(order, {"key", "direction"}, "order with")
    direction = edge.Direction.Desc if order.get("direction") == "desc" else edge.Direction.Asc
    return edge.OrderBy(order["key"], direction)


def _convert_clause(clause: Any) -> list[Any] | None:
    if clause is None:
        return None
    return [_convert_condition(one) for one in (clause if isinstance(clause, list) else [clause])]


def _convert_condition(condition: JsonObject) -> Any:
    if "has_id" in condition:
        return edge.HasIdCondition({str(id) for id in condition["has_id"]})
    if "is_empty" in condition:
        return edge.IsEmptyCondition(condition["is_empty"]["key"])
    if "key" not in condition:
        return convert_filter(condition)
    _check_keys(condition, {"key", "match", "range"}, "filter by")
    match, bounds = condition.get("match"), condition.get("range")
    return edge.FieldCondition(
        condition["key"],
        match=_convert_match(match) if match else None,
        range=_convert_range(bounds) if bounds else None,
    )


def _convert_range(bounds: JsonObject) -> Any:
    given = {bound: bounds.get(bound) for bound in ("gte", "gt", "lte", "lt")}
    has_dates = any(isinstance(value, str) for value in given.values())
    return edge.RangeDateTime(**given) if has_dates else edge.RangeFloat(**given)


def _convert_match(match: JsonObject) -> Any:
    _check_keys(match, set(MATCHES), "match by")
    ((name, value),) = match.items()
    if any(isinstance(v, bool) for v in (value if isinstance(value, list) else [value])):
        raise StoreError(
            "the embedded store treats true as 1: store flags as keywords, or as 0 and 1"
        )
    return MATCHES[name](value)


def _check_keys(given: JsonObject, supported: set[str], what: str) -> None:
    unsupported = sorted({key for key, value in given.items() if value is not None} - supported)
    if unsupported:
        raise StoreError(f"the embedded store cannot {what} {', '.join(unsupported)}")


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
