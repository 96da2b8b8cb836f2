"""Tags that people give and take survive whatever writes payloads."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace

import pytest

from indexer.captions.normalize import MAX_TAGS
from indexer.collections.collection import OpenCollection, summarize
from indexer.collections.schema import BM25, make_schema
from indexer.errors import QueryError, StoreError
from indexer.ingest.payload import caption_to_dict, keyword_texts
from indexer.ingest.pipeline import ingest
from indexer.ingest.tagging import keep_tags, list_file_tags, tag_points
from indexer.ingest.types import IngestOptions
from indexer.reindex import reindex, rollback
from indexer.search.bm25 import build_document_vector
from indexer.search.searcher import Searcher
from indexer.transfer.migrate import migrate
from indexer.types import Caption, Part, Query, Record
from tests import in_process_store
from tests.memory_store import open_memory_store


@pytest.fixture(params=["folder", pytest.param("http", marks=pytest.mark.server)])
def settings(request, config, monkeypatch):
    in_process_store.install(monkeypatch)
    return replace(config, **request.getfixturevalue(f"{request.param}_store"))


@pytest.fixture
def folder(tmp_path, photo):
    """Two pictures, of which one has the tags `sea` and `sky` in a sidecar."""
    for name in ("red", "blue"):
        photo(tmp_path / "in" / f"{name}.png", name)
    (tmp_path / "in" / "red.json").write_text('{"caption": "a wall", "tags": ["sea", "sky"]}')
    return tmp_path / "in"


def run(settings, colors, folder, **options):
    with OpenCollection.open_or_create(settings, colors.card) as collection:
        return ingest([folder], collection, colors, IngestOptions(**options))


def tag(settings, name: str, **edits) -> list[str]:
    with OpenCollection.open(settings) as collection:
        ids = [r.id for r in collection.store.scroll()[0] if r.payload["name"] == name]
        return tag_points(collection.store, ids, **edits)


def read_tags(settings) -> dict[str, list[str]]:
    with OpenCollection.open(settings) as collection:
        records, _ = collection.store.scroll()
    return {record.payload["name"]: record.payload["tags"] for record in records}


def edit(settings, colors, folder) -> None:
    """Ingest, and give `Trip` to both and take `sky` from one."""
    run(settings, colors, folder)
    assert len(tag(settings, "blue.png", add=["Trip"])) == 1
    assert len(tag(settings, "red.png", add=["Trip"], remove=["SKY"])) == 1


EDITED = {"red.png": ["sea", "Trip"], "blue.png": ["Trip"]}


def test_a_tag_is_found_counted_and_taken_back(settings, colors, folder):
    edit(settings, colors, folder)
    assert read_tags(settings) == EDITED
    with OpenCollection.open(settings) as collection:
        searcher = Searcher(collection, lambda: colors)
        assert dict(searcher.facets()["tags"]) == {"Trip": 2, "sea": 1}
        hit = searcher.search(Query((Part(text="trip"),), limit=5)).hits[0]
        assert "tag" in {r.kind for part in hit.explanation.parts for r in part.reasons}
        assert tag_points(collection.store, [hit.id], add=["trip"]) == [], "it has it already"
    tag(settings, "blue.png", remove=["trip"])
    tag(settings, "red.png", add=["sky"], remove=["Trip"])
    assert read_tags(settings) == {"red.png": ["sea", "sky"], "blue.png": []}
    with OpenCollection.open(settings) as collection:
        for record in collection.store.scroll()[0]:
            assert not {"own_tags", "hidden_tags"} & record.payload.keys()


def test_tags_survive_ingests_that_change_the_payload(settings, colors, folder):
    edit(settings, colors, folder)
    assert run(settings, colors, folder).unchanged == 2
    (folder / "red.json").write_text('{"caption": "a red wall", "tags": ["sea", "sky", "dusk"]}')
    (folder / "blue.png").rename(folder / "azure.png")
    assert run(settings, colors, folder, prune=True).moved == 1
    assert read_tags(settings) == {"red.png": ["sea", "dusk", "Trip"], "azure.png": ["Trip"]}
    (folder / "red.json").write_text('{"tags": ["trip", "sky"]}')
    run(settings, colors, folder)
    assert read_tags(settings)["red.png"] == ["trip"], "the file has it by now"


def test_an_edited_picture_keeps_its_tags(settings, colors, folder, photo):
    edit(settings, colors, folder)
    photo(folder / "red.png", "white")
    photo(folder / "new.png", "green")
    assert run(settings, colors, folder).updated == 1
    assert read_tags(settings) == {**EDITED, "new.png": []}


def test_tags_survive_a_lost_catalog_and_one_that_is_behind(settings, colors, folder):
    edit(settings, colors, folder)
    with OpenCollection.open(settings) as collection:
        for file in collection.index_dir.glob("catalogue.db*"):
            file.unlink()
    assert run(settings, colors, folder).unchanged == 2
    assert read_tags(settings) == EDITED
    os.utime(folder / "blue.png", (1, 1))
    assert run(settings, colors, folder).unchanged == 2
    assert read_tags(settings) == EDITED


def test_tags_survive_another_model(settings, colors, folder):
    edit(settings, colors, folder)
    other = replace(colors.card, name="other", fingerprint="other-1")
    model = type("Other", (), {"card": other, "embed": staticmethod(colors.embed)})()
    report = reindex(settings, model)
    assert report is not None and report.switched
    assert read_tags(replace(settings, model=None)) == EDITED


def test_tags_survive_a_rollback(settings, colors, folder):
    edit(settings, colors, folder)
    other = replace(colors.card, name="other", fingerprint="other-1")
    model = type("Other", (), {"card": other, "embed": staticmethod(colors.embed)})()
    reindex(settings, model)
    new = replace(settings, model=None)
    tag(new, "blue.png", add=["Dusk"])
    tag(new, "red.png", add=["sky"], remove=["Trip"])
    edited = {"red.png": ["sea", "sky"], "blue.png": ["Trip", "Dusk"]}
    assert read_tags(new) == edited
    assert rollback(settings) == colors.card
    assert read_tags(settings) == edited
    with OpenCollection.open(settings) as collection:
        searcher = Searcher(collection, lambda: colors)
        assert dict(searcher.facets()["tags"]) == {"Trip": 1, "Dusk": 1, "sea": 1, "sky": 1}


def test_a_damaged_index_can_be_rolled_back(config, colors, folder, monkeypatch, caplog):
    in_process_store.install(monkeypatch)
    edit(config, colors, folder)
    other = replace(colors.card, name="other", fingerprint="other-1")
    reindex(config, type("Other", (), {"card": other, "embed": staticmethod(colors.embed)})())
    shutil.rmtree(summarize(config).index / "shard" / "segments")
    assert rollback(config) == colors.card
    assert "tags that were given since the reindex are not copied" in caplog.text
    assert read_tags(config) == EDITED


def test_tags_are_copied_with_the_collection(settings, colors, folder, tmp_path):
    edit(settings, colors, folder)
    copy = replace(settings, store=str(tmp_path / "copy"), collection="copy")
    migrate(settings, copy)
    assert read_tags(copy) == EDITED
    assert run(copy, colors, folder).unchanged == 2
    assert read_tags(copy) == EDITED


@pytest.mark.parametrize(
    ("add", "remove"), [([], []), (["a"], ["A"]), ([" "], []), ([str(n) for n in range(65)], [])]
)
def test_edits_that_make_no_sense_are_refused(settings, colors, folder, add, remove):
    run(settings, colors, folder)
    if len(add) > MAX_TAGS:
        tag(settings, "red.png", add=add[:60])
        add = ["one", "more", "a", "b"]
    with pytest.raises(QueryError):
        tag(settings, "red.png", add=add, remove=remove)


def test_tags_of_files_are_told_from_others():
    payload = {"tags": ["a", "b"], "name": "x"}
    stored = {"tags": ["a", "own"], "own_tags": ["own"], "hidden_tags": ["b"]}
    assert keep_tags(payload, stored)["tags"] == ["a", "own"]
    assert list_file_tags(keep_tags(payload, stored)) == ("a", "b")
    assert keep_tags(payload, None) == keep_tags(payload, {"tags": ["c"]}) == payload


def test_if_one_of_many_points_would_have_too_many_tags_none_is_changed():
    store = open_memory_store(make_schema(4))
    ids = [str(uuid.UUID(int=i + 1)) for i in range(300)]
    full = [str(n) for n in range(MAX_TAGS)]
    payload = {"kind": "image", "name": "x", "paths": [], "captions": [], "tags": []}
    records = [Record(id, {}, payload | {"tags": full if id == ids[-1] else []}) for id in ids]
    store.upsert(records)
    with pytest.raises(QueryError, match="more than"):
        tag_points(store, ids, add=["one more"])
    assert not any("one more" in r.payload["tags"] for r in store.retrieve(ids))
    assert len(tag_points(store, ids[:-1], add=["one more"])) == 299


class ContendedStore:
    """A store to which another program writes captions when points are patched."""

    def __init__(self, store, num_writes: int = 1, *, is_before: bool = True):
        self.store, self.num_writes, self.is_before = store, num_writes, is_before

    def __getattr__(self, name):
        return getattr(self.store, name)

    def patch(self, records, **options):
        if not self.is_before:
            self.store.patch(records, **options)
        if self.num_writes:
            self.num_writes -= 1
            captions = [caption_to_dict(Caption(f"gate {self.num_writes}"))]
            for record in self.store.retrieve([record.id for record in records]):
                self.store.patch([make_patch(record.id, record.payload | {"captions": captions})])
        if self.is_before:
            self.store.patch(records, **options)


def make_patch(id: str, payload) -> Record:
    return Record(id, {BM25: build_document_vector(keyword_texts(payload))}, payload)


@pytest.mark.parametrize("is_before", [True, False])
def test_tagging_keeps_what_an_ingest_writes_at_the_same_time(settings, colors, folder, is_before):
    run(settings, colors, folder)
    with OpenCollection.open(settings) as collection:
        store = collection.store
        ids = [record.id for record in store.scroll()[0]]
        contended = ContendedStore(store, is_before=is_before)
        assert tag_points(contended, ids, add=["Trip"], remove=["sky"]) == ids
        for record in store.retrieve(ids, vectors=[BM25]):
            assert [caption["text"] for caption in record.payload["captions"]] == ["gate 0"]
            expected = make_patch(record.id, record.payload).vectors[BM25]
            assert set(record.vectors[BM25].indices) == set(expected.indices)
    assert read_tags(settings) == EDITED


def test_tagging_ends_if_another_program_never_stops_writing(settings, colors, folder):
    run(settings, colors, folder)
    with OpenCollection.open(settings) as collection:
        ids = [record.id for record in collection.store.scroll()[0]]
        with pytest.raises(StoreError, match=r"png was changed by another program"):
            tag_points(ContendedStore(collection.store, 100), ids, add=["Trip"])
