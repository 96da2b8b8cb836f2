"""What all sessions share is made once, for as many visitors as come at the same time."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app import services
from app.media import build_routes, thumbnail_url
from embedder.families import registry
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest import thumbnails
from indexer.ingest.pipeline import ingest
from indexer.types import Part, Query

LAYOUT = Path(__file__).parents[2] / "app" / "layout.py"
VISITORS = 4


def run_together(work) -> list:
    """The results of `work`, run by all visitors at the same time."""
    start = threading.Barrier(VISITORS)

    def run(_: int):
        start.wait()
        return work()

    with ThreadPoolExecutor(VISITORS) as pool:
        return list(pool.map(run, range(VISITORS)))


@pytest.fixture
def count_calls(monkeypatch):
    """`count_calls(module, name)` lists the calls of a function, which now takes a while."""

    def count(module, name: str) -> list:
        real, calls = getattr(module, name), []

        def counted(*args, **named):
            calls.append(args)
            time.sleep(0.1)  # the others arrive meanwhile
            return real(*args, **named)

        monkeypatch.setattr(module, name, counted)
        return calls

    return count


@pytest.fixture
def small_store(empty_store, tmp_path, photo, colors, monkeypatch):
    """A collection of two pictures; its thumbnails are gone."""
    monkeypatch.setattr(registry, "FAMILIES", (registry.Family("colors", "tests.embedders"),))
    for name in ("red", "blue"):
        photo(tmp_path / f"{name}.jpg", name)
    with OpenCollection.open_or_create(load_config(), colors.card) as collection:
        ingest([tmp_path / "red.jpg", tmp_path / "blue.jpg"], collection, colors)
        for file in collection.thumbnail_dir.rglob("*.jpg"):
            file.unlink()
    return empty_store


def test_four_first_visitors_load_the_model_and_open_the_collection_once(small_store, count_calls):
    loads = count_calls(services, "load_model")
    opens = count_calls(services, "_open_index")
    query = Query(parts=(Part(text="red"),), limit=3)
    found = run_together(lambda: services.open_searcher("default").search(query).hits[0].id)
    assert len(found) == VISITORS
    assert len(set(found)) == 1
    assert (len(loads), len(opens)) == (1, 1)


def test_four_visitors_of_a_missing_thumbnail_decode_it_once(small_store, count_calls):
    decodes = count_calls(thumbnails, "decode_image")
    records, _ = services.open_searcher("default").collection.store.scroll(limit=1)
    url = "/" + thumbnail_url("default", records[0].id)
    client = TestClient(Starlette(routes=list(build_routes())))
    answers = run_together(lambda: client.get(url))
    assert {answer.status_code for answer in answers} == {200}
    assert len(decodes) == 1


def test_another_index_closes_the_one_before(small_store):
    """A re-indexed collection leaves no connection, and no file of the old index, open."""
    searcher = services.open_searcher("default")
    assert services.open_searcher("default") is searcher
    connection = weakref.ref(searcher.collection.store._connection[0])
    found = services.open_backend(services.get_settings()).get_indexes("default").in_use
    file = small_store / "default" / "collection.json"
    file.write_text(file.read_text().replace(found.created, "2020-01-01T00:00:00+00:00"))
    assert services.open_searcher("default") is not searcher
    del searcher
    gc.collect()
    assert connection() is None


def test_a_store_that_was_restored_from_a_backup_is_opened_again(small_store):
    services.open_searcher("default").collection.store.flush()
    shutil.copytree(small_store / "default", small_store / "backup")
    shutil.rmtree(small_store / "default")
    (small_store / "backup").rename(small_store / "default")
    assert services.open_searcher("default").collection.store.count() == 2


def test_the_files_of_a_store_are_walked_through_once_for_all_tabs(small_store, monkeypatch):
    walks = []
    list_collections = services.list_collections
    monkeypatch.setattr(
        services, "list_collections", lambda config: walks.append(1) or list_collections(config)
    )
    monkeypatch.setattr(services, "monotonic", lambda: 100.0)
    answers = run_together(services.summarize_collections)
    assert [[one.name for one in answer] for answer in answers] == [["default"]] * VISITORS
    assert len(walks) == 1
    monkeypatch.setattr(services, "monotonic", lambda: 100.0 + services.SUMMARY_SECONDS)
    services.summarize_collections()
    assert len(walks) == 2


def test_the_configured_collection_is_shown_first(small_store, colors):
    config = replace(load_config(), collection="second")
    OpenCollection.open_or_create(config, colors.card).close()
    for name in ("second", "default"):
        services.configure(replace(config, collection=name))
        page = AppTest.from_file(str(LAYOUT), default_timeout=60).run()
        assert page.sidebar.selectbox[0].value == name


def test_given_settings_win_over_the_environment(small_store, tmp_path):
    services.configure(replace(load_config(), store=str(tmp_path / "other")))
    assert services.list_names() == []
    services.configure()
    assert services.list_names() == ["default"]
