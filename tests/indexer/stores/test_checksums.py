"""The checksum of a point finds what a damaged file has changed, and allows for rounding."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from indexer.collections.schema import make_schema
from indexer.stores.edge.checksums import NOT_CHECKED, compute_checksum, find_fault
from indexer.stores.edge.store import EdgeStore
from indexer.types import Record, SparseVector

ID = str(uuid.UUID(int=7))
PAYLOAD = {"kind": "image", "tags": ["b", "a"], "latitude": 1 / 3, "width": 5, "meta": {"x": None}}


def unit(seed: int, dim: int = 64) -> np.ndarray:
    row = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return row / np.linalg.norm(row)


def vectors() -> dict[str, np.ndarray | SparseVector]:
    return {"image": unit(0), "bm25": SparseVector((5, 2), (0.5, 1.5))}


def fault(payload=PAYLOAD, id=ID, **changes) -> str | None:
    found = {name: v for name, v in {**vectors(), **changes}.items() if v is not None}
    return find_fault(id, payload, found, compute_checksum(ID, PAYLOAD, vectors()))


@pytest.mark.parametrize(
    "unchanged",
    [
        {},
        {"image": unit(0) + 1e-5 * unit(1)},  # 16 bits per value
        {"image": unit(0) * 3},  # the engine normalizes
        {"bm25": SparseVector((2, 5), (1.5, 0.5))},
        {"payload": {**PAYLOAD, "latitude": 0.33333333333333337}},  # the last bit
        {"payload": dict(reversed(PAYLOAD.items()))},
    ],
)
def test_what_the_engine_may_do(unchanged):
    assert fault(**unchanged) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": None}, "'image' is missing"),
        ({"image": np.zeros(64, np.float32)}, "'image' has changed"),
        ({"image": unit(1)}, "'image' has changed"),
        ({"image": np.roll(unit(0), 1)}, "'image' has changed"),
        ({"image": -unit(0)}, "'image' has changed"),
        ({"image": unit(0) * np.nan}, "'image' has changed"),
        ({"image": unit(0) + 0.03 * unit(2)}, "'image' has changed"),
        ({"image": unit(0)[:32]}, "'image' has changed"),
        ({"bm25": None}, "'bm25' is missing"),
        ({"bm25": SparseVector((5, 2), (1.5, 0.5))}, "'bm25' has changed"),
        ({"text": unit(1)}, "'text' was never written"),
        ({"payload": {**PAYLOAD, "width": 6}}, "payload"),
        ({"payload": {**PAYLOAD, "tags": ["a", "b"]}}, "payload"),
        ({"payload": {}}, "payload"),
        ({"id": str(uuid.UUID(int=8))}, "payload"),  # a point under another's id
    ],
)
def test_what_only_damage_does(change, words):
    assert words in (fault(**change) or "")


def test_points_of_a_store(tmp_path):
    """Through every way of writing; and the checksum is not seen from outside."""
    store = EdgeStore(tmp_path)
    store.ensure(make_schema(64))
    ids = [str(uuid.UUID(int=i + 1)) for i in range(4)]
    payload = {"kind": "image", "year": 2020, "tags": ["red"], "paths": ["/a.jpg", "/b.jpg"]}
    store.upsert([Record(id, vectors(), payload) for id in ids])
    store.patch([Record(ids[0], {}, {"kind": "text"})])
    store.patch([Record(ids[1], {"image": unit(5)}, payload), Record(ids[2], {}, {})])
    store.patch([Record(ids[3], {}, {"tags": ["blue"], "year": None})], merge=True)
    try:
        assert store.list_ids(3) == (ids[:3], ids[3])
        assert store.check(ids) == {}
        assert store.check([str(uuid.UUID(int=99))]) == {
            str(uuid.UUID(int=99)): "it cannot be read"
        }
        assert store.check_filters(ids) == []
        payloads = [record.payload for record in store.scroll()[0]]
        merged = {key: payload[key] for key in ("kind", "paths")} | {"tags": ["blue"]}
        assert payloads == [{"kind": "text"}, payload, {}, merged]
        store.add_checksums(ids)
        assert NOT_CHECKED not in store.check(ids).values()
    finally:
        store.close()
