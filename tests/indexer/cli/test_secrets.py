"""A password in a URL and a key in the settings: on no screen, and nowhere on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.config import load_config
from tests.programs import run_program

SECRET = "swordfish"
STORE = f"http://me:{SECRET}@127.0.0.1:1"
MODEL = f"http://me:{SECRET}@127.0.0.1:1/v1"
KEYS = dict.fromkeys(
    ("QDRANT_API_KEY", "QDRANT_READ_API_KEY", "QDRANT_SOURCE_API_KEY", "POLYLENS_MODEL_API_KEY"),
    SECRET,
)
OUTAGE = {"POLYLENS_QDRANT_RETRY_SECONDS": "0"}


def assert_no_secret_under(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert SECRET not in str(path.relative_to(folder))
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("indexer", ["config", "show"]),
        ("indexer", ["config", "show", "--json"]),
        ("indexer", ["status"]),
        ("indexer", ["status", "--json"]),
        ("indexer", ["collections", "list"]),
        ("indexer", ["doctor", "--json"]),
        ("indexer", ["plan", "--images", "1M", "--dim", "8"]),
        ("indexer", ["plan", "--images", "1M"]),
        ("indexer", ["--debug", "search", "red"]),
        ("indexer", ["--debug", "ingest", "pictures"]),
        ("indexer", ["migrate", STORE, "elsewhere"]),
        ("indexer", ["migrate", STORE.replace("http", "ftp"), "elsewhere"]),
        ("indexer", ["status", "--store", STORE.replace(":1", ":port")]),
        ("indexer", ["status", "--store", f"http://me:{SECRET}/x@127.0.0.1:1"]),
        ("indexer", ["ingest", f"https://me:{SECRET}@127.0.0.1/folder"]),
        ("embedder", ["--debug", "info", "--model", MODEL]),
        ("embedder", ["info", "--model", f"{MODEL}?api_key={SECRET}", "--json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_no_command_prints_a_secret(indexer, pictures, program, arguments):
    env = {**indexer.environment, **KEYS, **OUTAGE}
    env |= {"POLYLENS_STORE": STORE, "POLYLENS_MODEL": MODEL}
    done = run_program(program, *arguments, cwd=indexer.folder, env=env)
    assert done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert_no_secret_under(indexer.folder)


def test_config_show_masks_every_url(indexer):
    answer = indexer.json("config", "show", POLYLENS_MODEL=MODEL, POLYLENS_STORE=STORE, **KEYS)
    assert answer["model"]["value"] == "http://me:***@127.0.0.1:1/v1"
    assert answer["store"]["value"] == "http://me:***@127.0.0.1:1"
    assert answer["model_api_key"]["value"] == "***"


def test_an_ingest_keeps_no_password_of_the_server(indexer, pictures, qdrant):
    """The folder of 0.1.0 was named after the whole URL: what it holds moves along."""
    store = qdrant.url.replace("://", f"://me:{SECRET}@")
    env = {"POLYLENS_STORE": store, "QDRANT_API_KEY": qdrant.api_key or ""}
    servers = indexer.folder / "data" / "polylens" / "servers"
    host = qdrant.url.rpartition("//")[2].replace(":", "_")
    old = servers / f"http_me_{SECRET}_{host}"
    (old / "votes").mkdir(parents=True)
    (old / "votes" / "kept.txt").write_text("kept")
    collection = qdrant.name("family")
    done = indexer("ingest", pictures, "--collection", collection, **env)
    assert done.returncode == 0, done.stderr
    status = indexer.json("status", "--collection", collection, **env)
    assert Path(status["path"]) == servers / f"http_{host}" / collection
    assert (servers / f"http_{host}" / "votes" / "kept.txt").read_text() == "kept"
    assert_no_secret_under(indexer.folder)
    assert SECRET not in done.stdout + done.stderr + str(status)


def test_a_name_that_both_folders_have_is_kept_twice(tmp_path, monkeypatch):
    from indexer.collections import open_backend

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    config = load_config({"store": STORE})
    new = config.local_folder
    assert new.name == "http_127.0.0.1_1"
    old = new.with_name(f"http_me_{SECRET}_127.0.0.1_1")
    for folder in (old, new):
        (folder / "family").mkdir(parents=True)
        (folder / "family" / "which.txt").write_text(folder.name)
    open_backend(config)
    open_backend(config)
    assert not old.exists()
    assert (new / "family" / "which.txt").read_text() == new.name
    assert (new / "family~" / "which.txt").read_text() == old.name


def test_a_url_without_a_secret_keeps_its_folder(tmp_path, monkeypatch):
    """The name is as in 0.1.0."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = load_config({"store": "https://qdrant.example.com:6333/index"}).local_folder
    assert folder.name == "https_qdrant.example.com_6333_index"
