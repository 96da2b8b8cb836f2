"""One contract for every registered backend of collections."""

from __future__ import annotations

import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from indexer.collections import BACKENDS, has_backend, make_layout, open_backend
from indexer.collections.collection import (
    OpenCollection,
    create_collection,
    delete_collection,
    list_collections,
    summarize,
)
from indexer.collections.local import read_metadata
from indexer.collections.schema import FORMAT, TextIndexing
from indexer.errors import CollectionError, ConfigError, DamagedError, StoreBusyError
from indexer.types import Record

pytestmark = pytest.mark.usefixtures("in_process")
ID = "00000000-0000-0000-0000-000000000001"

KINDS = [next(s for s in BACKENDS if BACKENDS[s] == b) for b in dict.fromkeys(BACKENDS.values())]
"""A scheme of each registered kind of store."""


@pytest.fixture(params=KINDS)
def config(request, config):
    """The settings of an empty store, for each registered backend."""
    return replace(config, **request.getfixturevalue(f"{request.param or 'folder'}_store"))


@pytest.fixture
def place(config):
    return open_backend(config)


@pytest.fixture
def name(config) -> str:
    return config.collection


@pytest.fixture
def card(colors):
    return colors.card


@pytest.fixture
def other(card):
    return replace(card, name="shades", fingerprint="shades-1")


def write(config, place, index) -> None:
    with OpenCollection.open_index(config, place, index) as opened:
        opened.store.upsert([Record(ID, {}, {"kind": "text"})])


def test_a_collection_from_creation_to_deletion(config, place, name, card):
    assert name not in place.list_names()
    assert not place.exists(name)
    with pytest.raises(CollectionError, match=rf"no collection '{name}'.*indexer ingest FOLDER"):
        place.get_indexes(name)
    create_collection(config, card)
    assert name in place.list_names()
    assert place.exists(name)
    found = place.get_indexes(name)
    assert (found.in_use.card, found.in_use.ingested) == (card, None)
    assert (found.old, found.building) == (None, None)
    write(config, place, found.in_use)
    with OpenCollection.open(config) as opened:
        opened.mark_ingested()
        assert opened.store.count() == 1
    told = summarize(config)
    assert (told.name, told.card, told.created) == (name, card, found.in_use.created)
    assert told.ingested
    assert name in [one.name for one in list_collections(config)]
    with pytest.raises(CollectionError, match="already"):
        create_collection(config, card)
    delete_collection(config)
    assert name not in place.list_names()
    assert not place.local_dir(name).exists()
    with pytest.raises(CollectionError, match="no collection"):
        delete_collection(config)


@pytest.mark.store_server
def test_what_another_process_has_recorded_about_names_is_kept(config, card, place, name):
    create_collection(config, card)
    with OpenCollection.open(config) as opened:
        with OpenCollection.open(config) as other:
            other.set_texts(TextIndexing(names=False))
        opened.mark_ingested()
    found = place.get_indexes(name).in_use
    assert found.texts == TextIndexing(names=False)
    assert found.ingested
    with OpenCollection.open(config) as opened:
        opened.set_texts(TextIndexing(names=True, version=1))  # as a merge does
    server = place.get_indexes(name).in_use.server_collection
    meta = server.metadata if server else read_metadata(place.local_dir(name))
    assert meta["format"] == FORMAT, "an earlier program must not open it"


@pytest.mark.store_server
def test_a_collection_deleted_by_another_process(config, place, name, card):
    """Who has it open still creates nothing, and the name can be used again."""
    with OpenCollection.open_or_create(config, card) as opened:
        for _ in range(2):
            with opened.lock_for_writing():
                opened.store.upsert([Record(ID, {}, {"kind": "text"})])
        delete_collection(config)
        with pytest.raises(CollectionError, match="deleted"), opened.lock_for_writing():
            pytest.fail("it is gone")
        assert not place.local_dir(name).exists()
        with OpenCollection.open_or_create(config, card) as new, new.lock_for_writing():
            assert new.store.count() == 0


@pytest.mark.store_server
def test_a_collection_deleted_and_created_again(config, name, card, other):
    with OpenCollection.open_or_create(config, card) as opened:
        with opened.lock_for_writing():
            pass
        delete_collection(config)
        create_collection(config, other)
        with pytest.raises(CollectionError, match="re-indexed"), opened.lock_for_writing():
            pytest.fail("it is another collection")


@pytest.mark.store_server
@pytest.mark.parametrize("same_model", [True, False])
def test_two_first_ingests_at_the_same_time(
    config, place, name, card, other, same_model, monkeypatch
):
    """Both find no collection. The second uses that of the first, or is refused: whatever has been
    written can be found."""
    both_have_looked = threading.Barrier(2, timeout=30)
    looked: set[threading.Thread] = set()
    find = type(place).find

    def find_together(self, name):
        found, thread = find(self, name), threading.current_thread()
        if thread is not threading.main_thread() and thread not in looked:
            looked.add(thread)
            both_have_looked.wait()
        return found

    monkeypatch.setattr(type(place), "find", find_together)

    def write_point(number: int) -> str | None:
        model = card if same_model or not number else other
        try:
            with OpenCollection.open_or_create(config, model) as opened:
                opened.store.upsert([Record(str(uuid.UUID(int=number + 1)), {}, {"kind": "text"})])
        except DamagedError:
            raise
        except (StoreBusyError, CollectionError):
            return None
        return str(uuid.UUID(int=number + 1))

    with ThreadPoolExecutor(2) as pool:
        written = {id for id in pool.map(write_point, range(2)) if id}
    assert written
    assert same_model or len(written) == 1
    with OpenCollection.open(config) as opened:
        assert {record.id for record in opened.store.scroll()[0]} == written


def test_an_index_is_built_and_switched_to(config, place, name, card, other):
    create_collection(config, card)
    index = place.start_build(name, other, make_layout(config))
    found = place.get_indexes(name)
    assert (found.in_use.card, found.building) == (card, index)
    write(config, place, index)
    with OpenCollection.open(config) as opened:
        assert opened.store.count() == 0
    place.switch(name, index)
    found = place.get_indexes(name)
    assert (found.in_use.card, found.old.card, found.building) == (other, card, None)
    with OpenCollection.open(config) as opened:
        assert opened.store.count() == 1
    assert place.rollback(name) == card
    found = place.get_indexes(name)
    assert (found.in_use.card, found.old.card) == (card, other)
    assert [one.fingerprint for one in place.delete_inactive(name)] == ["shades-1"]
    assert place.get_indexes(name).old is None
    with pytest.raises(CollectionError, match="no old index"):
        place.rollback(name)
    assert place.delete_inactive(name) == []


def test_the_index_before_the_old_one_is_deleted(config, place, name, card, other):
    create_collection(config, card)
    for version in range(2, 5):
        card = replace(other, fingerprint=f"shades-{version}")
        place.switch(name, place.start_build(name, card, make_layout(config)))
    found = place.get_indexes(name)
    assert found.in_use.card.fingerprint == "shades-4"
    assert found.old.card.fingerprint == "shades-3"
    assert len(list((place.local_dir(name) / "indexes").glob("*"))) <= 2


def test_an_index_of_a_collection_that_does_not_exist_yet(config, place, name, card):
    index = place.start_build(name, card, make_layout(config))
    assert place.get_build(name) == index
    assert not place.exists(name)
    write(config, place, index)
    place.switch(name, index)
    assert place.exists(name)
    found = place.get_indexes(name)
    assert (found.in_use.card, found.old, found.building) == (card, None, None)
    with OpenCollection.open(config) as opened:
        assert opened.store.count() == 1


def test_a_build_can_be_deleted(config, place, name, card, other):
    create_collection(config, card)
    place.start_build(name, other, make_layout(config))
    assert place.delete_inactive(name) == [other]
    assert place.get_indexes(name).building is None


def test_another_model_is_refused(config, card, other):
    create_collection(config, card)
    with pytest.raises(CollectionError, match="cannot be compared"):
        OpenCollection.open_or_create(config, other)


def test_tenants_share_a_collection(config, card):
    acme, bolt = (replace(config, tenant=name) for name in ("acme", "bolt"))
    for mine in (acme, bolt):
        with OpenCollection.open_or_create(mine, card) as opened:
            opened.store.upsert([Record(ID, {}, {"kind": "text"})])
            assert opened.store.count() == 1
            assert opened.index_dir.parts[-2:] == ("tenants", mine.tenant)
            assert opened.thumbnail_dir.parent == opened.path
    with OpenCollection.open(config) as everything:
        assert everything.store.count() == 2
        assert dict(everything.store.facet("tenant")) == {"acme": 1, "bolt": 1}
    delete_collection(acme)
    with OpenCollection.open(acme) as opened:
        assert opened.store.count() == 0
    with OpenCollection.open(bolt) as opened:
        assert opened.store.count() == 1


def test_a_store_is_identified_by_its_address(config, place):
    assert has_backend(config.store)
    assert not has_backend("ftp://example.com")
    with pytest.raises(ConfigError, match="expected a folder, or a URL that begins with http://"):
        open_backend(replace(config, store="ftp://example.com"))
    assert open_backend(replace(config, collection="another")).location == place.location
    assert place.upload_concurrency >= 1
    assert place.is_shared == config.store.startswith("http")


def test_a_deletion_leaves_nothing_that_a_closing_server_process_writes(
    folder_store, config, monkeypatch, card
):
    here = replace(config, **folder_store)
    create_collection(here, card)
    folder = here.local_folder / here.collection
    rmtree, late = shutil.rmtree, iter(["shard"])

    def delete(path, **options):
        rmtree(path, **options)
        for name in late:
            (folder / name).mkdir(parents=True)

    monkeypatch.setattr(shutil, "rmtree", delete)
    delete_collection(here)
    assert not folder.exists()
    create_collection(here, card)
