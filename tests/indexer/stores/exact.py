"""The truth that stores are measured against: plain numpy over plain dictionaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from indexer.types import Record


class Exact:
    """Holds records; answers by computing every cosine."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = {record.id: record for record in records}

    def nearest(
        self, name: str, query: np.ndarray, where: Mapping | None = None
    ) -> list[tuple[str, float]]:
        """(id, cosine) of every record that has the vector and passes, best first."""
        scored = [
            (id, float(r.vectors[name] @ query / np.linalg.norm(query)))
            for id, r in self.records.items()
            if name in r.vectors and passes(r.payload, where)
        ]
        return sorted(scored, key=lambda pair: -pair[1])

    def matching(self, where: Mapping | None) -> set[str]:
        return {id for id, r in self.records.items() if passes(r.payload, where)}


def passes(payload: Mapping[str, Any], where: Mapping | None, id: str = "") -> bool:
    """A filter in Qdrant's REST form, on keywords, numbers and ids."""
    if where is None:
        return True
    if "key" in where:
        return _field(payload, where)
    if "has_id" in where:
        return id in where["has_id"]
    if "is_empty" in where:
        return payload.get(where["is_empty"]["key"]) in (None, [])

    def check(conditions: Any) -> list[bool]:
        listed = [conditions] if isinstance(conditions, Mapping) else conditions or []
        return [passes(payload, condition, id) for condition in listed]

    should, least = where.get("should"), where.get("min_should")
    return (
        all(check(where.get("must")))
        and not any(check(where.get("must_not")))
        and (not should or any(check(should)))
        and (not least or sum(check(least["conditions"])) >= least["min_count"])
    )


def _field(payload: Mapping[str, Any], where: Mapping) -> bool:
    value = payload.get(where["key"])
    values = value if isinstance(value, list) else [] if value is None else [value]
    match, span = where.get("match"), where.get("range")
    if match and "except" in match:
        return any(v not in match["except"] for v in values)
    if match:
        wanted = match["any"] if "any" in match else [match["value"]]
        return any(v in wanted for v in values)
    return any(
        v >= span.get("gte", v)
        and v <= span.get("lte", v)
        and v > span.get("gt", -math.inf)
        and v < span.get("lt", math.inf)
        for v in values
    )
