"""A collection of the sample pictures, ingested once, and the app's settings pointed at it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from indexer.stores.edge.state import read_state
from tests.programs import run_program

LAYOUT = Path(__file__).parents[2] / "app" / "layout.py"


@pytest.fixture(autouse=True)
def own_main_module(monkeypatch) -> None:
    """Streamlit makes its script `__main__`; processes spawned later would run that script."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def permissions(tmp_path):
    """What the server says that visitors may do: read what tests make, name any model."""
    from app.permissions import Permissions, _permissions, set_permissions

    set_permissions(Permissions(roots=(str(tmp_path),), is_private=True))
    yield
    _permissions.clear()


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """A store with the samples in it, made by the command line.

    Workers of xdist copy what the first of them has made.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "samples"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            done = run_program("indexer", "ingest", "samples", "--store", made, "--quiet")
            assert done.returncode == 0, done.stderr
            while not (state := read_state(made / "default")) or not state.is_clean:
                time.sleep(0.05)  # the server process ends soon after its last client
    return shutil.copytree(made, tmp_path_factory.mktemp("library") / "store")


@pytest.fixture
def app_store(library, monkeypatch) -> Path:
    """The app reads this store, and forgets it after the test."""
    return _use_store(library, monkeypatch)


@pytest.fixture
def empty_store(tmp_path, monkeypatch) -> Path:
    return _use_store(tmp_path / "nothing", monkeypatch)


def _use_store(store: Path, monkeypatch) -> Path:
    from app import services

    monkeypatch.setenv("POLYLENS_STORE", str(store))
    services.configure()
    return store


CHANGE = {
    "recall@10": (0.4, 0.65, 0.25, 0.1, 0.4, 0.002),
    "mrr": (0.3, 0.31, 0.01, -0.1, 0.12, 0.8),
}
MODEL = {"fingerprint": "f", "dim": 384}
BENCHMARK = {
    "name": "held-out",
    "source": "x",
    "queries": 3,
    "documents": 2,
    "digest": "d",
    "macro": False,
    "means": {},
}


@pytest.fixture
def run_folder(tmp_path, photo) -> Path:
    """A run in the folder of runs that is the default, written by hand: two queries, of which one
    fell from place 1 to 3."""
    from indexer.config import load_config

    folder = Path(load_config().runs) / "shop"
    red, gone = photo(tmp_path / "shop" / "red.jpg", "red"), tmp_path / "shop" / "gone.jpg"
    result = folder / "evaluation" / "held-out"
    write_json(folder / "run.json", run_json("shop"))
    log = [{"step": step, "loss": 4.0 - step / 5, "lr": 1e-4} for step in range(1, 11)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    (folder / "README.md").write_text("# shop\n\n![x](https://example.org/x.png) the card\n")
    for when, recall, ranks in (("before", 0.4, (1, 2)), ("after", 0.65, (3, 1))):
        write_json(result / when / "report.json", report_json(when, recall))
        ranked = zip("ab", ranks, strict=True)
        lines = [query_json(id, rank, str(red), str(gone)) for id, rank in ranked]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (result / when / "queries.jsonl").write_text(text)
    names = ("before", "after", "difference", "low", "high", "p")
    overall = {m: dict(zip(names, values, strict=True)) for m, values in CHANGE.items()}
    comparison = {
        "format": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "before": MODEL | {"name": "before"},
        "after": MODEL | {"name": "after"},
        "benchmark": BENCHMARK,
        "main": "recall@10",
        "overall": overall,
        "means": {},
        "groups": [],
        "worst": ["a"],
        "verdict": "better, beyond chance",
    }
    write_json(result / "comparison.json", comparison)
    return folder


def run_json(name: str) -> dict:
    return {
        "format": 1,
        "name": name,
        "created": "2026-01-02T03:04:05+00:00",
        "status": "done",
        "preset": "starter-head",
        "base": {"name": "starter", "fingerprint": "f"},
        "steps": 10,
        "seconds": 5,
        "data": [],
        "languages": ["de", "ja"],
        "pairs": 1234,
    }


def report_json(model: str, recall: float) -> dict:
    metrics = {
        "recall@10": {"mean": recall, "low": recall - 0.1, "high": recall + 0.1},
        "mrr": {"mean": 0.3, "low": 0.2, "high": 0.4},
    }
    groups = [
        {"direction": way, "language": language, "dataset": None, "queries": 1, "metrics": metrics}
        for way, language in (("t2i", "de"), ("t2i", "ja"), ("i2t", "de"))
    ]
    return {
        "format": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "model": MODEL | {"name": model},
        "benchmark": BENCHMARK,
        "main": "recall@10",
        "metrics": metrics,
        "means": {},
        "groups": groups,
    }


def query_json(id: str, rank: int, red: str, gone: str) -> dict:
    """A query in words: a picture that is gone, words and a red picture were found for it."""
    pictures = [{"text": None, "image": path} for path in (red, gone)]
    return {
        "id": id,
        "direction": "t2i",
        "language": "de",
        "dataset": None,
        "cluster": id,
        "text": f"<b>query</b> {id}",
        "image": None,
        "relevant": pictures[:1],
        "found": [pictures[1], {"text": "something else", "image": None}, pictures[0]],
        "scores": [0.9, 0.8, 0.7],
        "rank": rank,
        "gold": None,
        "metrics": {"mrr": 1 / rank},
    }


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def page():
    """`page(q=[...])` runs the Search page with that address."""

    from streamlit.testing.v1 import AppTest

    def run(**address) -> AppTest:
        tested = AppTest.from_file(str(LAYOUT), default_timeout=60)
        for key, value in address.items():
            tested.query_params[key] = value
        tested.run()
        assert not tested.exception, tested.exception
        return tested

    return run
