"""A collection in a folder that this account, or everybody, can only read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import services
from app.media import build_routes, save_upload, thumbnail_url
from embedder.families import registry
from indexer.config import load_config
from indexer.errors import StoreError
from indexer.feedback import Vote, VotedQuery, record_votes
from indexer.stores.base import Schema
from indexer.stores.edge import read_only
from indexer.stores.edge.store import EdgeStore
from indexer.types import QueryTerm


@pytest.fixture
def read_only_store(indexer, photo):
    """Two pictures, one without a thumbnail, on what is a read-only disk for root."""
    for name in ("red", "blue"):
        photo(indexer.folder / "pictures" / f"{name}.jpg", name)
    (indexer.folder / "pictures" / "red.txt").write_text("a red card")
    assert indexer("ingest", indexer.folder / "pictures").returncode == 0
    store = indexer.folder / "store"
    next(iter(store.glob("default/thumbs/*/*.jpg"))).unlink()
    server = json.loads((store / "default" / "keeper.json").read_text())["pid"]
    os.kill(server, signal.SIGTERM)
    while (store / "default" / "keeper.json").exists():
        time.sleep(0.02)
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    if os.getuid():
        for folder in folders:
            folder.chmod(0o500)
        yield store
        for folder in folders:
            folder.chmod(0o700)
        return
    bind = subprocess.run(["mount", "--bind", store, store], check=False, capture_output=True)
    if bind.returncode:
        pytest.skip(f"root cannot mount here: {bind.stderr.decode()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", store], check=True)
        yield store
    finally:
        subprocess.run(["umount", "--lazy", store], check=True)


def test_a_read_only_store_can_be_searched_and_says_that_it_cannot_be_written(
    indexer, read_only_store
):
    before = {path: path.lstat().st_mtime_ns for path in read_only_store.rglob("*")}
    assert indexer.json("search", "red")["hits"][0]["path"].endswith("red.jpg")
    assert indexer.json("similar", indexer.folder / "pictures" / "red.jpg")["hits"]
    status = indexer.json("status")
    assert (status["points"], len(status["roots"])) == (2, 1)
    assert indexer.json("export", "--output", indexer.folder / "x.jsonl")["points"] == 2
    snapshot = indexer.json("snapshot", "--output", indexer.folder / "x.tar")
    assert (snapshot["points"], snapshot["catalogs"]) == (2, 1)
    doctor = indexer.json("doctor")
    states = {check["name"]: check["state"] for check in doctor["checks"]}
    assert doctor["ok"], doctor
    assert set(states) >= {"disk", "store", "catalog"}, doctor
    assert (states["disk"], states["store"], states["catalog"]) == ("note", "ok", "ok")
    for command in (["ingest", indexer.folder / "pictures"], ["prune"], ["doctor", "--repair"]):
        done = indexer(*command)
        assert done.returncode, command
        assert "is read-only for this account" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
    with pytest.raises(StoreError, match="is writable"):
        record_votes(
            read_only_store / "default",
            Vote(VotedQuery((QueryTerm(text="red"),), {}), "id", "", 1),
        )
    assert {path: path.lstat().st_mtime_ns for path in read_only_store.rglob("*")} == before


def test_its_points_cannot_be_written_by_a_client(read_only_store):
    store = EdgeStore(read_only_store / "default")
    store.ensure(Schema((("image", 64), ("text", 64)), ("bm25",), ()))
    with pytest.raises(StoreError, match="is read-only for this account"):
        store.delete(["00000000-0000-0000-0000-000000000000"])
    assert store.count() == 2
    store.close()


def test_the_app_shows_its_pictures(read_only_store, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", (registry.Family("colors", "tests.embedders"),))
    services.configure(load_config({"store": str(read_only_store)}))
    client = TestClient(Starlette(routes=list(build_routes())))
    for record in services.open_searcher("default").collection.store.scroll()[0]:
        if record.payload["kind"] == "image":
            answer = client.get("/" + thumbnail_url("default", record.id))
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    name = save_upload(photo(tmp_path / "query.jpg", "green").read_bytes())
    assert client.get(f"/picture/query/{name}").status_code == 200
    services.configure()


def test_a_copy_has_the_holes_of_the_original(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    read_only._copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1 << 20


def test_copies_of_killed_server_processes_are_deleted(tmp_path):
    stale = tmp_path / "read-only-1-2"
    (stale / "copy").mkdir(parents=True)
    (stale / "keeper.lock").touch()
    read_only.delete_stale_copies(tmp_path)
    assert [path.name for path in stale.iterdir()] == ["keeper.lock"]
