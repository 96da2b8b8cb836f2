"""The commands: what they print, their exit status, and what is wrong usage."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from indexer.cli import app
from indexer.cli._progress import Rate, format_progress
from indexer.errors import CollectionError
from indexer.types import IngestProgress


@pytest.fixture
def type_(monkeypatch, server):
    """`type_(words)`: the exit status, stdout and stderr."""
    monkeypatch.setenv("POLYLENS_QDRANT_RETRY_SECONDS", "5")
    if server.qdrant_api_key:
        monkeypatch.setenv("QDRANT_API_KEY", server.qdrant_api_key)

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, list(words))
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


def test_migrate(type_, source, server):
    words = ("migrate", source.store, server.store, "--collection", "family")
    there = ("--to", server.collection)
    code, out, err = type_(*words, *there, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["points"], told["copied"], told["checked"]) == (900, 900, 256)
    assert (told["store"], told["collection"]) == (server.store, server.collection)
    assert told["points_per_second"] > 0
    with pytest.raises(CollectionError, match="--merge"):
        type_(*words, *there)
    code, out, err = type_(*words, *there, "--replace", "--quiet")
    assert "has 900 points: 900 copied in 0:" in out
    assert f"indexer reindex --rollback --store {server.store}" in err
    code, out, _ = type_(*words, *there, "--merge")
    assert "0 copied" in out
    assert "900 were there already" in out


def test_snapshot_and_restore(type_, source, server, tmp_path):
    code, out, _ = type_(
        "snapshot", "--store", source.store, "--collection", "family", "-o", str(tmp_path), "--json"
    )
    told = json.loads(out)
    (file,) = tmp_path.glob("family-*.polylens.tar")
    assert (code, told["file"], told["points"]) == (0, str(file), 900)
    assert told["bytes"] == file.stat().st_size
    code, out, _ = type_(
        "restore", str(file), "--store", server.store, "--collection", server.collection
    )
    assert code == 0
    assert f"'{server.collection}' in {server.store} has 900 points" in out
    with pytest.raises(CollectionError, match=r"'family' in .* already exists"):
        type_("restore", str(file), "--store", source.store)


def test_stopped(type_, source, server, tmp_path, monkeypatch):
    @contextmanager
    def stopped():
        stop = threading.Event()
        stop.set()
        yield stop

    monkeypatch.setattr("indexer.cli._progress.stop_on_signal", stopped)
    words = ("migrate", source.store, server.store, "--collection", "family")
    code, out, err = type_(*words, "--to", server.collection, "--json")
    assert (code, json.loads(out)["interrupted"]) == (130, True)
    assert "the same command continues" in err
    code, _, err = type_(
        "snapshot", "--store", source.store, "--collection", "family", "-o", str(tmp_path / "a.tar")
    )
    assert code == 130
    assert "unfinished file was deleted" in err
    assert not (tmp_path / "a.tar").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("migrate", "a", "b", "--merge", "--replace"), "either --merge or --replace"),
        (("migrate", "a", "ftp://b"), "a folder or an http(s) URL"),
        (("migrate", "a", "b", "--shards", "x"), "shards = 'x'"),
        (("migrate", "a", "b", "--to", "../c"), "collection = '../c'"),
    ],
)
def test_wrong_usage(words, why):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert why in " ".join(done.stderr.replace("│", "").split())


def test_the_rate_of_a_continued_copy():
    rate = Rate()
    assert rate(IngestProgress("begin", 500, 1000, 0, 0.0)) == (0.0, None)
    speed, left = rate(IngestProgress("copy", 600, 1000, 0, 10.0))
    assert (speed, left) == (10.0, 40.0)
    told = format_progress(IngestProgress("copy", 600, 1000, 0, 10.0), speed, left)
    assert told == "600 of 1000 points, 10.0/s, 0:40 left"
