"""A collection of one store becomes one of another: whole, checked, and gone on with."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.collections import make_layout, open_backend
from indexer.collections.collection import (
    OpenCollection,
    create_collection,
    lock_for_writing,
    summarize,
)
from indexer.collections.schema import BM25, IMAGE, TextIndexing
from indexer.errors import CollectionError, StoreBusyError, StoreError
from indexer.feedback import read_votes
from indexer.ingest.catalog import Catalog
from indexer.ingest.pipeline import ingest
from indexer.ingest.thumbnails import thumbnail_path
from indexer.search.searcher import Searcher
from indexer.transfer.migrate import Transfer, migrate, read_cursor
from indexer.transfer.source import MAX_CHORD, PAGE_SIZE, open_source_collection
from indexer.types import Part, Query, Record, SparseVector

POINTS = 900  # of the collection that is copied


@pytest.fixture(params=["folder", "server"])
def destination(request):
    return request.getfixturevalue(request.param)


def assert_local_state_copied(source, destination) -> None:
    with OpenCollection.open(source) as old, OpenCollection.open(destination) as new:
        catalog = Catalog(new.index_dir / "catalogue.db")
        assert catalog.list_roots() == ["/pictures"]
        catalog.close()
        before, after = read_votes(old.path), read_votes(new.path)
        assert [(v.id, v.vote) for v in after] == [(v.id, v.vote) for v in before]
        image = after[0].query.parts[1].image
        assert image.startswith(str(new.path / "feedback"))
        assert Path(image).read_bytes() == b"a query image"
        thumb = thumbnail_path(new.thumbnail_dir, before[0].id)
        assert thumb.samefile(thumbnail_path(old.thumbnail_dir, before[0].id)), (
            "no second copy of it"
        )


def test_everything_is_copied(source, destination, assert_same_points):
    seen = []
    report = migrate(source, destination, on_progress=seen.append)
    assert (report.points, report.copied, report.resumed, report.kept) == (POINTS, POINTS, 0, 0)
    assert (report.checked, report.catalogs, report.votes) == (256, 1, 2)
    assert (report.done, report.replaced) == (True, False)
    assert_same_points(source, destination)
    assert_local_state_copied(source, destination)
    found = open_backend(destination).get_indexes(destination.collection)
    assert (found.old, found.building) == (None, None)
    assert found.in_use.card == open_backend(source).get_indexes("family").in_use.card
    assert found.in_use.ingested
    assert not (found.in_use.folder / "moving.json").exists()
    assert [(p.stage, p.done) for p in seen] == [
        ("begin", 0), ("copy", 256), ("copy", 512), ("copy", 768), ("copy", 900), ("check", 256)
    ]  # fmt: skip
    assert {p.total for p in seen[:-1]} == {POINTS}


def test_the_next_ingest_embeds_nothing_and_searches_find_the_same(
    colors, tmp_path, photo, server, folder
):
    for color in ("red", "green", "blue"):
        photo(tmp_path / "pictures" / f"{color}.png", color)
        (tmp_path / "pictures" / f"{color}.txt").write_text(f"a {color} wall")
    with OpenCollection.open_or_create(server, colors.card) as collection:
        ingest([tmp_path / "pictures"], collection, colors)
    query = Query((Part(text="a red wall"),), limit=3)

    def hits(collection):
        found = Searcher(collection, lambda: colors).search(query).hits
        return [(hit.id, round(hit.score, 4)) for hit in found]

    assert migrate(server, folder).points == 3
    with OpenCollection.open(server) as before, OpenCollection.open(folder) as after:
        assert hits(before) == hits(after) != []
        report = ingest([tmp_path / "pictures"], after, colors)
    assert (report.added, report.unchanged) == (0, 3)


def test_an_interrupted_copy_continues(source, server, monkeypatch, assert_same_points):
    monkeypatch.setattr("indexer.transfer.source.PAGE_SIZE", 64)
    stop = threading.Event()

    def after_a_page(now):
        if now.stage == "copy":
            stop.set()

    first = migrate(source, server, on_progress=after_a_page, stop=stop)
    assert not first.done
    assert 0 < first.copied < POINTS
    assert first.copied % 64 == 0
    assert not open_backend(server).exists(server.collection)
    assert open_backend(server).get_build(server.collection)
    second = migrate(source, server)
    assert second.done
    assert (second.resumed, second.copied) == (first.copied, POINTS - first.copied)
    assert_same_points(source, server)


KILLED = """
import os, signal, sys
import indexer.transfer.migrate as move
write, pages = move.write_cursor, 0
def write_or_die(*arguments):
    global pages
    pages += 1
    if pages == 3:  # the first is the beginning; of two pages the second is not recorded
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
move.write_cursor = write_or_die
from indexer.cli import main
sys.argv[0] = "indexer"
main()
"""


def test_kill_9_loses_only_unacknowledged_pages(source, folder, assert_same_points):
    words = ["migrate", source.store, folder.store, "--collection", "family", "--quiet"]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert done.returncode == -signal.SIGKILL
    index = open_backend(folder).get_build("family")
    assert read_cursor(index.folder).copied == PAGE_SIZE
    with OpenCollection.open_index(folder, open_backend(folder), index) as half:
        assert 2 * PAGE_SIZE <= half.store.count() <= 4 * PAGE_SIZE
    report = migrate(source, folder)
    assert (report.resumed, report.copied, report.points) == (PAGE_SIZE, POINTS - PAGE_SIZE, POINTS)
    assert_same_points(source, folder)


def test_points_lost_by_a_power_cut_are_copied_again(source, server, monkeypatch):
    monkeypatch.setattr("indexer.transfer.source.PAGE_SIZE", 64)
    stop = threading.Event()
    migrate(source, server, on_progress=lambda now: now.stage == "copy" and stop.set(), stop=stop)
    backend, index = open_backend(server), open_backend(server).get_build(server.collection)
    with OpenCollection.open_index(server, backend, index) as half:
        half.store.delete([half.store.scroll(limit=1)[0][0].id])
    report = migrate(source, server)
    assert (report.resumed, report.copied) == (0, POINTS)


def test_a_build_of_something_else_is_not_continued(source, server, monkeypatch):
    monkeypatch.setattr("indexer.transfer.source.PAGE_SIZE", 64)
    stop = threading.Event()
    name = server.collection
    migrate(source, server, on_progress=lambda now: now.stage == "copy" and stop.set(), stop=stop)
    other = replace(server, collection=f"{name}-2")
    create_collection(other, open_backend(source).get_indexes("family").in_use.card)
    with pytest.raises(CollectionError, match=r"something else.*reindex --forget --store http"):
        migrate(other, server)
    backend = open_backend(server)
    with lock_for_writing(backend.local_dir(name)):
        assert [card.name for card in backend.delete_inactive(name)] == ["colors"]
    assert backend.get_build(name) is None
    card = open_backend(source).get_indexes("family").in_use.card
    backend.start_build(name, replace(card, name="shades", fingerprint="s"), make_layout(server))
    with pytest.raises(CollectionError, match=r"shades.*is half built"):
        migrate(other, server)


def test_an_existing_collection(source, server, read_points):
    card = open_backend(source).get_indexes("family").in_use.card
    create_collection(server, card)
    with pytest.raises(CollectionError, match=r"--merge.*--replace"):
        migrate(source, server)
    lone = Record(str(uuid.UUID(int=1)), {}, {"kind": "text", "name": "lone"})
    with OpenCollection.open(server) as collection:
        collection.store.upsert([lone])
    report = migrate(source, server, "replace")
    assert (report.points, report.replaced) == (POINTS, True)
    assert summarize(server).old.card == card
    open_backend(server).rollback(server.collection)
    assert set(read_points(server)) == {lone.id}
    with pytest.raises(CollectionError, match="the source and the destination"):
        migrate(source, source, "replace")


def test_merge_into_an_existing_collection(source, server, read_points):
    destination = server
    with OpenCollection.open(source) as collection:
        shared = collection.store.scroll(limit=3, vectors=True)[0]
    create_collection(destination, open_backend(source).get_indexes("family").in_use.card)
    lone = Record(str(uuid.UUID(int=1)), {}, {"kind": "text", "name": "lone"})
    mine = [replace(record, payload={"kind": "text", "name": "mine"}) for record in shared]
    with OpenCollection.open(destination) as collection:
        collection.store.upsert([lone, *mine])
    report = migrate(source, destination, "merge")
    assert (report.points, report.copied, report.kept) == (POINTS + 1, POINTS - 3, 3)
    assert (report.votes, report.catalogs, report.done) == (2, 0, True)
    found = read_points(destination)
    assert {found[record.id].payload["name"] for record in shared} == {"mine"}
    assert lone.id in found
    again = migrate(source, destination, "merge")
    assert (again.copied, again.kept, again.votes) == (0, POINTS, 0)


@pytest.mark.parametrize("older", ["source", "destination"])
def test_merge_of_an_older_collection(source, server, read_points, older):
    """What the older one lacks is added by the next ingest; nothing is lost meanwhile."""
    config = {"source": source, "destination": server}[older]
    migrate(source, server)
    with OpenCollection.open(server) as opened:
        gone = [record.id for record in opened.store.scroll(limit=300)[0]]
        opened.store.delete(gone)
    old = TextIndexing(names=False, version=1)
    with OpenCollection.open(config) as opened:
        latest = opened.active_index.texts
        opened.set_texts(old)
    try:
        assert migrate(source, server, mode="merge").copied == len(gone)
        texts = open_backend(server).get_indexes(server.collection).in_use.texts
        assert texts.is_outdated and texts.names == (older == "source")
        assert len(read_points(server)) == POINTS
    finally:  # the source is shared
        with OpenCollection.open(config) as opened:
            opened.set_texts(latest)


def test_another_model_is_refused(source, folder):
    card = open_backend(source).get_indexes("family").in_use.card
    create_collection(folder, replace(card, name="shades", fingerprint="shades-1"))
    for mode in ("new", "merge", "replace"):
        with pytest.raises(CollectionError, match=r"shades.*colors.*cannot be compared.*reindex"):
            migrate(source, folder, mode)


def test_wrong_sources(source, folder, tmp_path):
    with pytest.raises(CollectionError, match=r"no collection 'family'"):
        migrate(folder, replace(folder, collection="two"))
    inner = replace(source, store=f"{source.store}/family")
    with pytest.raises(CollectionError, match=rf"{source.store} --collection family"):
        migrate(inner, folder)
    with pytest.raises(CollectionError, match="tenant 'acme' has no points"):
        migrate(replace(source, tenant="acme"), folder)
    assert not open_backend(folder).exists("family")


def test_both_collections_are_locked_during_a_copy(source, server):
    with lock_for_writing(open_backend(source).local_dir("family")), pytest.raises(StoreBusyError):
        migrate(source, server)

    def write(now):
        if now.stage == "copy":
            with (
                pytest.raises(StoreBusyError),
                lock_for_writing(open_backend(source).local_dir("family")),
            ):
                pass
            with (
                pytest.raises(StoreBusyError),
                lock_for_writing(open_backend(server).local_dir(server.collection)),
            ):
                pass

    assert migrate(source, server, on_progress=write).done


def test_a_server_that_is_written_to_during_a_copy(source, server):
    migrate(source, server)
    destination = replace(server, collection=f"{server.collection}-2")

    def meddle(now):
        if now.stage == "begin":
            with OpenCollection.open(server) as collection:
                collection.store.upsert([Record(str(uuid.UUID(int=1)), {}, {"kind": "text"})])

    with pytest.raises(CollectionError, match=r"has changed while it was read.*not activated"):
        migrate(server, destination, on_progress=meddle)
    assert not open_backend(destination).exists(destination.collection)
    with pytest.raises(CollectionError, match=r"as it was"):
        migrate(server, destination)


class CorruptingBackend:
    """A backend whose stores change what they write."""

    def __init__(self, backend, corrupt) -> None:
        self._backend, self._corrupt = backend, corrupt

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def open(self, index, **options):
        return CorruptingStore(self._backend.open(index, **options), self._corrupt)


class CorruptingStore:
    def __init__(self, store, corrupt) -> None:
        self._store, self._corrupt = store, corrupt

    def __getattr__(self, name):
        return getattr(self._store, name)

    def upsert(self, records, stop=None):
        self._store.upsert(self._corrupt(list(records)), stop)


def drop_first(records):
    return records[1:]


def rotate_images(records):
    """Each image's vector a little off: a cosine of 0.99."""
    for i, record in enumerate(records):
        if IMAGE in record.vectors:
            vector = np.array(record.vectors[IMAGE])
            vector[int(np.argmin(np.abs(vector)))] += 0.1425  # 1 / sqrt(1 + 0.1425 ** 2) = 0.99
            records[i] = replace(record, vectors={**record.vectors, IMAGE: vector})
    return records


def change_sparse_vectors(records):
    for i, record in enumerate(records):
        if BM25 in record.vectors:
            indices, values = record.vectors[BM25]
            words = SparseVector(indices, (values[0] * 1.001, *values[1:]))
            records[i] = replace(record, vectors={**record.vectors, BM25: words})
    return records


def change_names(records):
    return [replace(record, payload={**record.payload, "name": "x"}) for record in records]


def drop_image_vectors(records):
    return [replace(r, vectors={k: v for k, v in r.vectors.items() if k != IMAGE}) for r in records]


def change_first_kind(records):
    return [replace(records[0], payload={**records[0].payload, "kind": "film"}), *records[1:]]


@pytest.mark.parametrize(
    ("corrupt", "why"),
    [
        (drop_first, "900 points were expected, and 896 were found"),
        (change_first_kind, "points of kind .film. were expected|of kind"),
        (rotate_images, "has another image vector"),
        (change_sparse_vectors, "has another bm25 vector"),
        (change_names, r"has another payload \(name\)"),
        (drop_image_vectors, "has vectors"),
    ],
)
def test_a_store_that_changes_what_is_written(source, server, corrupt, why):
    backend = CorruptingBackend(open_backend(server), corrupt)
    with (
        open_source_collection(source) as points,
        pytest.raises(CollectionError, match=f"(?s){why}.*not activated"),
    ):
        Transfer(points, backend, server).run()
    assert not open_backend(server).exists(server.collection)


def test_a_store_that_changes_what_is_merged(source, server):
    create_collection(server, open_backend(source).get_indexes("family").in_use.card)
    backend = CorruptingBackend(open_backend(server), rotate_images)
    with (
        open_source_collection(source) as points,
        pytest.raises(CollectionError, match="another image vector"),
    ):
        Transfer(points, backend, server, "merge").run()


@pytest.mark.needs_faults
def test_a_server_that_goes_away(source, server, qdrant, assert_same_points):
    qdrant.kill_after(2, "/points")
    with pytest.raises(StoreError):
        migrate(source, replace(server, qdrant_retry_seconds=0.05))
    qdrant.start()
    report = migrate(source, server)
    assert report.done
    assert report.points == POINTS
    assert_same_points(source, server)


def test_one_tenant_of_several(source, server, read_points):
    card = open_backend(source).get_indexes("family").in_use.card
    shops = replace(server, collection=f"{server.collection}-shops")
    shared = Record(str(uuid.UUID(int=5)), {}, {"kind": "text", "name": "shared"})
    for name in ("acme", "bolt"):
        with OpenCollection.open_or_create(replace(shops, tenant=name), card) as mine:
            own = Record(str(uuid.uuid4()), {}, {"kind": "text", "name": name})
            mine.store.upsert([shared, own])
    acme, bolt = (replace(server, tenant=name) for name in ("acme", "bolt"))
    assert migrate(replace(shops, tenant="acme"), acme).points == 2
    assert {r.payload["name"] for r in read_points(server).values()} == {"shared", "acme"}
    assert {r.payload["tenant"] for r in read_points(server).values()} == {"acme"}
    with pytest.raises(CollectionError, match=r"--replace would replace .* by tenant 'bolt'"):
        migrate(replace(shops, tenant="bolt"), bolt, "replace")
    assert migrate(replace(shops, tenant="bolt"), bolt, "merge").copied == 2
    assert len(read_points(server)) == 4
    assert {r.payload["name"] for r in read_points(bolt).values()} == {"shared", "bolt"}


def test_the_tolerance_is_a_cosine_of_0_9999():
    one, other = np.array([1.0, 0.0]), np.array([0.9999, np.sqrt(1 - 0.9999**2)])
    assert abs(float(np.linalg.norm(one - other)) - MAX_CHORD) < 1e-4


def test_an_unfinished_first_index_can_be_deleted(source, folder):
    backend, card = open_backend(folder), open_backend(source).get_indexes("family").in_use.card
    index = backend.start_build("family", card, make_layout(folder))
    assert backend.delete_inactive("family") == [card]
    assert backend.get_build("family") is None
    assert not index.folder.exists()
    assert not backend.exists("family")
