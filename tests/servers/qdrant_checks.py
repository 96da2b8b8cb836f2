"""What a Qdrant server refuses before it begins: names, sizes, limits, ids, vectors, paths."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from qdrant_client import models
from qdrant_client.local.json_path_parser import parse_json_path
from qdrant_client.local.local_collection import LocalCollection
from qdrant_strict import Refused

FORBIDDEN = '<>:"/\\|?*\0\x1f'  # in a collection's name
LARGEST = 65536  # dim of a vector


def malformed(why: str) -> Refused:
    return Refused(400, f"Format error in JSON body: {why}")


def invalid(why: str, where: str = "JSON body") -> Refused:
    return Refused(422, f"Validation error in {where}: [{why}]")


def check_name(name: str) -> None:
    why = None
    if not 1 <= len(name) <= 255:
        why = f'value "{name}" invalid, must be from 1 to 255 characters'
    elif bad := next((c for c in name if c in FORBIDDEN), None):
        why = f'collection name cannot contain "{bad}" char'
    if why:
        raise invalid(f"collection_name: {why}", "path parameters")


def check_counts(given: Any) -> None:
    """Shards, replicas and the factor: at least one, where they are given."""
    for field in ("shard_number", "replication_factor", "write_consistency_factor"):
        if getattr(given, field, None) == 0:
            raise malformed("invalid value: integer `0`, expected a nonzero u32")


def check_sizes(vectors: models.VectorsConfig | None) -> None:
    named = isinstance(vectors, dict)
    for params in vectors.values() if named else [vectors] if vectors else []:
        if params.size == 0:
            raise malformed("data did not match any variant of untagged enum VectorsConfig")
        if params.size > LARGEST:
            where = "vectors.?.size" if named else "vectors.size"
            raise invalid(f"{where}: value {params.size} invalid, must be from 1 to {LARGEST}")


def check_least(value: int | None, field: str) -> None:
    if value == 0:
        raise invalid(f"{field}: value 0 invalid, must be 1 or larger")


def read_ids(given: Iterable[models.ExtendedPointId]) -> list[int | str]:
    """Ids of points, as the engine keeps them."""
    ids = [point if isinstance(point, int) else str(point) for point in given]
    for point in ids:
        try:
            valid = point >= 0 if isinstance(point, int) else bool(uuid.UUID(point).hex)
        except ValueError:
            valid = False
        if not valid:
            raise malformed(
                f"value {point} is not a valid point ID, valid values are either an unsigned "
                "integer or a UUID"
            )
    return ids


def check_points(points: Sequence[models.PointStruct | models.PointVectors]) -> None:
    read_ids(point.id for point in points)
    for i, point in enumerate(points):
        named = point.vector if isinstance(point.vector, dict) else {}
        for vector in named.values():
            check_sparse(vector, f"points[{i}].vector.?")


def check_present(ids: Iterable[int | str], kept: LocalCollection) -> None:
    for point in ids:
        if point not in kept.ids:
            raise Refused(404, f"Not found: No point with id {point} found")


def check_sparse(vector: Any, where: str) -> None:
    if not isinstance(vector, models.SparseVector):
        return
    if len(vector.indices) != len(vector.values):
        why = "values: Validation error: must be the same length as indices [{}]"
    elif len(set(vector.indices)) != len(vector.indices):
        why = "indices: Validation error: must be unique [{}]"
    else:
        return
    raise invalid(f"{where}.{why}")


def check_path(key: str) -> None:
    """A key of the payload, with its dots and brackets."""
    try:
        valid = bool(parse_json_path(key))
    except ValueError:
        valid = False
    if not valid:
        raise malformed(f"Invalid json path: '{key}'")


def check_vectors(query: Any, using: str | None, kept: LocalCollection) -> None:
    """What a query is nearest to, or like: of a vector of the collection, and of its dim."""
    inputs = []
    if isinstance(query, models.NearestQuery):
        inputs = [query.nearest]
    elif isinstance(query, models.RecommendQuery):
        inputs = [*(query.recommend.positive or []), *(query.recommend.negative or [])]
    if not inputs:
        return
    name, dense = using or "", kept.config.vectors
    dense = dense if isinstance(dense, dict) else {"": dense}
    if name not in dense and name not in (kept.config.sparse_vectors or {}):
        raise Refused(400, f"Wrong input: Not existing vector name error: {name}")
    for vector in inputs:
        check_sparse(vector, "query.?")
        if isinstance(vector, int | str | uuid.UUID):
            check_present(read_ids([vector]), kept)
        elif isinstance(vector, list) and isinstance(vector[0], float | int) and name in dense:
            wanted, got = dense[name].size, len(vector)
            if got != wanted:
                why = f"expected dim: {wanted}, got {got}"
                raise Refused(400, f"Wrong input: Vector dimension error: {why}")
