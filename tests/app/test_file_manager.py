"""Opening the folder of a file: for whoever sits at this machine, and in allowed folders."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import api, file_manager
from app.permissions import Permissions, set_permissions
from app.services import open_searcher

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def opened(monkeypatch, tmp_path) -> Path:
    """A file manager that writes down what it is given, and its process."""
    program, out = tmp_path / "bin" / "xdg-open", tmp_path / "opened"
    program.parent.mkdir()
    write = f"printf '%s\\n' \"$1\" $$ > {out}.part; mv {out}.part {out}"
    program.write_text(f"#!/bin/sh\n{write}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    return out


@pytest.fixture
def item(app_store):
    set_permissions(Permissions(roots=(str(SAMPLES),), is_private=True))
    records, _ = open_searcher("default").collection.store.scroll(limit=1000)
    return next(record for record in records if record.payload["name"] == "chelsea.jpg")


def make_client(host: str = "127.0.0.1") -> TestClient:
    routes = [*file_manager.build_routes(), *api.build_routes()]
    return TestClient(Starlette(routes=routes), client=(host, 1))


def reveal(client, item, path: str | None = None):
    given = {"id": item.id, "path": path or item.payload["paths"][0]}
    return client.post("/api/reveal", params={"c": "default"}, json=given)


def can_reveal(client, item) -> bool:
    return client.get(f"/api/items/default/{item.id}").json()["can_reveal"]


def test_the_folder_of_a_file_is_opened(opened, item):
    client = make_client()
    assert can_reveal(client, item)
    assert reveal(client, item).status_code == 200
    while not opened.exists():
        time.sleep(0.01)
    folder, pid = opened.read_text().splitlines()
    assert Path(folder) == SAMPLES / "animals"
    with pytest.raises(ProcessLookupError):
        while True:  # until it has ended, and is no zombie
            os.kill(int(pid), 0)
            time.sleep(0.01)


def test_visitors_of_other_machines_and_of_a_shared_app_open_nothing(opened, item):
    assert reveal(make_client("192.0.2.7"), item).status_code == 400
    set_permissions(Permissions(roots=(str(SAMPLES),)))
    client = make_client()
    assert not can_reveal(client, item)
    assert "only on the machine" in reveal(client, item).json()["error"]
    assert not opened.exists()


def test_only_paths_of_the_item_in_allowed_folders_are_opened(opened, item, tmp_path):
    client = make_client()
    assert reveal(client, item, str(SAMPLES / "animals" / "black-cat.webp")).status_code == 404
    assert client.post("/api/reveal?c=default", content=b"{}").status_code == 400
    set_permissions(Permissions(roots=(str(tmp_path),), is_private=True))
    assert "may not be read" in reveal(client, item).json()["error"]
    assert not opened.exists()


def test_a_machine_without_a_screen_offers_nothing(opened, item, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not can_reveal(make_client(), item)
