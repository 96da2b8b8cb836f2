"""Originals that are no files of their own: from the collection's sources, from nowhere else."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.media import build_routes, original_url, thumbnail_url
from app.services import open_searcher
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest


@pytest.fixture
def archived(empty_store, tmp_path, colors) -> Iterator[dict[str, str]]:
    """Name -> id of the pictures of an archive that has been ingested."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, color in (("a.tif", "red"), ("b.png", "blue")):
            out = io.BytesIO()
            Image.new("RGB", (30, 20), color).save(out, "TIFF" if name == "a.tif" else "PNG")
            info = tarfile.TarInfo(name)
            info.size = len(out.getvalue())
            archive.addfile(info, io.BytesIO(out.getvalue()))
    with OpenCollection.open_or_create(load_config(), colors.card) as collection:
        ingest([tmp_path / "x.tar"], collection, colors)
    records, _ = open_searcher("default").collection.store.scroll(limit=10)
    yield {record.payload["name"]: record.id for record in records}


def test_members_of_an_archive_are_shown(archived):
    client = TestClient(Starlette(routes=list(build_routes())))
    for name, format in (("a.tif", "JPEG"), ("b.png", "PNG")):
        answer = client.get("/" + original_url("default", archived[name]))
        assert Image.open(io.BytesIO(answer.content)).format == format
        assert answer.headers["content-type"] == f"image/{format.lower()}"


def test_a_thumbnail_of_a_member_is_made_again(archived):
    collection = open_searcher("default").collection
    id = archived["b.png"]
    (collection.thumbnail_dir / id[:2] / f"{id}.jpg").unlink()
    client = TestClient(Starlette(routes=list(build_routes())))
    assert client.get("/" + thumbnail_url("default", id)).headers["content-type"] == "image/jpeg"
