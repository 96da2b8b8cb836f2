"""A picture's URL gives the bytes that its id names, or nothing: the attacks that were tried."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.media import build_routes, find_upload, original_url, save_upload, thumbnail_url
from app.services import open_searcher
from embedder.images.decode import DecodeLimits
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest
from indexer.ingest.thumbnails import thumbnail_path
from indexer.paths import hash_content, make_point_ids
from indexer.sources import find_original

HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


class Pictures:
    """A folder of pictures, the collection made of it, and what the app answers about them."""

    def __init__(self, folder: Path, embedder, photo) -> None:
        self.folder = folder
        self.elsewhere = photo(folder.parent / "elsewhere" / "other.png", "green")
        photo(folder / "sub" / "a.png", "red")
        photo(folder / "b.png", "blue")
        (folder / "notes.md").write_text("# Notes\n\nSome words about cats.\n")
        Image.new("RGB", (60, 40), "yellow").save(folder / "tiff.jpg", "TIFF")
        with OpenCollection.open_or_create(load_config(), embedder.card) as collection:
            ingest([folder], collection, embedder)
        records, _ = open_searcher("default").collection.store.scroll(limit=10)
        self.ids = {record.payload["name"]: record.id for record in records}
        self.client = TestClient(Starlette(routes=list(build_routes())))

    @property
    def picture(self) -> Path:
        return self.folder / "sub" / "a.png"

    def get(self, name: str, **headers: str):
        return self.client.get("/" + original_url("default", self.ids[name]), headers=headers)

    def thumbnail(self, name: str):
        """The thumbnail, made again."""
        folder = open_searcher("default").collection.thumbnail_dir
        thumbnail_path(folder, self.ids[name]).unlink(missing_ok=True)
        return self.client.get("/" + thumbnail_url("default", self.ids[name]))

    def forge(self, name: str, data: bytes, path: object) -> str:
        """A point that somebody else wrote: it says that `data` is at `path`."""
        store = open_searcher("default").collection.store
        (record,) = store.retrieve([self.ids[name]], vectors=True)
        (id,) = make_point_ids(hash_content(data))
        payload = {**record.payload, "paths": path, "content": hash_content(data)}
        store.upsert([replace(record, id=id, payload=payload)])
        self.ids["forged"] = id
        return id


@pytest.fixture
def pictures(empty_store, tmp_path, colors, photo) -> Pictures:
    return Pictures(tmp_path / "pictures", colors, photo)


def swap_for_link(p: Pictures) -> None:
    p.picture.unlink()
    p.picture.symlink_to("/etc/passwd")


def swap_for_other_picture(p: Pictures) -> None:
    p.picture.unlink()
    p.picture.symlink_to(p.elsewhere)


def swap_folder(p: Pictures) -> None:
    p.picture.parent.rename(p.folder / "moved")
    p.elsewhere.rename(p.elsewhere.with_name("a.png"))
    p.picture.parent.symlink_to(p.elsewhere.parent)


def edit(p: Pictures) -> None:
    Image.new("RGB", (120, 90), "black").save(p.picture)


def swap_for_html(p: Pictures) -> None:
    p.picture.write_bytes(HTML)


def swap_for_pipe(p: Pictures) -> None:
    p.picture.unlink()
    os.mkfifo(p.picture)


def swap_for_device(p: Pictures) -> None:
    p.picture.unlink()
    p.picture.symlink_to("/dev/zero")


def append_byte(p: Pictures) -> None:
    p.picture.write_bytes(p.picture.read_bytes() + b"\0")


def delete(p: Pictures) -> None:
    p.picture.unlink()


@pytest.mark.parametrize(
    "attack",
    [
        *(swap_for_link, swap_for_other_picture, swap_folder, edit, swap_for_html),
        *(swap_for_pipe, swap_for_device, append_byte, delete),
    ],
    ids=lambda attack: attack.__name__,
)
def test_other_bytes_are_not_served_under_an_id(pictures, attack: Callable[[Pictures], None]):
    assert pictures.get("a.png").status_code == pictures.thumbnail("a.png").status_code == 200
    attack(pictures)
    for answer in (pictures.get("a.png"), pictures.thumbnail("a.png")):
        assert answer.status_code == 404
        assert answer.headers["cache-control"] == "no-store"


def test_the_same_bytes_at_another_place_are_served(pictures):
    """A folder that was moved to a larger disk, with a link left behind."""
    data = pictures.picture.read_bytes()
    pictures.picture.parent.rename(pictures.folder.parent / "larger")
    pictures.picture.parent.symlink_to(pictures.folder.parent / "larger")
    assert pictures.get("a.png").content == data


def test_a_forged_path_reads_no_file_outside_the_sources(pictures):
    """Even if whoever forged it knows what the file holds, as they do of another's picture."""
    data, outside = pictures.elsewhere.read_bytes(), str(pictures.elsewhere)
    around = f"{pictures.folder}/sub/../../elsewhere/other.png"
    for path in (outside, around, f"file://{outside}", f"{outside}\0", "/etc/shadow"):
        pictures.forge("a.png", data, [path])
        assert pictures.get("forged").status_code == 404, path
        assert pictures.thumbnail("forged").status_code == 404, path
    (pictures.folder / "copy.png").write_bytes(data)
    pictures.forge("a.png", data, [outside, str(pictures.folder / "copy.png")])
    assert pictures.get("forged").content == data, "the point is there"


def test_a_path_that_no_system_takes_is_no_fault(tmp_path):
    for path in ("\ud800", f"{tmp_path}/\0", f"{tmp_path}/x.tar#\0", ""):
        assert find_original("id", [path], [str(tmp_path)], DecodeLimits()) is None


def test_a_file_of_the_folder_under_the_id_of_another_is_not_served(pictures):
    pictures.forge("a.png", HTML, [str(pictures.picture)])
    assert pictures.get("forged").status_code == 404


@pytest.mark.parametrize("data", [HTML, SVG, b"%PDF-1.7\n%%EOF", b"\xff\xd8\xff<script>"])
def test_what_is_not_a_picture_is_never_sent_as_a_page(pictures, data):
    """A forged point whose id does follow from a file of the folder, named .jpg."""
    (pictures.folder / "page.jpg").write_bytes(data)
    pictures.forge("a.png", data, [str(pictures.folder / "page.jpg")])
    answer = pictures.get("forged")
    assert answer.status_code == 404 or answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (
        answer.headers["content-security-policy"]
        == "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
    )


def test_the_type_is_that_of_the_bytes(pictures):
    answer = pictures.get("tiff.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert pictures.get("b.png").headers["content-type"] == "image/png"


def test_a_text_is_not_served(pictures):
    assert pictures.get("notes.md").status_code == 404


def test_a_browser_asks_again_and_gets_a_short_answer(pictures):
    first = pictures.get("a.png")
    assert first.headers["cache-control"] == "private, no-cache"
    again = pictures.get("a.png", **{"if-none-match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = pictures.get("b.png", **{"if-none-match": first.headers["etag"]})
    assert other.status_code == 200
    gone = "/" + original_url("default", "00000000-0000-0000-0000-000000000000")
    etag = 'W/"00000000-0000-0000-0000-000000000000"'
    assert pictures.client.get(gone, headers={"if-none-match": etag}).status_code == 404


def test_thumbnails_and_uploads_are_kept_by_the_browser(pictures):
    out = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(out, "PNG")
    upload = f"/picture/query/{save_upload(out.getvalue())}"
    for url in ("/" + thumbnail_url("default", pictures.ids["a.png"]), upload):
        answer = pictures.client.get(url)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        etag = answer.headers["etag"]
        assert pictures.client.get(url, headers={"if-none-match": etag}).status_code == 304


def test_a_link_in_place_of_a_thumbnail_or_an_upload_is_not_followed(pictures, tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (90, 60), "blue").save(out, "JPEG")
    (tmp_path / "private.jpg").write_bytes(out.getvalue())
    thumbnail = "/" + thumbnail_url("default", pictures.ids["a.png"])
    path = thumbnail_path(open_searcher("default").collection.thumbnail_dir, pictures.ids["a.png"])
    upload = find_upload(save_upload(out.getvalue()))
    for link in (path, upload):
        link.unlink()
        link.symlink_to(tmp_path / "private.jpg")
    answer = pictures.client.get(thumbnail)
    assert answer.status_code == 200 and answer.content != out.getvalue()
    assert pictures.client.get(f"/picture/query/{upload.stem}").status_code == 404


@pytest.mark.parametrize("damage", [b"", HTML, b"\xff\xd8\xff cut off"])
def test_a_damaged_thumbnail_is_made_again(pictures, damage):
    id = pictures.ids["a.png"]
    path = thumbnail_path(open_searcher("default").collection.thumbnail_dir, id)
    path.write_bytes(damage)
    answer = pictures.client.get("/" + thumbnail_url("default", id))
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"


def test_head_and_range_requests_are_answered(pictures):
    url = "/" + original_url("default", pictures.ids["a.png"])
    size = str(pictures.picture.stat().st_size)
    assert pictures.client.head(url).headers["content-length"] == size
    ranged = pictures.client.get(url, headers={"range": "bytes=0-9"})
    assert (ranged.status_code, ranged.headers["content-length"]) == (200, size)
