"""A collection on a server, from its ingest to a new index: as in a folder, and from anywhere."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.collections import make_layout, open_backend
from indexer.collections.collection import OpenCollection, delete_collection, summarize
from indexer.errors import CollectionError, MissingIndexError, StoreError
from indexer.ingest.pipeline import ingest
from indexer.ingest.prune import prune
from indexer.ingest.types import IngestOptions
from indexer.reindex import reindex
from indexer.search.searcher import Searcher
from indexer.stores.base import Layout
from indexer.types import Part, Query, Record

COLORS = ("red", "green", "blue", "white", "black")


class Shades:
    """The colors turned by one number: of one length, and another space."""

    def __init__(self, colors, during=None):
        self.colors, self.during = colors, during
        self.card = replace(colors.card, name="shades", fingerprint="shades-1")

    def embed(self, inputs, role, instruction=None):
        if self.during:
            self.during()
        return np.roll(self.colors.embed(inputs, role, instruction), 1, axis=1)


@pytest.fixture
def config(config, qdrant):
    return replace(
        config,
        store=qdrant.url,
        qdrant_api_key=qdrant.api_key,
        qdrant_api_key_url=qdrant.url,
        qdrant_retry_seconds=10.0,
        collection=qdrant.name("family"),
    )


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    for color in COLORS:
        photo(tmp_path / "pictures" / f"{color}.png", color)
        (tmp_path / "pictures" / f"{color}.txt").write_text(f"a {color} wall")
    (tmp_path / "pictures" / "note.md").write_text("Snow on the hill.\n")
    return tmp_path / "pictures"


def run(config, embedder, folder, **options):
    with OpenCollection.open_or_create(config, embedder.card) as collection:
        return ingest([folder], collection, embedder, IngestOptions(**options))


def best(config, embedder, words="red") -> str:
    with OpenCollection.open(config) as collection:
        hits = Searcher(collection, lambda: embedder).search(Query((Part(text=words),), limit=1))
        return hits.hits[0].payload["name"]


def on_another_machine(config, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    return config


def test_ingest_search_change_and_prune(config, colors, folder):
    report = run(config, colors, folder)
    assert (report.added, report.skipped) == (6, ())
    assert best(config, colors) == "red.png"
    assert summarize(config).points == 6
    assert run(config, colors, folder).unchanged == 6
    (folder / "red.txt").write_text("a red door")
    for file in folder.glob("green.*"):
        file.unlink()
    assert run(config, colors, folder).updated == 1
    with OpenCollection.open(config) as collection:
        assert prune(collection, lambda: colors).removed == 1
        assert collection.store.count() == 5


def test_another_machine_sees_the_same_and_embeds_nothing(
    config, colors, folder, monkeypatch, tmp_path
):
    run(config, colors, folder)
    embedded = sum(colors.calls)
    on_another_machine(config, monkeypatch, tmp_path)
    assert not open_backend(config).local_dir(config.collection).exists()
    assert open_backend(config).get_indexes(config.collection).in_use.card == colors.card
    assert best(config, colors) == "red.png"
    report = run(config, colors, folder)
    assert (report.added, report.unchanged) == (0, 6)
    assert sum(colors.calls) == embedded


def test_two_machines_create_one_collection_at_the_same_time(config, colors, tmp_path):
    """They share its index, whose model is that of the first."""
    name, other = config.collection, Shades(colors).card
    machines = [replace(open_backend(config), local_root=tmp_path / n) for n in ("a", "b", "c")]
    assert [machine.find(name) for machine in machines] == [None] * 3
    with ThreadPoolExecutor(2) as pool:
        indexes = [*pool.map(lambda m: m.create(name, colors.card, Layout()), machines[:2])]
    assert indexes[0].key == indexes[1].key
    for number, (machine, index) in enumerate(zip(machines, indexes, strict=False)):
        with closing(machine.open(index)) as store:
            store.upsert([Record(str(uuid.UUID(int=number + 1)), {}, {"kind": "text"})])
    assert summarize(config).points == 2
    assert machines[2].create(name, other, Layout()).card == colors.card


def test_a_creation_that_was_interrupted_is_continued(config, colors):
    """The server collection has been created, and the alias has not."""
    backend = open_backend(config)
    backend.create(config.collection, colors.card, Layout())
    backend._set_aliases({config.collection: None})
    assert not backend.exists(config.collection)
    with OpenCollection.open_or_create(config, colors.card) as opened:
        assert opened.store.count() == 0
    assert backend.list_names() == [config.collection]


def test_a_deleted_collection_leaves_nothing_to_the_next(config, colors, folder, qdrant):
    """Not even its first index, which a new index had replaced when a deletion was cut off."""
    run(config, colors, folder)
    backend, name = open_backend(config), config.collection
    index = backend.start_build(name, colors.card, Layout())
    backend._set_aliases({name: index.key, name + "@new": None})
    delete_collection(config)
    assert not backend._call(lambda client: client.get_collections().collections)
    assert run(config, colors, folder).added == 6


def test_two_machines_know_each_others_files(config, colors, photo, monkeypatch, tmp_path):
    here, there = photo(tmp_path / "a/red.png", "red"), photo(tmp_path / "b/red.png", "red")
    others = [photo(tmp_path / folder / "blue.png", "blue") for folder in "ab"]  # folders not empty

    def on(machine: str) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / machine))

    def paths() -> list[list[str]]:
        with OpenCollection.open(config) as collection:
            found = [record.payload["paths"] for record in collection.store.scroll()[0]]
            assert sorted(found)[0] == [str(other) for other in others]
            return sorted(found)[1:]

    def pruned() -> int:
        with OpenCollection.open(config) as collection:
            return prune(collection, lambda: colors).removed

    on("one")
    run(config, colors, here.parent)
    on("two")
    run(config, colors, there.parent)
    assert paths() == [[str(here), str(there)]]
    on("one")
    here.with_suffix(".txt").write_text("a red wall")
    assert run(config, colors, here.parent).updated == 1
    assert paths() == [[str(here), str(there)]]
    here.unlink()
    here.with_suffix(".txt").unlink()
    on("two")
    assert pruned() == 0, "it is not for this machine to say that the other's file is gone"
    assert paths() == [[str(here), str(there)]]
    on("one")
    assert pruned() == 0
    assert paths() == [[str(there)]]
    on("two")
    there.unlink()
    assert pruned() == 1
    assert paths() == []


def test_another_model_and_back(config, colors, folder):
    run(config, colors, folder)
    answers = [best(config, colors)]
    with OpenCollection.open(config) as opened:  # a searcher that was there before

        def ask() -> None:
            found = Searcher(opened, lambda: colors).search(Query((Part(text="red"),), limit=1))
            answers.append(found.hits[0].payload["name"])

        shades = Shades(colors, ask)
        report = reindex(config, shades)
        ask()
    assert (report.switched, report.points, report.checked) == (True, (6, 6), 6)
    assert len(answers) > 3
    assert set(answers) == {"red.png"}
    shades.during = None
    found = summarize(config)
    assert (found.card, found.old.card, found.building) == (shades.card, colors.card, None)
    assert best(config, shades) == "red.png"
    place = open_backend(config)
    assert place.rollback(config.collection) == colors.card
    assert best(config, colors) == "red.png"
    assert place.delete_inactive(config.collection) == [shades.card]
    assert run(config, colors, folder).unchanged == 6


def test_a_new_index_has_the_layout_of_the_old_one(config, colors, folder):
    run(replace(config, profile="large", shards=3), colors, folder)
    place = open_backend(config)
    first = place.get_layout(place.get_indexes(config.collection).in_use)
    assert (first.profile, first.shards) == ("large", 3)
    assert reindex(config, Shades(colors)).switched
    assert place.get_layout(place.get_indexes(config.collection).in_use) == first
    place.delete_inactive(config.collection)
    assert reindex(replace(config, profile="small"), colors).switched
    other = place.get_layout(place.get_indexes(config.collection).in_use)
    assert (other.profile, other.shards) == ("small", 1)


def test_an_interrupted_reindex_continues(config, colors, folder, photo, monkeypatch, tmp_path):
    for i in range(12):
        photo(folder / f"{i}.png", i)
    run(config, colors, folder)
    stop = threading.Event()
    report = reindex(config, Shades(colors, stop.set), IngestOptions(batch_size=2), stop=stop)
    assert (report.switched, report.ingest.interrupted) == (False, True)
    assert 0 < report.points[1] < 18
    assert best(config, colors) == "red.png"
    report = reindex(config, Shades(colors))
    assert report.switched
    assert report.ingest.unchanged > 0
    assert report.points == (18, 18)


def test_an_old_orphan_of_a_crash_is_deleted(config, colors, qdrant):
    from qdrant_client import QdrantClient

    place, name = open_backend(config), config.collection
    with OpenCollection.open_or_create(config, colors.card):
        pass
    client = QdrantClient(url=qdrant.url, api_key=qdrant.api_key, check_compatibility=False)
    fresh = place.start_build(name, colors.card, make_layout(config)).key
    second = place.start_build(
        name, colors.card, make_layout(config)
    ).key  # takes the alias of the first
    old = f"{name}@20250101-000000-ab12"
    client.create_collection(old, {})
    place.collect_garbage(name)
    there = {one.name for one in client.get_collections().collections}
    assert {fresh, second} <= there
    assert old not in there
    place.delete(name)
    client.delete_collection(fresh)


def test_overwritten_metadata(config, colors, qdrant):
    from qdrant_client import QdrantClient

    with OpenCollection.open_or_create(config, colors.card):
        pass
    client = QdrantClient(url=qdrant.url, api_key=qdrant.api_key, check_compatibility=False)
    client.update_collection(config.collection, metadata={"polylens": {"format": 1}})
    with pytest.raises(CollectionError, match="does not say which model"):
        OpenCollection.open(config)
    client.update_collection(
        config.collection, metadata={"polylens": {"format": 99, "card": {}, "created": ""}}
    )
    with pytest.raises(CollectionError, match=r"format 99|does not say"):
        OpenCollection.open(config)


@pytest.mark.needs_faults
def test_the_server_stops_and_comes_back_during_an_ingest(config, colors, folder, photo, qdrant):
    for i in range(30):
        photo(folder / f"{i}.png", i)
    with OpenCollection.open_or_create(config, colors.card) as collection:
        qdrant.kill_after(3)
        back = threading.Timer(0.5, qdrant.start)
        back.start()
        report = ingest([folder], collection, colors, IngestOptions(batch_size=4))
        back.join()
        assert report.added == collection.store.count() == 36


@pytest.mark.needs_faults
def test_the_server_stays_away(config, colors, folder, photo, qdrant):
    for i in range(30):
        photo(folder / f"{i}.png", i)
    impatient = replace(config, qdrant_retry_seconds=0.2)
    with OpenCollection.open_or_create(impatient, colors.card) as collection:
        qdrant.kill_after(3)
        with pytest.raises(StoreError, match=rf"(?s){qdrant.url}.*"):
            ingest([folder], collection, colors, IngestOptions(batch_size=4))
    qdrant.start()
    report = run(config, colors, folder, batch_size=4)
    assert report.added + report.unchanged == 36
    assert sum(colors.calls) <= 35 + 4, "no more than the batch in hand is embedded again"
    with OpenCollection.open(config) as collection:
        assert collection.store.count() == 36


@pytest.mark.needs_faults
def test_a_read_only_key(config, colors, folder, qdrant):
    qdrant.require("full", "reader")
    full = replace(config, qdrant_api_key="full")
    run(full, colors, folder)
    reader = replace(config, qdrant_api_key="reader")
    assert best(reader, colors) == "red.png"
    (folder / "red.txt").write_text("a red door")
    with pytest.raises(StoreError, match="QDRANT_API_KEY"):
        run(reader, colors, folder)
    assert run(full, colors, folder).updated == 1


@pytest.mark.needs_faults
def test_a_read_only_key_where_dates_have_no_index(config, colors, folder, qdrant):
    """As in a collection of an earlier version: the start page of the app, by date, stays."""
    from qdrant_client import QdrantClient

    from app import results, services
    from app.state import Search

    qdrant.require("full", "reader")
    full = replace(config, qdrant_api_key="full")
    run(full, colors, folder)
    with OpenCollection.open(full) as collection:
        client = QdrantClient(url=qdrant.url, api_key="full", check_compatibility=False)
        for key in ("taken", "added"):
            client.delete_payload_index(collection.active_index.key, key)
    reader = replace(config, qdrant_api_key="reader")
    with OpenCollection.open(reader) as collection:
        searcher = Searcher(collection, lambda: colors)
        with pytest.raises(MissingIndexError, match="indexer ingest"):
            searcher.search(Query((), limit=5, sort="newest"))
    services.configure(reader)
    page = results.load_page(Search(collection=config.collection))
    assert len(page.hits) == len(COLORS) + 1 and not any(hit["date"] for hit in page.hits)
    assert page.results.hint.startswith("These are not sorted")
    services.configure()
    run(full, colors, folder)  # makes the indexes
    with OpenCollection.open(reader) as collection:
        found = Searcher(collection, lambda: colors).search(Query((), limit=5, sort="added"))
        assert len(found.hits) == 5
