"""What earlier versions left on disk and on a server opens, searches and ingests "unchanged"."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

import embedder
from tests.programs import run_program

HERE = Path(__file__).parent
ARCHIVES = sorted(HERE.glob("*.tar.gz"))


def _recorder():
    spec = importlib.util.spec_from_file_location("record", HERE / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = _recorder()
PLACE = record.PLACE
COLLECTION = PLACE / "store" / "default" / "collection.json"


def run(name: str, *arguments: object, store: str = "", code: int = 0) -> dict:
    """`NAME ARGUMENTS --json` in the recorded folder; returns its object."""
    env = record.environment() | ({"POLYLENS_STORE": store} if store else {})
    done = run_program(name, *arguments, "--json", cwd=PLACE, env=env)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=ARCHIVES, ids=[archive.name for archive in ARCHIVES])
def recorded(request) -> Iterator[dict]:
    """The archive, unpacked where it was recorded; what that version answered."""
    if PLACE.resolve() != PLACE:
        pytest.skip(f"{PLACE} is a link here, and catalogs keep resolved paths")
    with PLACE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of these tests uses the same folder
        shutil.rmtree(PLACE, ignore_errors=True)
        PLACE.mkdir(parents=True)
        subprocess.run(["tar", "-C", PLACE, "-xzf", request.param], check=True)
        yield json.loads((PLACE / "expected.json").read_text("utf-8"))
        stop_shard_servers()
        shutil.rmtree(PLACE)


def stop_shard_servers() -> None:
    """They would outlive their folder for a moment, and meet the next test's."""
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument.startswith(str(PLACE)) for argument in process.info["cmdline"] or ())
    ]
    for process in servers:
        process.terminate()
    psutil.wait_procs(servers, timeout=10)


def adopt_starter(recorded: dict, *files: Path) -> None:
    """Let the recorded vectors pass for those of the installed starter, which may be a later one:
    formats are tested here."""
    before = recorded["status"]["card"]["fingerprint"]
    after = embedder.describe_model("starter").fingerprint
    for file in files:
        file.write_text(file.read_text("utf-8").replace(before, after), "utf-8")


def check_search(found: dict, expected: dict) -> None:
    """Versions may rank in another order; all points are there, as they were."""
    assert found["hits"][0]["id"] == expected["hits"][0]["id"]
    payloads, before = ({h["id"]: h["payload"] for h in a["hits"]} for a in (found, expected))
    assert payloads == before


def check_ingest(report: dict, expected: dict) -> None:
    assert report["added"] == report["updated"] == report["removed"] == 0
    assert report["unchanged"] == report["files"] == expected["ingest"]["files"]


def test_a_collection_in_a_folder(recorded):
    status = run("indexer", "status")
    assert status["card"]["fingerprint"] == recorded["status"]["card"]["fingerprint"]
    assert status["points"] == recorded["status"]["points"]
    assert (status["names"], status["needs_update"]) == (False, True)
    adopt_starter(recorded, COLLECTION)
    check_search(run("indexer", "search", "a tiger"), recorded["search"])
    check_ingest(run("indexer", "ingest", PLACE / "library"), recorded)
    status = run("indexer", "status")
    assert (status["names"], status["needs_update"]) == (True, False)
    assert run("indexer", "doctor")["ok"]


def test_a_collection_of_an_earlier_starter(recorded):
    """It says what to do, and that helps."""
    before = recorded["status"]["card"]["fingerprint"]
    if embedder.describe_model("starter").fingerprint == before:
        pytest.skip("the installed starter is the recorded one")
    assert run("indexer", "status")["needs_reindex"] is True
    with pytest.raises(AssertionError, match="indexer reindex --model starter"):
        run("indexer", "search", "a tiger")
    run("indexer", "reindex", "--model", "starter")
    assert run("indexer", "status")["needs_reindex"] is False
    found = run("indexer", "search", "a tiger")["hits"][0]["id"]
    assert found == recorded["search"]["hits"][0]["id"]


def test_a_snapshot(recorded):
    store = str(PLACE / "restored")
    run("indexer", "restore", PLACE / "default.polylens.tar", store=store)
    adopt_starter(recorded, PLACE / "restored" / "default" / "collection.json")
    check_search(run("indexer", "search", "a tiger", store=store), recorded["search"])


def test_votes(recorded):
    pairs = PLACE / "voted.jsonl"
    run("finetune", "pairs", "--from-feedback", "--out", pairs)
    (pair,) = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    assert "a big cat" in json.dumps(pair)
    assert "tiger" in json.dumps(pair)


def test_an_adapter(recorded):
    record.tiny().build("e5v", PLACE / "e5v")
    vectors = record.vectors(str(PLACE / "runs" / "adapter"))
    np.testing.assert_allclose(vectors, recorded["vectors"]["adapter"], atol=1e-5)


def test_a_run(recorded):
    """A run that was done is known to be done, and is left as it is."""
    record.tiny().build("e5v", PLACE / "e5v")
    folder = PLACE / "runs" / "adapter"
    before = (folder / "run.json").read_bytes()
    with pytest.raises(AssertionError, match="is done"):
        run("finetune", *record.ADAPTER, "--out", folder)
    assert (folder / "run.json").read_bytes() == before


def test_the_starter(recorded):
    """It makes the same vectors, or has another fingerprint."""
    before = recorded["status"]["card"]["fingerprint"]
    if embedder.describe_model("starter").fingerprint != before:
        pytest.skip("the installed starter is a later version")
    np.testing.assert_allclose(record.vectors("starter"), recorded["vectors"]["starter"], atol=1e-5)


@pytest.mark.needs_faults
def test_a_collection_on_a_server(recorded, qdrant):
    """It was ingested by a machine of which nothing else is left."""
    adopt_starter(recorded, PLACE / "server.json")
    for method, path, body in json.loads((PLACE / "server.json").read_text("utf-8")):
        httpx.request(method, qdrant.url + path, json=body).raise_for_status()
    status = run("indexer", "status", store=qdrant.url)
    assert status["points"] == recorded["status"]["points"]
    check_search(run("indexer", "search", "a tiger", store=qdrant.url), recorded["search"])
    report = run("indexer", "ingest", PLACE / "library", store=qdrant.url)
    check_ingest(report, recorded)
    status = run("indexer", "status", store=qdrant.url)
    assert (status["names"], status["needs_update"]) == (True, False)
