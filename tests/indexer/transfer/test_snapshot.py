"""A collection in one file, and back in any store; and files that were tampered with."""

from __future__ import annotations

import io
import json
import pickle
import sqlite3
import tarfile
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection, create_collection, lock_for_writing
from indexer.errors import CollectionError, StoreBusyError
from indexer.feedback import read_votes
from indexer.ingest.catalog import Catalog
from indexer.ingest.thumbnails import thumbnail_path
from indexer.transfer.restore import read_collection_name, restore
from indexer.transfer.snapshot import snapshot
from tests.indexer.transfer.conftest import THUMBNAIL

POINTS = 900


@pytest.fixture(scope="session")
def file(source, tmp_path_factory):
    """A snapshot of the collection, in chunks of two pages."""
    path = tmp_path_factory.mktemp("snapshots") / "family.tar"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("indexer.transfer.snapshot.MAX_CHUNK_POINTS", 512)
        report = snapshot(source, path, thumbs=True)
    assert (report.points, report.catalogs, report.votes) == (POINTS, 1, 1)
    assert report.bytes == path.stat().st_size
    return path


def test_any_tar_program_lists_it(file):
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert names[0] == "snapshot.json"
    assert names[-1] == "digests.json"
    assert {name for name in names if name.startswith("local/")} >= {
        "local/catalogue.db",
        "local/feedback.jsonl",
    }
    assert [name for name in names if name.endswith("ids.npy")] == [
        "points/00000000.ids.npy",
        "points/00000001.ids.npy",
    ]
    assert read_collection_name(file) == "family"


@pytest.mark.parametrize("where", ["folder", "server"])
def test_there_and_back(source, file, where, request, assert_same_points):
    destination = request.getfixturevalue(where)
    seen = []
    report = restore(file, destination, on_progress=seen.append)
    assert (report.points, report.copied, report.done) == (POINTS, POINTS, True)
    assert (report.catalogs, report.votes) == (1, 2)
    assert report.checked > 200
    assert [p.stage for p in seen if p.stage != "read"] == [
        "begin", "copy", "copy", "copy", "copy", "check"
    ]  # fmt: skip
    assert_same_points(source, destination)
    with (
        OpenCollection.open(destination) as opened,
        closing(Catalog(opened.index_dir / "catalogue.db")) as c,
    ):
        assert c.list_roots() == ["/pictures"]
        votes = read_votes(opened.path)
        assert [vote.vote for vote in votes] == [1, -1]
        assert thumbnail_path(opened.thumbnail_dir, votes[0].id).read_bytes() == THUMBNAIL
        image = opened.path / "feedback" / votes[0].query.parts[1].image
        assert image.read_bytes() == b"a query image"
        assert not (opened.path / ".restoring").exists()


def test_an_interrupted_copy_continues(file, server, monkeypatch, read_points):
    monkeypatch.setattr("indexer.transfer.restore.PAGE_SIZE", 64)
    stop = threading.Event()
    first = restore(file, server, on_progress=lambda p: p.stage == "copy" and stop.set(), stop=stop)
    assert 0 < first.copied < POINTS
    second = restore(file, server)
    assert (second.resumed, second.copied) == (first.copied, POINTS - first.copied)
    assert len(read_points(server)) == POINTS


def test_restore_to_an_existing_collection(source, file, server, read_points):
    card = open_backend(source).get_indexes("family").in_use.card
    create_collection(server, card)
    with pytest.raises(CollectionError, match=r"--merge.*--replace"):
        restore(file, server)
    assert restore(file, server, "replace").replaced
    assert len(read_points(server)) == POINTS
    assert open_backend(server).get_indexes(server.collection).old
    other = replace(server, collection=f"{server.collection}-2")
    create_collection(other, replace(card, name="shades", fingerprint="shades-1"))
    with pytest.raises(CollectionError, match="cannot be compared"):
        restore(file, other, "replace")


def test_a_snapshot_of_an_empty_collection(config, source, tmp_path, server, read_points):
    create_collection(config, open_backend(source).get_indexes("family").in_use.card)
    assert snapshot(config, tmp_path / "none.tar").points == 0
    report = restore(tmp_path / "none.tar", server)
    assert (report.points, report.done) == (0, True)
    assert read_points(server) == {}


def test_a_snapshot_names_no_other_host(config, source, tmp_path, server):
    """What it was made from may be anywhere, also in the network of who restores it."""
    create_collection(config, open_backend(source).get_indexes("family").in_use.card)
    remote = ["http://10.0.0.1/list.txt", "s3://somebody/photos"]
    with (
        OpenCollection.open(config) as opened,
        closing(Catalog(opened.index_dir / "catalogue.db")) as catalog,
    ):
        for root in ["/pictures", *remote]:
            catalog.add_root(root)
        catalog.add_hosts(["10.0.0.2:80"])
        catalog.commit()
    snapshot(config, tmp_path / "a.tar")
    for target in (server, replace(config, collection="again")):
        assert list(restore(tmp_path / "a.tar", target).unnamed_sources) == remote
        with (
            OpenCollection.open(target) as opened,
            closing(Catalog(opened.index_dir / "catalogue.db")) as catalog,
        ):
            assert (catalog.list_roots(), catalog.list_hosts()) == (["/pictures"], ())


def test_the_file_is_complete_or_missing(source, tmp_path):
    stop = threading.Event()
    stop.set()
    assert snapshot(source, tmp_path / "a.tar", stop=stop) is None
    with lock_for_writing(open_backend(source).local_dir("family")), pytest.raises(StoreBusyError):
        snapshot(source, tmp_path / "a.tar")

    def fail(_):
        raise OSError("the disk is full")

    (tmp_path / "a.tar").write_bytes(b"the one before")
    with pytest.raises(OSError, match="full"):
        snapshot(source, tmp_path / "a.tar", on_progress=fail)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tar"] == ["a.tar"]
    assert (tmp_path / "a.tar").read_bytes() == b"the one before"
    assert not list(tmp_path.glob(".a.tar*"))


def test_large_chunks_are_split(source, tmp_path, monkeypatch):
    monkeypatch.setattr("indexer.transfer.snapshot.MAX_MEMBER_BYTES", 60_000)
    snapshot(source, tmp_path / "small.tar")
    with tarfile.open(tmp_path / "small.tar") as tar:
        points = [m for m in tar if m.name.startswith("points/")]
    assert max(m.size for m in points) <= 60_000
    assert len({m.name.partition(".")[0] for m in points}) > 4


# Files that were tampered with.


def members(file) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def write_tar(path, parts: dict[str, bytes], *, digests: bool = True):
    """A tar of `parts`, with the right digests."""
    if digests:
        sums = {n: blake3(data).hexdigest() for n, data in parts.items() if n != "digests.json"}
        parts = {**parts, "digests.json": json.dumps(sums).encode()}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def assert_refused(path, config, why: str) -> None:
    backend = open_backend(config)
    before = backend.exists(config.collection)
    with pytest.raises(CollectionError, match=why):
        restore(path, config, "replace")
    assert backend.exists(config.collection) == before


@pytest.mark.parametrize("size", [0, 100, 512, 5000, -1, -1024, -2000])
def test_a_truncated_file(file, tmp_path, folder, size):
    data = file.read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:size])
    assert_refused(tmp_path / "cut.tar", folder, "cannot be restored.*Nothing has been changed")
    assert not (tmp_path / "destination").exists(), "nothing was started"


def test_a_changed_byte(file, tmp_path, folder):
    data = bytearray(file.read_bytes())
    position = data.index(b"0.png")
    data[position] ^= 1
    (tmp_path / "changed.tar").write_bytes(data)
    assert_refused(
        tmp_path / "changed.tar", folder, "payloads.jsonl was changed after it was written"
    )
    assert not (tmp_path / "destination").exists()


def test_other_files_than_snapshots(tmp_path, folder):
    for name, data in {"a": b"hello " * 200, "b": bytes(4096)}.items():
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, folder, "cannot be restored")
    with tarfile.open(tmp_path / "c", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"), io.BytesIO(b""))
    assert_refused(tmp_path / "c", folder, "not a file of indexer snapshot")


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/etc/passwd",
        "local/../../escaped",
        "local/feedback/../../../x",
        "local/tenants/../catalogue.db",
        "local/tenants/a/b/catalogue.db",
        "points/00000000.ids.npy/../x",
        "points/1.npy",
        "local/feedback/" + "a" * 64 + "/x",
        "collection.json",
        "points/" + "x" * 200,
    ],
)
def test_names_outside_the_archive(file, tmp_path, folder, name):
    path = write_tar(tmp_path / "bad.tar", {**members(file), name: b"x"})
    assert_refused(path, folder, "does not belong there|is not a plain file")
    assert {p.name for p in tmp_path.iterdir()} <= {"bad.tar"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"S", b"L"])
def test_members_that_are_not_files(file, tmp_path, folder, kind):
    with tarfile.open(tmp_path / "bad.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members(file).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == "local/catalogue.db":
                info.type, info.linkname, info.size = kind, "/etc/passwd", 0
            tar.addfile(info, io.BytesIO(data[: info.size]))
    assert_refused(tmp_path / "bad.tar", folder, "not a plain file|not belong|cannot be restored")


def test_a_duplicate_member(file, tmp_path, folder):
    path = write_tar(tmp_path / "bad.tar", members(file))
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("snapshot.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    assert_refused(path, folder, "does not belong there")


def test_a_member_that_is_too_large(file, tmp_path, folder, monkeypatch):
    monkeypatch.setattr("indexer.transfer.archive.MAX_MEMBER_BYTES", 1000)
    assert_refused(file, folder, r"bytes; the limit is 1,000")


def test_a_newer_format(file, tmp_path, folder):
    parts = members(file)
    content = json.loads(parts["snapshot.json"])
    for change, why in {
        "format": "update Polylens",
        "points": "cannot be read",
        "card": "cannot be read",
        "dense": "its vectors are",
        "collection": "expected 1-64 letters",
    }.items():
        bad = {**content, change: {"format": 99, "collection": "../x"}.get(change)}
        path = write_tar(tmp_path / "bad.tar", {**parts, "snapshot.json": json.dumps(bad).encode()})
        assert_refused(path, folder, why)
    bad = {**content, "card": {**content["card"], "dim": 1 << 40}}
    path = write_tar(tmp_path / "bad.tar", {**parts, "snapshot.json": json.dumps(bad).encode()})
    assert_refused(path, folder, "its dim, image_side and matryoshka are not all in")


class Evil:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def dump_header(fields: dict) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue()


def pickled_array() -> bytes:
    fields = {"descr": "|O", "fortran_order": False, "shape": (900,)}
    return dump_header(fields) + pickle.dumps([Evil()])


def oversized_array() -> bytes:
    """Its header claims 2 ** 60 rows."""
    return dump_header({"descr": "<f4", "fortran_order": False, "shape": (1 << 60, 48)})


def floats(*rows: float) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(rows, np.float32))
    return out.getvalue()


def integers(*rows: int) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(rows, np.int64))
    return out.getvalue()


@pytest.mark.parametrize(
    ("end", "data"),
    [
        ("image.npy", pickled_array()),
        ("image.npy", oversized_array()),
        ("image.npy", b""),
        ("image.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 0x76),
        ("image.rows.npy", integers(-1)),
        ("image.rows.npy", integers(900)),
        ("image.rows.npy", floats(0.0)),
        ("bm25.lengths.npy", integers(*([1 << 39] * 512))),
        ("bm25.lengths.npy", integers(1, 2)),
        ("thumbs.lengths.npy", integers(*([1] * 512))),
        ("payloads.jsonl", b"[" * 100_000 + b"\n"),
        ("payloads.jsonl", b"[]\n" * 512),
        ("payloads.jsonl", b'{"a": NaN}\n' * 512),
        ("payloads.jsonl", b"\xff\n" * 512),
        ("payloads.jsonl", b"{}\n" * 511),
    ],
)
def test_invalid_arrays(file, tmp_path, server, monkeypatch, end, data):
    monkeypatch.chdir(tmp_path)
    parts = members(file)
    assert f"points/00000000.{end}" in parts
    path = write_tar(tmp_path / "bad.tar", {**parts, f"points/00000000.{end}": data})
    assert_refused(path, server, "chunk 0 is invalid")
    assert not (tmp_path / "pwned").exists()


def test_numbers_that_are_not_finite(file, tmp_path, server):
    parts = members(file)
    image = bytearray(parts["points/00000000.image.npy"])
    image[-4:] = np.float32(np.nan).tobytes()
    path = write_tar(tmp_path / "bad.tar", {**parts, "points/00000000.image.npy": bytes(image)})
    assert_refused(path, server, "not finite")


def test_fewer_points_than_the_header_says(file, tmp_path, server):
    parts = {n: data for n, data in members(file).items() if not n.startswith("points/00000001")}
    path = write_tar(tmp_path / "bad.tar", parts)
    assert_refused(path, server, "900 points were expected, and 512 were found")
    parts = {n: data for n, data in members(file).items() if not n.startswith("points/00000000")}
    path = write_tar(tmp_path / "bad.tar", parts)
    assert_refused(path, server, "some of its points are missing")


def test_a_catalog_with_a_trigger_is_not_restored(file, tmp_path, server):
    parts = members(file)
    evil = tmp_path / "evil.db"
    evil.write_bytes(parts["local/catalogue.db"])
    with closing(sqlite3.connect(evil)) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM contents; END")
        db.commit()
    for data in (evil.read_bytes(), b"no database", parts["local/catalogue.db"][:5000]):
        path = write_tar(tmp_path / "bad.tar", {**parts, "local/catalogue.db": data})
        assert restore(path, server, "replace").catalogs == 0


def test_votes_that_name_other_files_are_not_restored(file, tmp_path, server):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"a secret")
    parts = members(file)
    lines = parts["local/feedback.jsonl"].splitlines()
    vote = json.loads(lines[0])
    for image in (str(secret), "../../secret.png", "feedback/../../secret.png"):
        vote["query"]["parts"][1]["image"] = image
        data = json.dumps(vote).encode() + b"\n" + lines[1] + b"\n"
        path = write_tar(tmp_path / "bad.tar", {**parts, "local/feedback.jsonl": data})
        restore(path, server, "replace")
    folder = open_backend(server).local_dir(server.collection)
    assert [vote.vote for vote in read_votes(folder)] == [-1]
    assert not list(folder.glob("feedback/*"))
