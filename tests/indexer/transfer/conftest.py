"""A collection to copy: created once, and only read."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embedder.types import ModelCard
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, IMAGE, NAME, TEXT
from indexer.config import Config, load_config
from indexer.feedback import Vote, VotedQuery, record_votes
from indexer.ingest.catalog import Catalog
from indexer.ingest.thumbnails import encode_thumbnail, thumbnail_path
from indexer.types import QueryTerm, Record, SparseVector

DIM = 48
CARD = ModelCard(
    name="colors",
    family="test",
    revision="1",
    dim=DIM,
    modalities=("text", "image"),
    composes=False,
    languages=("en", "de"),
    license="Apache-2.0",
    source="tests",
    fingerprint="colors-1",
    image_side=64,
)
POINTS = 900  # four pages
THUMBNAIL = encode_thumbnail(Image.new("RGB", (9, 9), "green"))


def records(dim: int, count: int = POINTS, seed: int = 0) -> list[Record]:
    """Two thirds images with one to three vectors, one third texts."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(count):
        row = rng.standard_normal((2, dim)).astype(np.float32)
        image, text = row / np.linalg.norm(row, axis=1, keepdims=True)
        words = SparseVector((7, 7 + i + 1), (0.1, 1 / 3 + i))
        is_text = i % 3 == 2
        vectors = {TEXT: text, BM25: words} if is_text else {IMAGE: image}
        if i % 3 == 1:
            vectors |= {TEXT: text, BM25: words}
        if i % 6 == 0:
            vectors[NAME] = text
        payload = {
            "kind": "text" if is_text else "image",
            "name": f"{i}.png",
            "paths": [f"/pictures/{i}.png", "/pictures/a\u2028b 赤.png"],
            "latitude": 51.123456789012345 + i,
            "year": 2000 + i,
            "captions": [{"text": 'a "red"\nwall', "language": None, "source": "sidecar"}],
            "meta": {"deep": {"list": [1, 2.5, None, True, ""]}},
        }
        result.append(Record(str(uuid.UUID(int=rng.integers(1 << 62))), vectors, payload))
    return result


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Config:
    """The settings of a collection called `family` with points, a catalog, votes, a thumbnail."""
    config = load_config({"store": str(tmp_path_factory.mktemp("source")), "collection": "family"})
    with OpenCollection.open_or_create(config, CARD) as collection:
        points = records(collection.card.dim)
        collection.store.upsert(points)
        collection.mark_ingested()
        catalog = Catalog(collection.index_dir / "catalogue.db")
        catalog.add_root("/pictures")
        catalog.commit()
        catalog.close()
        image = collection.path / "query.png"
        image.write_bytes(b"a query image")
        query = VotedQuery((QueryTerm(text="red"), QueryTerm(image=str(image))))
        record_votes(collection.path, Vote(query, points[0].id, "c0", 1, path="/pictures/0.png"))
        record_votes(
            collection.path, Vote(VotedQuery((QueryTerm(text="red"),)), points[1].id, "c1", -1)
        )
        thumb = thumbnail_path(collection.thumbnail_dir, points[0].id)
        thumb.parent.mkdir(parents=True)
        thumb.write_bytes(THUMBNAIL)
    return config


@pytest.fixture
def folder(tmp_path, source) -> Config:
    """Another store that is empty: a folder."""
    return replace(source, store=str(tmp_path / "destination"))


@pytest.fixture
def server(qdrant, source) -> Config:
    """Another store that is empty: a server."""
    return replace(
        source,
        store=qdrant.url,
        qdrant_api_key=qdrant.api_key,
        qdrant_retry_seconds=5.0,
        collection=qdrant.name("family"),
    )


@pytest.fixture
def read_points() -> Callable[[Config], dict[str, Record]]:
    """All points of a collection by their ids, with vectors."""

    def read(config: Config) -> dict[str, Record]:
        with OpenCollection.open(config) as collection:
            found, after = [], None
            while True:
                page, after = collection.store.scroll(after=after, vectors=True)
                found += page
                if after is None:
                    return {record.id: record for record in found}

    return read


@pytest.fixture
def assert_same_points(read_points) -> Callable[[Config, Config], None]:
    """Fails unless two collections hold the same points."""

    def compare(one: Config, other: Config) -> None:
        before, after = read_points(one), read_points(other)
        assert set(before) == set(after)
        for id, record in before.items():
            copy = after[id]
            assert record.payload == copy.payload
            assert set(record.vectors) == set(copy.vectors)
            for name, v in record.vectors.items():
                if isinstance(v, SparseVector):
                    assert _sparse(v) == _sparse(copy.vectors[name])
                else:
                    assert float(v @ copy.vectors[name]) > 0.99999

    return compare


def _sparse(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))
