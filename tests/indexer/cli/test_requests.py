"""How many requests the command line sends to a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from indexer.collections.schema import make_schema
from indexer.stores.base import Layout
from indexer.stores.qdrant.schema import make_payload_indexes
from indexer.stores.qdrant.server import get_server

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.needs_faults  # only the stand-in counts


@pytest.fixture
def run(indexer, qdrant):
    """`run("search", "banana")` runs the command on the server and returns the requests."""

    def run(*arguments: object) -> list[str]:
        qdrant.faults.clear()
        get_server.cache_clear()  # as in a process of its own
        done = indexer(*arguments, POLYLENS_STORE=qdrant.url)
        assert done.returncode == 0, done.stderr
        return sorted(qdrant.faults.seen.elements())

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "one").mkdir()
    shutil.copy(ROOT / "samples" / "food" / "banana.jpg", tmp_path / "one")
    return tmp_path / "one"


def test_a_first_ingest_of_one_file_sends_23_requests(run, folder):
    """One looks for an index that has lost its alias, one counts for the reference scores."""
    requests = run("ingest", folder)
    created = [request for request in requests if request.startswith("create_index")]
    assert len(created) == len(make_payload_indexes(make_schema(48), Layout())) == 13
    assert len(requests) <= 23, requests


def test_an_ingest_of_nothing_new_sends_7_requests(run, folder):
    """Two compare the store with the catalog, one reads what others have recorded meanwhile."""
    run("ingest", folder)
    assert len(run("ingest", folder)) <= 7


def test_a_search_sends_3_requests(run, folder):
    """The first one on a machine draws the calibration sample too."""
    run("ingest", folder)
    first = run("search", "red")
    assert len(first) <= 4, first
    for query in (("search", "blue"), ("search", "red", "--where", "kind=image")):
        requests = run(*query)
        assert len(requests) <= 3, requests


def test_a_filter_by_a_column_sends_one_request_more(run, folder):
    (folder / "captions.csv").write_text("file,Width (cm),Depth\nbanana.jpg,30,2\n")
    run("ingest", folder)
    run("search", "red")
    assert len(run("search", "blue", "--where", "Width (cm)=30")) == 4
    nothing = run("search", "blue", "--where", "Width (cm)=31", "--where", "kind=text")
    assert len(nothing) <= 8, nothing


def test_a_damaged_sample_is_drawn_again(run, folder, indexer):
    run("ingest", folder)
    run("search", "red")
    (file,) = (indexer.folder / "data").rglob("calibration.npz")
    file.write_bytes(b"nothing")
    assert len(run("search", "red")) == 4
    assert len(run("search", "red")) == 3


def test_a_sample_of_a_collection_that_has_grown_is_drawn_again(run, folder, photo):
    run("ingest", folder)
    run("search", "red")
    for seed in range(4):
        photo(folder / f"{seed}.png", seed)
    run("ingest", folder)
    assert len(run("search", "red")) == 4
    assert len(run("search", "red")) == 3
