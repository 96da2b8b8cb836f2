"""Pictures by URL: only what a collection knows, with headers that let browsers keep it."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.media import build_routes, find_upload, original_url, save_upload, thumbnail_url
from app.services import open_searcher
from indexer.errors import QueryError
from indexer.ingest.thumbnails import thumbnail_path


@pytest.fixture
def client(app_store) -> TestClient:
    return TestClient(Starlette(routes=list(build_routes())))


@pytest.fixture
def cat(app_store) -> str:
    records, _ = open_searcher("default").collection.store.scroll(limit=1000)
    return next(r.id for r in records if r.payload["name"] == "chelsea.jpg")


def test_a_thumbnail_is_small_upright_and_cacheable(client, cat):
    answer = client.get("/" + thumbnail_url("default", cat))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["etag"]
    image = Image.open(BytesIO(answer.content))
    assert max(image.size) <= 448
    assert image.width > image.height


def test_a_missing_thumbnail_is_made_again(client, cat, app_store):
    path = thumbnail_path(app_store / "default" / "thumbs", cat)
    path.unlink()
    assert client.get("/" + thumbnail_url("default", cat)).status_code == 200
    assert path.is_file()


def test_an_original_is_the_file(client, cat):
    answer = client.get("/" + original_url("default", cat))
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) > 20_000


@pytest.mark.parametrize(
    "path",
    [
        "/picture/thumb/default/../../../../etc/passwd",
        "/picture/thumb/default/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/picture/thumb/..%2f..%2fetc/00000000-0000-0000-0000-000000000000",
        "/picture/thumb/default/00000000-0000-0000-0000-000000000000",
        "/picture/original/default/00000000-0000-0000-0000-000000000000",
        "/picture/original/nothing/00000000-0000-0000-0000-000000000000",
        "/picture/query/..%2f..%2fcollection",
    ],
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_an_upload_is_stored_and_served(client):
    buffer = BytesIO()
    Image.new("RGB", (900, 600), "red").save(buffer, "TIFF")
    name = save_upload(buffer.getvalue())
    assert find_upload(name).stat().st_mode & 0o777 == 0o600
    answer = client.get(f"/picture/query/{name}")
    assert answer.headers["content-type"] == "image/png"


def test_a_file_that_is_not_an_image_is_a_readable_error(app_store):
    with pytest.raises(QueryError, match="cannot be searched with"):
        save_upload(b"no picture at all")
