"""A checksum of each point, stored in its payload: shows that a damaged file has changed it.

The engine has no checksums of its own: after a damaged byte it may return another vector, or none.
The payload and sparse vectors are hashed. A dense vector is stored with 16 bits per value, and so
returned with an error of about 1e-4 in a projection: four random projections of it are kept, and
compared with a tolerance.

NumPy is imported where it is used: a search computes none, and its server process starts sooner.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from indexer.types import Payload, SparseVector, Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHECKSUM_KEY = "_checksum"  # in the stored payload; no caller sees it
NOT_CHECKED = "it has no checksum"  # a version without checksums has written the point
NUM_PROJECTIONS = 4
STEP = 1 / 1024  # of a stored projection; those of a unit vector are about 1
TOLERANCE = 3  # steps: another vector passes with a probability of 1e-11

Checksum: TypeAlias = "dict[str, str]"
"""16 hex digits for the payload and for each vector, by name."""


def compute_checksum(
    id: str, payload: Payload | None, vectors: Mapping[str, Vector | SparseVector]
) -> Checksum:
    """The checksum of a point; without the payload's if that is None."""
    checksum = {name: _digest_vector(vector) for name, vector in vectors.items()}
    return checksum if payload is None else {**checksum, "": digest_payload(id, payload)}


def digest_payload(id: str, payload: Payload) -> str:
    """Hash a point's id and payload. Floats count with six digits: the engine may return one that
    differs in the last bit."""
    plain = json.loads(json.dumps(payload), parse_float=_round_float)
    text = json.dumps(plain, sort_keys=True)
    return hashlib.blake2b(f"{id} {text}".encode(), digest_size=8).hexdigest()


def find_fault(
    id: str,
    payload: Payload,
    vectors: Mapping[str, Vector | SparseVector],
    checksum: Checksum,
) -> str | None:
    """What differs from the point as it was written, in words; None if nothing does."""
    if checksum.get("") != digest_payload(id, payload):
        return "its payload has changed"
    for name in checksum.keys() | vectors.keys() - {""}:
        if name and name not in vectors:
            return f"its vector {name!r} is missing"
        if name and name not in checksum:
            return f"its vector {name!r} was never written"
        if name and not _is_same(checksum[name], _digest_vector(vectors[name])):
            return f"its vector {name!r} has changed"
    return None


def _round_float(text: str) -> str:
    return f"{float(text):.6g}"


def _digest_vector(vector: Vector | SparseVector) -> str:
    import numpy as np

    if isinstance(vector, SparseVector):
        order = np.argsort(np.asarray(vector.indices, np.uint32))
        indices = np.asarray(vector.indices, np.uint32)[order]
        values = np.asarray(vector.values, np.float32)[order]
        return hashlib.blake2b(indices.tobytes() + values.tobytes(), digest_size=8).hexdigest()
    row = np.asarray(vector, np.float64)
    norm = float(np.linalg.norm(row))
    if not np.isfinite(norm):
        return "nan"  # like no checksum
    projected = _projections(len(row)) @ (row / norm if norm else row) / STEP
    return np.clip(np.rint(projected), -32768, 32767).astype(">i2").tobytes().hex()


def _is_same(stored: str, actual: str) -> bool:
    """Sparse vectors compare equal; dense ones may differ by `TOLERANCE` steps."""
    if stored == actual:
        return True
    import numpy as np

    try:
        rows = [np.frombuffer(bytes.fromhex(text), ">i2").astype(int) for text in (stored, actual)]
    except ValueError:
        return False
    return rows[0].shape == rows[1].shape and bool(np.abs(rows[0] - rows[1]).max() <= TOLERANCE)


@cache
def _projections(dim: int) -> NDArray[np.float64]:
    """`NUM_PROJECTIONS` rows of random signs, the same on every machine."""
    import numpy as np

    width = -(-dim // 8)
    data = hashlib.shake_128(b"polylens checksum").digest(NUM_PROJECTIONS * width)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(NUM_PROJECTIONS, width), axis=1)
    return bits[:, :dim].astype(np.float64) * 2 - 1
