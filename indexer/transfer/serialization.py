"""Converts points to arrays and lines, the members of a snapshot, and back. Nothing is unpickled.

For n points: `ids.npy` (n, 16) uint8; for each dense vector NAME `NAME.rows.npy` (m,) int64, the
points that have one, and `NAME.npy` (m, dim) float32; for each sparse one `NAME.lengths.npy` (n,)
int64 with -1 where a point has none, `NAME.indices.npy` and `NAME.values.npy`; `payloads.jsonl`,
one line per point; and, on request, `thumbs.jpgs`, concatenated, with `thumbs.lengths.npy`.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from indexer.stores.base import Schema
from indexer.types import Payload, Record, SparseVector, Vector

Parts = Mapping[str, bytes]
Array = NDArray[Any]


def pack_records(records: Sequence[Record], schema: Schema) -> dict[str, bytes]:
    """The members of a chunk, by the end of their names."""
    ids = np.frombuffer(b"".join(uuid.UUID(r.id).bytes for r in records), np.uint8)
    parts = {"ids.npy": _dump_array(ids.reshape(-1, 16), np.uint8)}
    for name, dim in schema.dense:
        rows = [i for i, record in enumerate(records) if name in record.vectors]
        vectors = np.array([records[i].vectors[name] for i in rows], np.float32).reshape(-1, dim)
        parts[f"{name}.rows.npy"] = _dump_array(rows, np.int64)
        parts[f"{name}.npy"] = _dump_array(vectors, np.float32)
    for name in schema.sparse:
        vectors_or_none = [
            vector if isinstance(vector, SparseVector) else None
            for vector in (r.vectors.get(name) for r in records)
        ]
        indices = [i for vector in vectors_or_none if vector for i in vector.indices]
        values = [x for vector in vectors_or_none if vector for x in vector.values]
        parts[f"{name}.lengths.npy"] = _dump_lengths([v and v.indices for v in vectors_or_none])
        parts[f"{name}.indices.npy"] = _dump_array(indices, np.uint32)
        parts[f"{name}.values.npy"] = _dump_array(values, np.float32)
    text = "".join(f"{json.dumps(record.payload, ensure_ascii=False)}\n" for record in records)
    return {**parts, "payloads.jsonl": text.encode("utf-8", "backslashreplace")}


def unpack_records(parts: Parts, schema: Schema) -> list[Record]:
    """The records of a chunk; raises `ValueError` where the parts are invalid."""
    ids = _load_array(parts, "ids.npy", np.uint8, 16)
    payloads = _parse_payloads(parts["payloads.jsonl"])
    if len(payloads) != len(ids):
        raise ValueError(f"{len(ids)} ids and {len(payloads)} payloads")
    vectors: list[dict[str, Vector | SparseVector]] = [{} for _ in payloads]
    for name, dim in schema.dense:
        rows = _load_array(parts, f"{name}.rows.npy", np.int64).tolist()
        dense = _load_array(parts, f"{name}.npy", np.float32, dim)
        for row, vector in zip(rows, dense, strict=True):
            if not 0 <= row < len(vectors):
                raise ValueError(f"a vector of point {row} of {len(vectors)}")
            vectors[row][name] = vector
    for name in schema.sparse:
        indices = _load_array(parts, f"{name}.indices.npy", np.uint32).tolist()
        values = _load_array(parts, f"{name}.values.npy", np.float32).tolist()
        if len(indices) != len(values):
            raise ValueError(f"{len(indices)} indices and {len(values)} values of {name}")
        for i, part in enumerate(_load_slices(parts, name, len(vectors), len(indices))):
            if part is not None:
                vectors[i][name] = SparseVector(tuple(indices[part]), tuple(values[part]))
    names = (str(uuid.UUID(bytes=row.tobytes())) for row in ids)
    return [Record(*row) for row in zip(names, vectors, payloads, strict=True)]


def pack_thumbnails(thumbnails: Sequence[bytes | None]) -> dict[str, bytes]:
    """The members with the thumbnail of each point, or None."""
    data = b"".join(filter(None, thumbnails))
    return {"thumbs.lengths.npy": _dump_lengths(thumbnails), "thumbs.jpgs": data}


def unpack_thumbnails(parts: Parts, count: int) -> list[bytes | None]:
    """The thumbnails of `count` points; raises `ValueError`."""
    data = parts["thumbs.jpgs"]
    return [part and data[part] for part in _load_slices(parts, "thumbs", count, len(data))]


def _dump_lengths(items: Sequence[Sequence[Any] | None]) -> bytes:
    return _dump_array([-1 if item is None else len(item) for item in items], np.int64)


def _load_slices(parts: Parts, name: str, count: int, total: int) -> list[slice | None]:
    """Where each of `count` points has its share of `total` elements; None where it has none."""
    lengths = _load_array(parts, f"{name}.lengths.npy", np.int64)
    if len(lengths) != count or ((lengths < -1) | (lengths > 1 << 40)).any():
        raise ValueError(f"{len(lengths)} lengths of {name} for {count} points, or impossible ones")
    ends = np.cumsum(lengths.clip(0))
    if int(ends[-1:].sum()) != total:
        raise ValueError(f"the lengths of {name} do not add up")
    return [
        None if n < 0 else slice(end - n, end)
        for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _parse_payloads(lines: bytes) -> list[Payload]:
    try:
        payloads = [json.loads(line) for line in lines.decode("utf-8").split("\n")[:-1]]
    except RecursionError:
        raise ValueError("a payload is nested too deeply") from None
    if not all(isinstance(payload, dict) for payload in payloads):
        raise ValueError("a payload is not an object")
    return payloads


def _dump_array(values: Sequence[Any] | Array, dtype: DTypeLike) -> bytes:
    out = BytesIO()
    np.lib.format.write_array(out, np.asarray(values, dtype), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _load_array(parts: Parts, name: str, dtype: DTypeLike, *width: int) -> Array:
    """An array of exactly this type, of any length and exactly this width, with no byte more;
    nothing is allocated that the header only claims."""
    data = parts[name]
    file = BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} has another version of .npy")
    actual, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
    fits = len(actual) == 1 + len(width) and actual[1:] == width
    size = math.prod(actual) * np.dtype(dtype).itemsize
    if is_fortran or kind != np.dtype(dtype) or not fits or size != len(data) - file.tell():
        raise ValueError(f"{name} is an array of {kind} {actual}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(actual)
