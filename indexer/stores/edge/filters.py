"""Qdrant's REST form of filters and queries -> the classes of Qdrant Edge.

The REST form is what `qdrant_client.models` dump: the process that owns the shard reads it without
importing qdrant-client, which costs more than the rest of its start. Raises `StoreError` for what
the embedded store cannot do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qdrant_edge as edge  # noqa: TID253  only the shard's process imports this module

from indexer.errors import StoreError

JsonObject = Mapping[str, Any]


def convert_query(plain: JsonObject) -> edge.QueryRequest:
    """`models.QueryRequest`, dumped -> edge's."""
    return edge.QueryRequest(
        limit=_or(plain.get("limit"), 10),
        offset=_or(plain.get("offset"), 0),
        query=convert_scoring(plain.get("query"), plain.get("using")),
        prefetches=_prefetches(plain.get("prefetch")),
        filter=convert_filter(plain.get("filter")),
        score_threshold=plain.get("score_threshold"),
        params=_params(plain.get("params")),
        with_payload=_or(plain.get("with_payload"), False),
        with_vector=_or(plain.get("with_vector"), False),
    )


def convert_filter(plain: JsonObject | None) -> edge.Filter | None:
    """`models.Filter`, dumped -> edge's."""
    if not plain:
        return None
    least = plain.get("min_should")
    return edge.Filter(
        must=_conditions(plain.get("must")),
        should=_conditions(plain.get("should")),
        must_not=_conditions(plain.get("must_not")),
        min_should=least
        and edge.MinShould(_conditions(least["conditions"]) or [], least["min_count"]),
    )


def convert_scoring(query: Any, using: str | None) -> Any:
    """What a query scores by: a vector, a fusion, an order, a sample; None scrolls."""
    if query is None:
        return None
    if isinstance(query, Sequence):
        return edge.Query.Nearest(list(query), using=using)
    if "indices" in query:
        return edge.Query.Nearest(_sparse(query), using=using)
    for name, make in SCORINGS.items():
        if query.get(name) is not None:
            return make(query, using)
    raise StoreError(f"the embedded store cannot score by {', '.join(query)}")


def _nearest(query: JsonObject, using: str | None) -> Any:
    vector = query["nearest"]
    if isinstance(vector, Mapping):
        return edge.Query.Nearest(_sparse(vector), using=using)
    mmr = query.get("mmr")
    if mmr is None:
        return edge.Query.Nearest(list(vector), using=using)
    keep = 1.0 - _or(mmr.get("diversity"), 0.5)
    return edge.Mmr(list(vector), keep, _or(mmr.get("candidates_limit"), 100), using=using)


def _fusion(query: JsonObject, _: str | None) -> Any:
    if query["fusion"] == "dbsf":
        return edge.Fusion.Dbsf()
    raise StoreError("say k in words: RrfQuery(rrf=Rrf(k=...)); engines differ in the default")


def _rrf(query: JsonObject, _: str | None) -> Any:
    rrf = query["rrf"]
    if rrf.get("k") is None:
        raise StoreError("say k in words: RrfQuery(rrf=Rrf(k=...)); engines differ in the default")
    return edge.Fusion.Rrf(k=rrf["k"], weights=rrf.get("weights"))


def _order_by(query: JsonObject, _: str | None) -> Any:
    order = query["order_by"]
    if isinstance(order, str):
        return edge.OrderBy(order)
    down = order.get("direction") == "desc"
    return edge.OrderBy(order["key"], edge.Direction.Desc if down else edge.Direction.Asc)


def _sample(_: JsonObject, __: str | None) -> Any:
    return edge.Sample.Random


SCORINGS: dict[str, Callable[[JsonObject, str | None], Any]] = {
    "nearest": _nearest,
    "fusion": _fusion,
    "rrf": _rrf,
    "order_by": _order_by,
    "sample": _sample,
}


def _prefetches(plain: Any) -> list[edge.Prefetch]:
    stages = plain if isinstance(plain, list) else [plain] if plain else []
    return [
        edge.Prefetch(
            limit=_or(stage.get("limit"), 10),
            query=convert_scoring(stage.get("query"), stage.get("using")),
            prefetches=_prefetches(stage.get("prefetch")),
            params=_params(stage.get("params")),
            filter=convert_filter(stage.get("filter")),
            score_threshold=stage.get("score_threshold"),
        )
        for stage in stages
    ]


def _params(plain: JsonObject | None) -> edge.SearchParams | None:
    if not plain:
        return None
    return edge.SearchParams(exact=bool(plain.get("exact")), hnsw_ef=plain.get("hnsw_ef"))


def _conditions(plain: Any) -> list[Any] | None:
    if plain is None:
        return None
    return [_condition(item) for item in (plain if isinstance(plain, list) else [plain])]


def _condition(plain: JsonObject) -> Any:
    if "key" in plain:
        return _field(plain)
    if "has_id" in plain:
        return edge.HasIdCondition({str(id) for id in plain["has_id"]})
    if "has_vector" in plain:
        return edge.HasVectorCondition(plain["has_vector"])
    if "is_empty" in plain or "is_null" in plain:
        return _absence(plain)
    if "nested" in plain:
        nested = plain["nested"]
        return edge.NestedCondition(
            nested["key"], convert_filter(nested["filter"]) or edge.Filter()
        )
    return convert_filter(plain)


def _absence(plain: JsonObject) -> Any:
    if "is_empty" in plain:
        return edge.IsEmptyCondition(plain["is_empty"]["key"])
    return edge.IsNullCondition(plain["is_null"]["key"])


def _field(plain: JsonObject) -> edge.FieldCondition:
    known = {"key", "match", "range", "values_count"}
    given = {name for name, value in plain.items() if value is not None}
    if given - known:
        raise StoreError(f"the embedded store cannot filter by {', '.join(sorted(given - known))}")
    return edge.FieldCondition(
        plain["key"],
        match=_match(plain.get("match")),
        range=_range(plain.get("range")),
        values_count=plain.get("values_count") and edge.ValuesCount(**plain["values_count"]),
    )


def _match(plain: JsonObject | None) -> Any:
    if plain is None:
        return None
    (name, value), *_ = ((n, v) for n, v in plain.items() if v is not None)
    if name not in MATCHES:
        raise StoreError(f"the embedded store cannot match by {name}")
    if any(isinstance(v, bool) for v in (value if isinstance(value, list) else [value])):
        raise StoreError(
            "the embedded store takes true for 1: keep flags as keywords or as 0 and 1"
        )
    return MATCHES[name](value)


MATCHES: dict[str, Callable[[Any], Any]] = {
    "value": edge.MatchValue,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "except_": edge.MatchExcept,
    "text": edge.MatchText,
}


def _range(plain: JsonObject | None) -> Any:
    if plain is None:
        return None
    bounds = {name: plain.get(name) for name in ("gte", "gt", "lte", "lt")}
    if any(isinstance(bound, str) for bound in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**bounds)


def _sparse(plain: JsonObject) -> edge.SparseVector:
    return edge.SparseVector(list(plain["indices"]), list(plain["values"]))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
