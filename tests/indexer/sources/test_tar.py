"""Tar archives as WebDataset writes them: local, in another file system, and by URL."""

from __future__ import annotations

import gzip
import pickle
import shutil

import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError
from indexer.ingest.thumbnails import ensure_thumbnail
from indexer.sources import SourceSet, open_source, read_original
from indexer.sources.listing import Entry, Listing
from indexer.sources.tar import BLOCK_BYTES


@pytest.fixture
def members(make_image):
    return {
        "a/001.png": make_image(1),
        "a/001.txt": b"en: a red house\n",
        "a/002.png": make_image(2),
        "a/002.json": b'{"caption": {"ja": "\xe7\x8c\xab"}, "tags": ["pet"], "cls": 7}',
        "./003.jpg": make_image(3, "JPEG"),
        "003.cls": b"7",
        "captions.csv": b"file,caption\n003.jpg,from the table\n",
    }


@pytest.fixture
def archive(folder, members, make_tar):
    (folder / "train-00.tar").write_bytes(make_tar(members))
    return folder / "train-00.tar"


def test_members_and_their_captions(archive, run, stored):
    assert run(str(archive)) == {"added": 3}
    points = stored()
    assert points["001.png"]["paths"] == [f"{archive}#a/001.png"]
    assert points["001.png"]["folder"] == [f"{archive}#a"]
    assert points["003.jpg"]["folder"] == [str(archive)]
    assert [(c["text"], c["language"]) for c in points["001.png"]["captions"]] == [
        ("a red house", "en")
    ]
    assert points["002.png"]["languages"] == ["ja"]
    assert points["002.png"]["tags"] == ["pet"]
    assert points["002.png"]["meta"] == {"cls": 7}
    assert [c["text"] for c in points["003.jpg"]["captions"]] == ["from the table"]
    assert points["001.png"]["modified"] == "2023-11-14T22:13:20+00:00"


def test_sidecars_of_google_takeout(folder, make_tar, make_image, run, stored):
    """Their names do not begin as those of their images do."""
    long = "Screenshot_20190704-101530_Some quite long app name_2"
    members = {
        "x.png": make_image(1),
        "x(1).png": make_image(2),
        "x-edited.png": make_image(3),
        f"{long}.png": make_image(4),
        "x.png.supplemental-meta.json": b'{"description": "first", "photoTakenTime": {}}',
        "x.png.supplemental-meta(1).json": b'{"description": "second", "photoTakenTime": {}}',
        f"{long[:46]}.json": b'{"description": "long", "photoTakenTime": {}}',
    }
    (folder / "takeout.tar").write_bytes(make_tar(members))
    assert run(folder / "takeout.tar") == {"added": 4}
    texts = {name: [c["text"] for c in point["captions"]] for name, point in stored().items()}
    assert texts == {
        "x.png": ["first"],
        "x(1).png": ["second"],
        "x-edited.png": ["first"],
        f"{long}.png": ["long"],
    }


def test_an_unchanged_archive_is_not_listed_again(archive, run, monkeypatch):
    run(archive)
    monkeypatch.setattr("indexer.sources.tar.TarSource.discover", None)
    assert run(archive, prune=True) == {"unchanged": 3}
    assert run.report.files == 3


def test_a_changed_archive(archive, run, stored, members, make_tar, make_image, colors):
    run(archive)
    members["a/004.png"] = make_image(4)
    del members["a/002.png"]
    archive.write_bytes(make_tar(members))
    assert run(archive) == {"added": 1, "unchanged": 2}
    assert sum(colors.calls) == 1
    assert run(archive, prune=True) == {"unchanged": 3, "removed": 1}
    assert run(archive, prune=True) == {"unchanged": 3}


def test_the_same_image_in_a_folder_and_in_archives(archive, folder, run, stored, members):
    (folder / "same.png").write_bytes(members["a/001.png"])
    shutil.copy(archive, folder / "train-01.tar")
    assert run(folder, f"{folder}/train-{{00..01}}.tar") == {"added": 3}
    assert stored()["same.png"]["paths"] == [
        f"{folder}/same.png",
        f"{folder}/train-00.tar#a/001.png",
        f"{folder}/train-01.tar#a/001.png",
    ]
    assert run(f"{folder}/train-*.tar") == {"unchanged": 3}


def test_an_archive_that_ends_early(archive, run, collection, members, make_tar):
    run(archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: whole.index(members["./003.jpg"]) + 10])
    expected = {"unchanged": 2, "skipped": [("train-00.tar", "truncated")]}
    assert run(archive, prune=True) == expected
    assert collection.store.count() == 3  # what follows may only be unreadable
    assert run(archive) == expected  # and it is reported again


def test_member_names_that_lead_out_of_the_archive(folder, run, stored, make_image, make_tar):
    data = make_tar({"../../up.png": make_image(1), "/root.png": make_image(2)})
    (folder / "x.tar").write_bytes(data)
    result = run(folder / "x.tar")
    assert result == {"added": 1, "skipped": [("up.png", "unsupported")]}
    assert stored()["root.png"]["paths"] == [f"{folder}/x.tar#root.png"]


def test_a_member_of_negative_size(folder, run, make_image, make_tar):
    data = bytearray(make_tar({"a.png": make_image(1)}))
    header = data[:BLOCK_BYTES]
    header[124:136] = b"\xff" + (-BLOCK_BYTES).to_bytes(11, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (folder / "x.tar").write_bytes(header + data[BLOCK_BYTES:])
    skipped = run(folder / "x.tar")["skipped"]
    assert skipped == [("x.tar", "truncated")]


def test_invalid_archives(folder):
    (folder / "x.tar").write_bytes(b"not an archive" * 100)
    with pytest.raises(IndexerError, match=r"x\.tar is not a tar archive"):
        open_source(folder / "x.tar").check_readable()
    (folder / "x.tar.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(IndexerError, match="unpack it, or write it again"):
        open_source(folder / "x.tar.gz").check_readable()
    with pytest.raises(IndexerError, match="nothing matches"):
        SourceSet.open([str(folder / "no-*.tar")])


def test_in_another_file_system(memory, run, stored, members, make_tar):
    memory.pipe("/shards/0.tar", make_tar(members))
    assert run("memory://shards/0.tar") == {"added": 3}
    assert stored()["001.png"]["paths"] == ["memory://shards/0.tar#a/001.png"]
    assert run("memory://shards/0.tar") == {"unchanged": 3}


def test_by_url(site, run, stored, members, make_tar):
    site.pages["/0.tar"] = make_tar(members)
    assert run(f"{site.url}/0.tar?sig=secret") == {"added": 3}
    assert stored()["001.png"]["paths"] == [f"{site.url}/0.tar#a/001.png"]
    assert set(site.requests) == {"/0.tar?sig=secret"}


def test_a_server_without_ranges_is_reported(site, run, members, make_tar):
    site.pages["/0.tar"] = make_tar(members)
    site.ranges = False
    result = run(f"{site.url}/0.tar")
    assert "does not serve ranges of a file" in run.report.skipped[0].detail
    assert "added" not in result


def test_read_again_from_elsewhere(archive, members, run, collection, stored):
    run(archive)
    path = f"{archive}#a/001.png"
    assert read_original([str(archive)], path, DecodeLimits()) == members["a/001.png"]
    copy = pickle.loads(pickle.dumps(SourceSet.open([archive])))
    assert copy.read(path, DecodeLimits()) == members["a/001.png"]
    records, _ = collection.store.scroll(limit=10)
    record = next(r for r in records if r.payload["paths"] == [path])
    thumb = collection.thumbnail_dir / record.id[:2] / f"{record.id}.jpg"
    thumb.unlink()
    assert ensure_thumbnail(collection.thumbnail_dir, record.id, [path]) is None
    made = ensure_thumbnail(collection.thumbnail_dir, record.id, [path], roots=[str(archive)])
    assert made == thumb.read_bytes()
    assert made


def test_numbered_names_are_matched_with_their_own_sidecars_alone():
    """A folder may have thousands of `scan (1).jpg`."""
    own = ["x(1).jpg", "x-edited(1).jpg", "x.jpg(1).json", "x(1).txt"]
    others = [f"x({number}).jpg" for number in range(2, 50)] + ["x.jpg", "x.jpg.json"]
    listing = Listing(Entry(f"/in/{name}", 1, 1, "") for name in (*own, *others))
    assert {entry.name for entry in listing.siblings("/in/x(1).jpg")} == set(own)
    assert {entry.name for entry in listing.siblings("/in/x.jpg")} == {"x.jpg", "x.jpg.json"}
