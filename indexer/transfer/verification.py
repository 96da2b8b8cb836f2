"""Checks that a copy equals its source: counts, and a sample of vectors and payloads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.stores.base import Store
from indexer.transfer.source import PointCounts
from indexer.types import Record, SparseVector, Vector

SAMPLE_SIZE = 256  # points compared
# 16 bits per value, as in the embedded store and in float16 on a server, change a cosine by less
# than 1e-6; a chord of 0.0141 between unit vectors is a cosine of 0.9999.
MAX_CHORD = 0.0141


def describe_difference(
    expected: PointCounts, actual: PointCounts, sample: Sequence[Record], store: Store
) -> str | None:
    """Describe the first difference of the counts, or of the `sample` and the same points of
    `store`; None where there is none."""
    if expected.points != actual.points:
        return f"{expected.points:,} points were expected, and {actual.points:,} were found"
    for kind in sorted({*expected.kinds, *actual.kinds}):
        one, two = expected.kinds.get(kind, 0), actual.kinds.get(kind, 0)
        if one != two:
            return f"{one:,} points of kind {kind!r} were expected, and {two:,} were found"
    copies = {r.id: r for r in store.retrieve([r.id for r in sample], vectors=True)}
    for record in sample:
        copy = copies.get(record.id)
        reason = "is missing" if copy is None else _describe_point_difference(record, copy)
        if reason:
            return f"point {record.id} {reason}"
    return None


def _describe_point_difference(one: Record, two: Record) -> str | None:
    if one.payload != two.payload:
        keys = sorted({*one.payload, *two.payload})
        changed = [key for key in keys if one.payload.get(key) != two.payload.get(key)]
        return f"has another payload ({', '.join(changed)})"
    if set(one.vectors) != set(two.vectors):
        return f"has vectors {sorted(two.vectors)} instead of {sorted(one.vectors)}"
    for name, vector in one.vectors.items():
        if not _vectors_match(vector, two.vectors[name]):
            return f"has another {name} vector"
    return None


def _vectors_match(one: Vector | SparseVector, two: Vector | SparseVector) -> bool:
    if isinstance(one, SparseVector) and isinstance(two, SparseVector):
        return _to_dict(one) == _to_dict(two)
    if isinstance(one, SparseVector) or isinstance(two, SparseVector) or one.shape != two.shape:
        return False
    return float(np.linalg.norm(_normalize(one) - _normalize(two))) <= MAX_CHORD


def _to_dict(vector: SparseVector) -> dict[int, np.float32]:
    return {i: np.float32(v) for i, v in zip(vector.indices, vector.values, strict=True)}


def _normalize(vector: Vector) -> Vector:
    wide = np.asarray(vector, np.float32)
    return wide / max(float(np.linalg.norm(wide)), 1e-12)
