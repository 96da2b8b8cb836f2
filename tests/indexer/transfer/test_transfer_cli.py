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
def run_cli(monkeypatch, server):
    """`run_cli(words)`: the exit status, stdout and stderr."""
    monkeypatch.setenv("POLYLENS_QDRANT_RETRY_SECONDS", "5")
    if server.qdrant_api_key:
        monkeypatch.setenv("QDRANT_API_KEY", server.qdrant_api_key)

    def run(*words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(words))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


def test_migrate(run_cli, source, server):
    words = ("migrate", source.store, server.store, "--collection", "family")
    destination = ("--to", server.collection)
    code, out, err = run_cli(*words, *destination, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["points"], report["copied"], report["checked"]) == (900, 900, 256)
    assert (report["store"], report["collection"]) == (server.store, server.collection)
    assert report["points_per_second"] > 0
    with pytest.raises(CollectionError, match="--merge"):
        run_cli(*words, *destination)
    code, out, err = run_cli(*words, *destination, "--replace")
    assert "has 900 points: 900 copied in 0:" in out
    assert f"indexer reindex --rollback --store {server.store}" in err
    code, out, _ = run_cli(*words, *destination, "--merge")
    assert "0 copied" in out
    assert "900 were there already" in out


def test_snapshot_and_restore(run_cli, source, server, tmp_path):
    code, out, _ = run_cli(
        "snapshot", "--store", source.store, "--collection", "family", "-o", str(tmp_path), "--json"
    )
    report = json.loads(out)
    (file,) = tmp_path.glob("family-*.polylens.tar")
    assert (code, report["file"], report["points"]) == (0, str(file), 900)
    assert report["bytes"] == file.stat().st_size
    code, out, _ = run_cli(
        "restore", str(file), "--store", server.store, "--collection", server.collection
    )
    assert code == 0
    assert f"'{server.collection}' in {server.store} has 900 points" in out
    with pytest.raises(CollectionError, match=r"'family' in .* already exists"):
        run_cli("restore", str(file), "--store", source.store)


def test_stopped(run_cli, source, server, tmp_path, monkeypatch):
    @contextmanager
    def stopped():
        stop = threading.Event()
        stop.set()
        yield stop

    monkeypatch.setattr("indexer.cli._progress.stop_on_signal", stopped)
    words = ("migrate", source.store, server.store, "--collection", "family")
    code, out, err = run_cli(*words, "--to", server.collection, "--json")
    assert (code, json.loads(out)["interrupted"]) == (130, True)
    assert "the same command continues" in err
    code, _, err = run_cli(
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
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.replace("│", "").split())


def test_the_rate_of_a_continued_copy():
    rate = Rate()
    assert rate(IngestProgress("begin", 500, 1000, 0, 0.0)) == (0.0, None)
    speed, left = rate(IngestProgress("copy", 600, 1000, 0, 10.0))
    assert (speed, left) == (10.0, 40.0)
    line = format_progress(IngestProgress("copy", 600, 1000, 0, 10.0), speed, left)
    assert line == "600 of 1000 points, 10.0/s, 0:40 left"
