"""One suite for every place that keeps collections: a folder, a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.collection import Collection, create, list_collections, remove, summary
from indexer.errors import CollectionError
from indexer.places import layout_of, place_of
from indexer.types import Record

ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(params=["folder", pytest.param("server", marks=pytest.mark.server)])
def config(request, config):
    if request.param == "folder":
        return config
    qdrant = request.getfixturevalue("qdrant")
    name = qdrant.name("family")
    return replace(
        config,
        store=qdrant.url,
        qdrant_api_key=qdrant.api_key,
        collection=name,
        qdrant_retry_seconds=5,
    )


@pytest.fixture
def place(config):
    return place_of(config)


@pytest.fixture
def name(config) -> str:
    return config.collection


@pytest.fixture
def card(colours):
    return colours.card


@pytest.fixture
def other(card):
    return replace(card, name="shades", fingerprint="shades-1")


def write(config, place, index) -> None:
    with Collection.open_index(config, place, index) as opened:
        opened.store.upsert([Record(ID, {}, {"kind": "text"})])


def test_a_collection_from_its_making_to_its_end(config, place, name, card):
    assert name not in place.names()
    assert not place.exists(name)
    with pytest.raises(CollectionError, match=rf"no collection '{name}'.*indexer ingest FOLDER"):
        place.indexes(name)
    create(config, card)
    assert name in place.names()
    assert place.exists(name)
    found = place.indexes(name)
    assert (found.in_use.card, found.in_use.ingested) == (card, None)
    assert (found.old, found.building) == (None, None)
    write(config, place, found.in_use)
    with Collection.open(config) as opened:
        opened.mark_ingested()
        assert opened.store.count() == 1
    told = summary(config)
    assert (told.name, told.card, told.created) == (name, card, found.in_use.created)
    assert told.ingested
    assert name in [one.name for one in list_collections(config)]
    with pytest.raises(CollectionError, match="already"):
        create(config, card)
    remove(config)
    assert name not in place.names()
    assert not place.folder(name).exists()
    with pytest.raises(CollectionError, match="no collection"):
        remove(config)


def test_an_index_is_built_beside_and_switched_to(config, place, name, card, other):
    create(config, card)
    index = place.begin(name, other, layout_of(config))
    found = place.indexes(name)
    assert (found.in_use.card, found.building) == (card, index)
    write(config, place, index)
    with Collection.open(config) as opened:
        assert opened.store.count() == 0
    place.switch(name, index)
    found = place.indexes(name)
    assert (found.in_use.card, found.old.card, found.building) == (other, card, None)
    with Collection.open(config) as opened:
        assert opened.store.count() == 1
    assert place.rollback(name) == card
    found = place.indexes(name)
    assert (found.in_use.card, found.old.card) == (card, other)
    assert [one.fingerprint for one in place.forget(name)] == ["shades-1"]
    assert place.indexes(name).old is None
    with pytest.raises(CollectionError, match="no old index"):
        place.rollback(name)
    assert place.forget(name) == []


def test_the_index_before_the_old_one_is_deleted(config, place, name, card, other):
    create(config, card)
    for version in range(2, 5):
        card = replace(other, fingerprint=f"shades-{version}")
        place.switch(name, place.begin(name, card, layout_of(config)))
    found = place.indexes(name)
    assert found.in_use.card.fingerprint == "shades-4"
    assert found.old.card.fingerprint == "shades-3"
    assert len(list((place.folder(name) / "indexes").glob("*"))) <= 2


def test_an_index_of_a_collection_that_is_not_there_yet(config, place, name, card):
    index = place.begin(name, card, layout_of(config))
    assert place.building(name) == index
    assert not place.exists(name)
    write(config, place, index)
    place.switch(name, index)
    assert place.exists(name)
    found = place.indexes(name)
    assert (found.in_use.card, found.old, found.building) == (card, None, None)
    with Collection.open(config) as opened:
        assert opened.store.count() == 1


def test_half_built_it_can_be_forgotten(config, place, name, card, other):
    create(config, card)
    place.begin(name, other, layout_of(config))
    assert place.forget(name) == [other]
    assert place.indexes(name).building is None


def test_another_model_is_refused(config, card, other):
    create(config, card)
    with pytest.raises(CollectionError, match="cannot be compared"):
        Collection.open_or_create(config, other)


def test_tenants_share_a_collection(config, card):
    acme, bolt = (replace(config, tenant=name) for name in ("acme", "bolt"))
    for mine in (acme, bolt):
        with Collection.open_or_create(mine, card) as opened:
            opened.store.upsert([Record(ID, {}, {"kind": "text"})])
            assert opened.store.count() == 1
            assert opened.index.parts[-2:] == ("tenants", mine.tenant)
            assert opened.thumbs.parent == opened.path
    with Collection.open(config) as everything:
        assert everything.store.count() == 2
        assert dict(everything.store.facet("tenant")) == {"acme": 1, "bolt": 1}
    remove(acme)
    with Collection.open(acme) as opened:
        assert opened.store.count() == 0
    with Collection.open(bolt) as opened:
        assert opened.store.count() == 1
