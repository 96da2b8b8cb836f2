"""Points as arrays and lines, the members of a snapshot, and back. Nothing is ever unpickled.

Of n points: `ids.npy` (n, 16) uint8; of each dense vector NAME `NAME.rows.npy` (m,) int64, the
points that have one, and `NAME.npy` (m, dim) float32; of each sparse one `NAME.lengths.npy` (n,)
int64 with -1 where a point has none, and `NAME.indices.npy`, `NAME.values.npy`; `payloads.jsonl`, a
line a point; and, where asked for, `thumbs.jpgs`, one after the other, with `thumbs.lengths.npy`.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from indexer.stores.base import Schema
from indexer.types import Payload, Record, SparseVector, Vector

Parts = Mapping[str, bytes]
Array = NDArray[Any]


def pack_records(records: Sequence[Record], schema: Schema) -> dict[str, bytes]:
    """The members of a chunk by the end of their names."""
    ids = np.frombuffer(b"".join(uuid.UUID(r.id).bytes for r in records), np.uint8)
    parts = {"ids.npy": _dump_array(ids.reshape(-1, 16))}
    for name, dim in schema.dense:
        rows = [i for i, record in enumerate(records) if name in record.vectors]
        vectors = [np.asarray(records[i].vectors[name], np.float32) for i in rows]
        parts[f"{name}.rows.npy"] = _dump_array(np.array(rows, np.int64))
        parts[f"{name}.npy"] = _dump_array(np.array(vectors, np.float32).reshape(-1, dim))
    for name in schema.sparse:
        parts.update(_pack_sparse([record.vectors.get(name) for record in records], name))
    lines = (json.dumps(record.payload, ensure_ascii=False) for record in records)
    text = "".join(f"{line}\n" for line in lines)
    return {**parts, "payloads.jsonl": text.encode("utf-8", "backslashreplace")}


def unpack_records(parts: Parts, schema: Schema) -> list[Record]:
    """The records of a chunk; raises `ValueError` for what is none."""
    ids = _load_array(parts, "ids.npy", np.uint8, (-1, 16))
    payloads = _parse_payloads(parts["payloads.jsonl"])
    if len(payloads) != len(ids):
        raise ValueError(f"{len(ids)} ids and {len(payloads)} payloads")
    vectors: list[dict[str, Vector | SparseVector]] = [{} for _ in payloads]
    for name, dim in schema.dense:
        rows = _load_array(parts, f"{name}.rows.npy", np.int64, (-1,))
        for i, row in zip(
            rows, _load_array(parts, f"{name}.npy", np.float32, (-1, dim)), strict=True
        ):
            vectors[_check_row(int(i), len(vectors))][name] = row
    for name in schema.sparse:
        for i, sparse in enumerate(_unpack_sparse(parts, name, len(vectors))):
            if sparse is not None:
                vectors[i][name] = sparse
    names = (str(uuid.UUID(bytes=row.tobytes())) for row in ids)
    return [Record(*row) for row in zip(names, vectors, payloads, strict=True)]


def pack_blobs(pieces: Iterable[bytes | None], name: str) -> dict[str, bytes]:
    """Some bytes of each point, or none."""
    found = list(pieces)
    lengths = np.array([-1 if piece is None else len(piece) for piece in found], np.int64)
    data = b"".join(piece for piece in found if piece is not None)
    return {f"{name}.lengths.npy": _dump_array(lengths), f"{name}.jpgs": data}


def unpack_blobs(parts: Parts, name: str, count: int) -> list[bytes | None]:
    """The same again; raises `ValueError`."""
    lengths, data = _read_lengths(parts, name, count), parts[f"{name}.jpgs"]
    ends = np.cumsum(lengths.clip(0))
    if int(ends[-1:].sum()) != len(data):
        raise ValueError(f"the lengths of {name} do not add up")
    return [
        None if size < 0 else data[end - size : end]
        for size, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _pack_sparse(vectors: Sequence[Vector | SparseVector | None], name: str) -> dict[str, bytes]:
    found = [vector for vector in vectors if isinstance(vector, SparseVector)]
    lengths = [len(v.indices) if isinstance(v, SparseVector) else -1 for v in vectors]
    return {
        f"{name}.lengths.npy": _dump_array(np.array(lengths, np.int64)),
        f"{name}.indices.npy": _dump_array(
            np.array([i for v in found for i in v.indices], np.uint32)
        ),
        f"{name}.values.npy": _dump_array(
            np.array([x for v in found for x in v.values], np.float32)
        ),
    }


def _unpack_sparse(parts: Parts, name: str, count: int) -> list[SparseVector | None]:
    lengths = _read_lengths(parts, name, count)
    indices = _load_array(parts, f"{name}.indices.npy", np.uint32, (-1,)).tolist()
    values = _load_array(parts, f"{name}.values.npy", np.float32, (-1,)).tolist()
    ends = np.cumsum(lengths.clip(0)).tolist()
    if not (len(indices) == len(values) == (ends[-1] if ends else 0)):
        raise ValueError(f"the lengths of {name} do not add up")
    return [
        None if n < 0 else SparseVector(tuple(indices[end - n : end]), tuple(values[end - n : end]))
        for n, end in zip(lengths.tolist(), ends, strict=True)
    ]


def _read_lengths(parts: Parts, name: str, count: int) -> Array:
    """(count,) int64, each -1 or more, with a sum that is one."""
    lengths = _load_array(parts, f"{name}.lengths.npy", np.int64, (-1,))
    if len(lengths) != count or ((lengths < -1) | (lengths > 1 << 40)).any():
        raise ValueError(f"{len(lengths)} lengths of {name} for {count} points, or impossible ones")
    return lengths


def _parse_payloads(lines: bytes) -> list[Payload]:
    try:
        payloads = [json.loads(line) for line in lines.decode("utf-8").split("\n")[:-1]]
    except RecursionError:
        raise ValueError("a payload is nested too deeply") from None
    if not all(isinstance(payload, dict) for payload in payloads):
        raise ValueError("a payload is no object")
    return payloads


def _check_row(row: int, count: int) -> int:
    if not 0 <= row < count:
        raise ValueError(f"a vector of point {row} of {count}")
    return row


def _dump_array(array: Array) -> bytes:
    out = BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _load_array(parts: Parts, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
    """An array of exactly that type and shape (-1: any length) and no byte more; made without
    allocating what a header only claims."""
    data = parts[name]
    file = BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} has another version of .npy")
    told, fortran, kind = np.lib.format.read_array_header_1_0(file)
    fits = len(told) == len(shape) and all(w in (-1, t) for w, t in zip(shape, told, strict=True))
    size = math.prod(told) * np.dtype(dtype).itemsize
    if fortran or kind != np.dtype(dtype) or not fits or size != len(data) - file.tell():
        raise ValueError(f"{name} is an array of {kind} {told}")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(told)
