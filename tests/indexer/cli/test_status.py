"""`indexer status`, `models` and `config show`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_status_as_json(library):
    answer = library.json("status")
    assert answer["points"] == 4
    assert answer["kinds"] == {"pictures": 3, "passages": 1}
    assert answer["model"] == "colors"
    assert answer["card"]["fingerprint"] == "colors-1"
    assert answer["card"]["dim"] == 48
    assert answer["bytes_on_disk"] > 0
    assert answer["ingested"] >= answer["created"]
    assert answer["collections"] == ["default"]


def test_the_printed_status(library):
    done = library("status")
    assert "4 (3 pictures, 1 passage)" in done.stdout
    assert "colors" in done.stdout


def test_the_size_on_disk_counts_every_thumbnail(indexed):
    """Although only a sample of them is read."""
    before = indexed.json("status")["bytes_on_disk"]
    thumbs = indexed.folder / "store" / "default" / "thumbs" / "zz"
    thumbs.mkdir()
    for i in range(100):
        (thumbs / f"{i}.jpg").write_bytes(b"x" * 8192)
    each = (thumbs / "0.jpg").stat().st_blocks * 512
    assert indexed.json("status")["bytes_on_disk"] - before == pytest.approx(100 * each, rel=0.1)


def test_status_is_light(indexed):
    """A closed store is described by its files alone."""
    state = indexed.folder / "store" / "default" / "shard.json"
    while not json.loads(state.read_text())["clean"]:  # the shard server ends in its own time
        time.sleep(0.05)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "indexer", "status", "--json"],
        env={**indexed.environment, "POLYLENS_MODEL": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert json.loads(done.stdout)["points"] == 4
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    roots = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert not roots & {"numpy", "torch", "PIL", "qdrant_client", "qdrant_edge", "rich"}


def test_status_counts_a_store_that_was_not_closed(indexed):
    path = indexed.folder / "store" / "default"
    while (path / "keeper.json").exists() or not json.loads((path / "shard.json").read_text())[
        "clean"
    ]:
        time.sleep(0.05)
    (path / "shard.json").write_text('{"points": 0, "clean": false}')
    assert indexed.json("status")["points"] == 4


def test_models(indexer):
    answer = indexer.json("models")
    assert [card["name"] for card in answer["models"]] == ["colors", "shades"]
    assert indexer.json("models", "--model", "colors")["models"] == answer["models"][:1]
    assert "colors" in indexer("models").stdout
    done = indexer("models", "--model", "nobody")
    assert done.returncode == 1
    assert "nobody" in done.stderr


def test_config_show_names_the_origin(indexer):
    (indexer.folder / "polylens.toml").write_text("batch = 7\ndecode_threads = 2\n")
    (indexer.folder / ".env").write_text("POLYLENS_DECODE_THREADS=3\n")
    answer = indexer.json("config", "show", "--collection", "family")
    assert answer["batch"] == {"value": 7, "origin": "polylens.toml"}
    assert answer["decode_threads"] == {"value": 3, "origin": ".env"}
    assert answer["collection"] == {"value": "family", "origin": "flag"}
    assert answer["store"]["origin"] == "environment"
    assert answer["max_pixels"] == {"value": 150_000_000, "origin": "default"}


def test_config_show_hides_secrets(indexer):
    secrets = {"QDRANT_API_KEY": "swordfish", "POLYLENS_STORE": "https://me:swordfish@host:6333"}
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        done = indexer(*arguments, **secrets)
        assert done.returncode == 0
        assert "swordfish" not in done.stdout
        assert "https://me:***@host:6333" in done.stdout
    assert "environment" in os.linesep.join(done.stdout.splitlines())
