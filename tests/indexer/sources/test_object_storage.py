"""Images in a bucket, read with the real s3fs from an S3 server in this process."""

from __future__ import annotations

import pickle

import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError, UnusableFileError
from indexer.sources import SourceSet, open_source, read_original


@pytest.fixture
def filled(bucket, make_image):
    """Two images in folders, one with captions, a text, and files that are ignored."""
    bucket.put("pets/cat.png", make_image("red"))
    bucket.put("pets/cat.txt", b"en: a red cat\nde: eine rote Katze\n")
    bucket.put("pets/old/dog", make_image(2))  # recognized by its content
    bucket.put("pets/notes.md", b"All about pets.")
    bucket.put("pets/.hidden/x.png", make_image(3))
    bucket.put("pets/data.bin", b"\0\1\2")
    bucket.put("pets/metadata.csv", b"file_name,caption_fr\nold/dog,un chien\n")
    bucket.put("cars/car.png", make_image(4))
    return bucket


def test_a_prefix_is_ingested_with_its_captions(filled, run, stored, collection):
    assert run(f"{filled.url}/pets") == {"added": 3}
    cat = stored()["cat.png"]
    assert cat["paths"] == [f"{filled.url}/pets/cat.png"]
    assert cat["folder"] == [f"{filled.url}/pets"]
    assert {(c["text"], c["language"]) for c in cat["captions"]} == {
        ("a red cat", "en"),
        ("eine rote Katze", "de"),
    }
    assert cat["modified"] > "2020"
    assert [c["text"] for c in stored()["dog"]["captions"]] == ["un chien"]
    assert set(stored()) == {"cat.png", "dog", "notes.md"}
    assert len(list(collection.thumbnail_dir.glob("*/*.jpg"))) == 2


def test_a_second_run_reads_nothing(filled, run, colors, monkeypatch):
    import s3fs

    run(filled.url)
    read = []
    whole = s3fs.S3FileSystem._cat_file

    async def cat_file(fs, path, *args, **options):
        read.append(path)
        return await whole(fs, path, *args, **options)

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", cat_file)
    assert run(filled.url) == {"unchanged": 4}
    assert colors.calls == []
    names = [path.rpartition("/")[2] for path in read]
    assert sorted(names) == ["dog", "metadata.csv"]  # of no extension; a table of captions
    s3fs.S3FileSystem.clear_instance_cache()


def test_changed_removed_and_moved_objects(filled, run, stored, make_image):
    run(filled.url)
    filled.put("pets/cat.png", make_image("blue"))  # as many bytes, in the same second
    assert run(filled.url) == {"updated": 1, "unchanged": 3}
    filled.put("pets/cat.txt", b"a blue cat")
    assert run(filled.url) == {"updated": 1, "unchanged": 3}
    assert [c["text"] for c in stored()["cat.png"]["captions"]] == ["a blue cat"]
    filled.put("cars/new.png", make_image(4))
    filled.delete("cars/car.png")
    assert run(filled.url) == {"moved": 1, "unchanged": 3}
    filled.delete("cars/new.png")
    assert run(filled.url) == {"unchanged": 3}
    assert "new.png" in stored()
    assert run(filled.url, prune=True) == {"unchanged": 3, "removed": 1}
    assert "new.png" not in stored()


def test_an_empty_or_missing_bucket_removes_nothing(filled, run, collection):
    run(f"{filled.url}/cars")
    filled.delete("cars/car.png")
    assert run(f"{filled.url}/cars", prune=True) == {}
    assert collection.store.count() == 1
    with pytest.raises(IndexerError, match=r"^s3://no-such-bucket-here: there is no such bucket$"):
        run("s3://no-such-bucket-here", prune=True)
    with pytest.raises(IndexerError, match="there is nothing there"):
        open_source(f"{filled.url}/typo").check_readable()


def test_one_object_and_a_wildcard(filled, run, stored):
    assert run(f"{filled.url}/pets/cat.png") == {"added": 1}
    assert len(stored()["cat.png"]["captions"]) == 2
    assert run(f"{filled.url}/*/c*.png") == {"added": 1, "unchanged": 1}


def test_many_objects_are_listed_page_by_page(bucket):
    from moto.backends import get_backend

    server = get_backend("s3")["123456789012"]["aws"]
    for i in range(1100):
        server.put_object(bucket.name, f"many/{i:05}.png", b"x")
    source = open_source(f"{bucket.url}/many")
    (part,) = source.list_parts()
    paths = [found.path for found in source.discover(part, print)]
    assert paths == [f"{bucket.url}/many/{i:05}.png" for i in range(1100)]


def test_a_pickled_source_reads_and_describes(filled):
    copy = pickle.loads(pickle.dumps(SourceSet.open([filled.url])))
    path = f"{filled.url}/pets/cat.png"
    assert copy.read(path, DecodeLimits()).startswith(b"\x89PNG")
    assert [c.language for c in copy.load_captions(path).captions] == ["en", "de"]


def test_an_original_is_read_only_under_a_known_root(filled, make_image):
    path = f"{filled.url}/pets/cat.png"
    assert read_original([f"{filled.url}/pets"], path, DecodeLimits()) == make_image("red")
    for roots in ([], [f"{filled.url}/cars"], [f"{filled.url}/pet"]):
        with pytest.raises(UnusableFileError, match="no known source"):
            read_original(roots, path, DecodeLimits())


def test_denied_and_unreachable_servers_are_reported(bucket, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(IndexerError, match="the server cannot be reached"):
        open_source("s3://some-bucket/x").check_readable()
    s3fs.S3FileSystem.clear_instance_cache()
