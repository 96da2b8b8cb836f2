"""The truth that stores are measured against: plain numpy over plain dictionaries."""

from __future__ import annotations

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


def passes(payload: Mapping[str, Any], where: Mapping | None) -> bool:
    """A filter in Qdrant's REST form, on keywords and numbers."""
    if where is None:
        return True
    if "key" in where:
        return _field(payload, where)
    must = all(passes(payload, c) for c in where.get("must") or [])
    should = where.get("should")
    must_not = not any(passes(payload, c) for c in where.get("must_not") or [])
    return must and must_not and (not should or any(passes(payload, c) for c in should))


def _field(payload: Mapping[str, Any], where: Mapping) -> bool:
    value = payload.get(where["key"])
    values = value if isinstance(value, list) else [] if value is None else [value]
    match, span = where.get("match"), where.get("range")
    if match:
        wanted = match.get("any") or [match.get("value")]
        return any(v in wanted for v in values)
    low, high = span.get("gte"), span.get("lte")
    return any((low is None or v >= low) and (high is None or v <= high) for v in values)
