"""Whether a copy is one: counts, and some points with their vectors and payloads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.stores.base import Store
from indexer.transfer.source import PointCounts
from indexer.types import Record, SparseVector, Vector

SAMPLE_SIZE = 256  # points compared
# Sixteen bits a number, as the embedded store and float16 on a server have it, cost a cosine less
# than 1e-6; a chord of 0.0141 between unit vectors is a cosine of 0.9999.
MAX_CHORD = 0.0141


def describe_count_difference(wanted: PointCounts, found: PointCounts) -> str | None:
    """In words, how the counts differ; None where they do not."""
    if wanted.points != found.points:
        return f"{wanted.points:,} points were to be there, and {found.points:,} are"
    for kind in sorted({*wanted.kinds, *found.kinds}):
        one, other = wanted.kinds.get(kind, 0), found.kinds.get(kind, 0)
        if one != other:
            return f"{one:,} points of kind {kind!r} were to be there, and {other:,} are"
    return None


def describe_point_difference(wanted: Sequence[Record], store: Store) -> str | None:
    """In words, how the first point that differs does; None where all are as they should be."""
    found = {r.id: r for r in store.retrieve([r.id for r in wanted], vectors=True)}
    for record in wanted:
        other = found.get(record.id)
        why = "is missing" if other is None else _describe_difference(record, other)
        if why:
            return f"point {record.id} {why}"
    return None


def _describe_difference(one: Record, other: Record) -> str | None:
    if one.payload != other.payload:
        keys = sorted(
            key
            for key in {*one.payload, *other.payload}
            if one.payload.get(key) != other.payload.get(key)
        )
        return f"has another payload ({', '.join(keys)})"
    if set(one.vectors) != set(other.vectors):
        return f"has vectors {sorted(other.vectors)} instead of {sorted(one.vectors)}"
    for name, vector in one.vectors.items():
        if not _vectors_match(vector, other.vectors[name]):
            return f"has another {name} vector"
    return None


def _vectors_match(one: Vector | SparseVector, other: Vector | SparseVector) -> bool:
    if isinstance(one, SparseVector) or isinstance(other, SparseVector):
        return _to_values(one) == _to_values(other)
    return (
        one.shape == other.shape
        and float(np.linalg.norm(_normalize(one) - _normalize(other))) <= MAX_CHORD
    )


def _to_values(vector: Vector | SparseVector) -> dict[int, np.float32] | None:
    if not isinstance(vector, SparseVector):
        return None
    return {i: np.float32(v) for i, v in zip(vector.indices, vector.values, strict=True)}


def _normalize(vector: Vector) -> Vector:
    wide = np.asarray(vector, np.float32)
    return wide / max(float(np.linalg.norm(wide)), 1e-12)
