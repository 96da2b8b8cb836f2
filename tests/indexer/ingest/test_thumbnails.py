"""Thumbnails: their size, their path, and rebuilding a lost one."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from indexer.ingest.thumbnails import (
    encode_thumbnail,
    ensure_thumbnail,
    thumbnail_path,
    write_thumbnail,
)
from indexer.paths import hash_content, make_point_ids

ID = "ab5df625-bc76-5e19-8e8b-000000000000"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 300), (400, 300)),
        ((896, 600), (448, 300)),
        ((800, 600), (400, 300)),
        ((600, 300), (448, 224)),
        ((300, 3000), (43, 429)),
        ((9000, 3), (429, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_thumbnail_is_a_small_jpeg_in_its_shard(tmp_path, size, expected):
    write_thumbnail(tmp_path, ID, encode_thumbnail(Image.new("RGB", size, "red")))
    path = thumbnail_path(tmp_path, ID)
    assert path == tmp_path / "ab" / f"{ID}.jpg"
    with Image.open(path) as image:
        assert (image.format, image.size) == ("JPEG", expected)
    assert os.listdir(tmp_path / "ab") == [path.name]


def test_the_source_keeps_its_size(tmp_path):
    image = Image.new("RGB", (900, 900))
    write_thumbnail(tmp_path, ID, encode_thumbnail(image))
    assert image.size == (900, 900)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (600, 400), "blue").save(path)
    (id,) = make_point_ids(hash_content(path.read_bytes()))
    return path, id


def test_a_missing_thumbnail_is_rebuilt_from_a_file_that_still_holds_the_image(tmp_path, image):
    path, id = image
    changed = tmp_path / "changed.png"
    Image.new("RGB", (600, 400), "red").save(changed)
    paths = [str(tmp_path / "gone.png"), str(changed), str(path)]
    found = ensure_thumbnail(tmp_path / "thumbs", id, paths, roots=[str(tmp_path)])
    assert found == thumbnail_path(tmp_path / "thumbs", id).read_bytes()
    with Image.open(BytesIO(found)) as image:
        assert image.getpixel((9, 9))[2] > 200


def test_a_thumbnail_is_not_rebuilt_needlessly(tmp_path, image):
    path, id = image
    kept = encode_thumbnail(Image.new("RGB", (9, 9), "green"))
    write_thumbnail(tmp_path / "thumbs", id, kept)
    path.unlink()
    assert ensure_thumbnail(tmp_path / "thumbs", id, [str(path)], roots=[str(tmp_path)]) == kept


@pytest.mark.parametrize("length", [0, 100], ids=["empty", "cut off"])
def test_a_thumbnail_that_is_damaged_is_rebuilt(tmp_path, image, length):
    path, id = image
    cut = encode_thumbnail(Image.new("RGB", (9, 9), "green"))[:length]
    write_thumbnail(tmp_path / "thumbs", id, cut)
    made = ensure_thumbnail(tmp_path / "thumbs", id, [str(path)], roots=[str(tmp_path)])
    assert made
    assert thumbnail_path(tmp_path / "thumbs", id).read_bytes() == made


def test_a_thumbnail_that_cannot_be_kept_is_made_all_the_same(tmp_path, image):
    path, id = image
    (tmp_path / "thumbs").write_bytes(b"not a folder")
    assert ensure_thumbnail(tmp_path / "thumbs", id, [str(path)], roots=[str(tmp_path)])


def test_without_a_file_there_is_no_thumbnail(tmp_path, image):
    path, id = image
    path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert ensure_thumbnail(tmp_path / "thumbs", id, [str(path)], roots=[str(tmp_path)]) is None


def test_a_thumbnail_is_rebuilt_from_a_file_name_that_is_not_utf8(tmp_path, image):
    path, id = image
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    shown = str(tmp_path / r"caf\xe9.png")
    assert ensure_thumbnail(tmp_path / "thumbs", id, [shown], roots=[str(tmp_path)]) is not None


def test_the_folder_of_a_moved_collection_is_not_made_again(tmp_path, monkeypatch):
    """Not even where it is moved between two steps of a write."""
    collection, is_dir = tmp_path / "collection", Path.is_dir
    collection.mkdir()

    def move_first(self):
        if collection.exists():
            collection.rename(tmp_path / "moved")
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", move_first)
    with pytest.raises(FileNotFoundError):
        write_thumbnail(collection / "thumbs", ID, b"data")
    assert not collection.exists()
