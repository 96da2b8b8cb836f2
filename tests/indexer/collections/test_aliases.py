"""The aliases of a collection on a server, when some of them or of their targets are missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from qdrant_client import QdrantClient

from indexer.collections import make_layout, open_backend
from indexer.collections.collection import (
    OpenCollection,
    create_collection,
    delete_collection,
    list_collections,
)
from indexer.collections.qdrant import NEW, OLD
from indexer.errors import CollectionError
from indexer.stores.base import Layout
from indexer.stores.qdrant import schema

pytestmark = pytest.mark.needs_faults  # only the stand-in's state can be changed at will
COMMON = {*product(("live", "none"), repeat=3), ("lost", "live", "none"), ("lost", "lost", "lost")}
REPAIRED = {
    ("live", "live", "live"),
    ("none", "live", "live"),
    ("none", "none", "live"),
    ("none", "none", "none"),
    ("lost", "live", "none"),
}
"""Of NAME, NAME@old, NAME@new: live is an alias with its target, lost is one without, none is none.
All 27 are tested; those that differ little from these are slow tests."""


def make_params(fast: set[tuple[str, ...]]) -> list:
    every = product(("live", "lost", "none"), repeat=3)
    return [pytest.param(s, marks=() if s in fast else pytest.mark.slow) for s in every]


@pytest.fixture
def config(config, http_store):
    return replace(config, **http_store)


@pytest.fixture
def place(config):
    return open_backend(config)


@pytest.fixture
def cards(colors):
    """Of the active index, the old one, and the one that is being built."""
    return [replace(colors.card, name=n, fingerprint=n) for n in ("active", "old", "new")]


@pytest.fixture
def prepare(config, place, cards, qdrant, monkeypatch):
    """`prepare(state)` makes a collection with three indexes, and breaks it."""
    hours = iter(range(10, 24))
    now = "indexer.collections.qdrant.current_time"
    monkeypatch.setattr(now, lambda: f"2026-01-01T{next(hours)}:00:00+00:00")
    monkeypatch.setattr(schema, "make_payload_indexes", lambda *_: {})  # to save requests

    def prepare(state: tuple[str, ...]) -> dict[str, str]:
        name = config.collection
        create_collection(config, cards[1])
        place.mark_ingested(name, place.get_indexes(name).in_use)
        index = place.start_build(name, cards[0], make_layout(config))
        place.mark_ingested(name, index)
        place.switch(name, index)
        place.start_build(name, cards[2], make_layout(config))
        keys = aliases(qdrant)
        for alias, how in zip(("", OLD, NEW), state, strict=True):
            local, key = qdrant.state._local, keys[name + alias]
            local.collection_exists = lambda n, of=local: of.aliases.get(n, n) in of.collections
            if how == "none":
                del local.aliases[name + alias]
            elif how == "lost":
                qdrant.state.delete_collection(key)
                local.aliases[name + alias] = key
        return keys

    return prepare


def aliases(qdrant) -> dict[str, str]:
    return {one.alias_name: one.collection_name for one in qdrant.state.aliases().aliases}


def expect(state) -> tuple[str | None, str | None, str | None]:
    """Which index is active, old, and being built. What has lost its alias is found where nothing
    else can be active, and the last ingested one is preferred."""
    active, old, new = (how == "live" for how in state)
    is_unnamed = [how == "none" for how in state]
    building = "new" if new else None
    if active:
        return "active", "old" if old else None, building
    if old:
        return "old", None, building
    if is_unnamed[0] or is_unnamed[1]:
        return "active" if is_unnamed[0] else "old", None, building
    return None, None, building


def names(indexes) -> tuple[str | None, ...]:
    parts = (indexes.in_use, indexes.old, indexes.building)
    return tuple(index and index.card.name for index in parts)


@pytest.mark.parametrize("state", make_params(COMMON), ids="-".join)
def test_every_state_is_read_as_it_is(prepare, config, place, state, qdrant):
    """Reading finds what is left, and changes nothing."""
    prepare(state)
    before, expected = aliases(qdrant), expect(state)
    name = config.collection
    found = place.find(name)
    assert (found and found.card.name) == expected[0]
    assert place.exists(name) == bool(expected[0])
    build = place.get_build(name)
    assert (build and build.card.name) == expected[2]
    listed = [one.card.name for one in list_collections(config) if one.name == name]
    assert listed == ([expected[0]] if expected[0] else [])
    if expected[0]:
        assert names(place.get_indexes(name)) == expected
    else:
        says = "not complete.*reindex --forget" if state[2] != "none" else "there is no collection"
        with pytest.raises(CollectionError, match=says):
            OpenCollection.open(config)
    assert aliases(qdrant) == before


@pytest.mark.parametrize("state", make_params(REPAIRED), ids="-".join)
def test_writing_restores_the_aliases(prepare, config, place, state, qdrant):
    prepare(state)
    expected, name = expect(state), config.collection
    if expected[0] is None:
        return
    with OpenCollection.open(config) as opened, opened.lock_for_writing():
        pass
    with OpenCollection.open(config) as opened:
        assert opened.card.name == expected[0]
    if state[0] != "live":
        keys = {alias: place._find_index(name, key) for alias, key in aliases(qdrant).items()}
        assert {alias: index.card.name for alias, index in keys.items()} == {
            name + which: card for which, card in zip(("", OLD, NEW), expected, strict=True) if card
        }


@pytest.mark.parametrize("state", make_params(REPAIRED), ids="-".join)
def test_rollback_in_every_state(prepare, config, place, state):
    prepare(state)
    (active, old, new), name = expect(state), config.collection
    if old is None:
        says = "no old index" if active else "not complete|there is no collection"
        with pytest.raises(CollectionError, match=says):
            place.rollback(name)
        if active:
            assert names(place.get_indexes(name)) == (active, None, new)
        return
    assert place.rollback(name).name == old
    assert names(place.get_indexes(name)) == (old, active, new)


@pytest.mark.parametrize("state", make_params(REPAIRED), ids="-".join)
def test_forget_in_every_state_keeps_the_active_index(prepare, config, place, state):
    prepare(state)
    (active, old, new), name = expect(state), config.collection
    assert {card.name for card in place.delete_inactive(name)} == {old, new} - {None}
    assert place.get_build(name) is None
    if active:
        assert names(place.get_indexes(name)) == (active, None, None)


@pytest.mark.parametrize("state", make_params(REPAIRED), ids="-".join)
def test_a_switch_in_every_state(prepare, config, place, state, cards):
    prepare(state)
    (active, _, _), name = expect(state), config.collection
    newest = replace(cards[0], name="newest", fingerprint="newest")
    place.switch(name, place.start_build(name, newest, Layout()))
    assert names(place.get_indexes(name)) == ("newest", active, None)


@pytest.mark.parametrize("state", make_params(REPAIRED), ids="-".join)
def test_delete_in_every_state_leaves_nothing(prepare, config, place, state, qdrant):
    """Not even an index that would be taken for the active one later."""
    prepare(state)
    name = config.collection
    if expect(state)[0]:
        delete_collection(config)
    else:
        place.delete(name)
    assert not [one.name for one in qdrant.state.collections().collections if name in one.name]
    assert place.find(name) is None


def test_a_switch_is_one_request_that_replaces_the_alias(prepare, config, place, qdrant):
    keys, name = prepare(("live", "live", "live")), config.collection
    seen = []
    change = qdrant.state.change_aliases
    qdrant.state.change_aliases = lambda actions: seen.append(actions) or change(actions)
    try:
        place.switch(name, place.get_build(name))
    finally:
        del qdrant.state.change_aliases
    ((first, second, third),) = seen
    assert first.create_alias.alias_name == name
    assert (second.create_alias.alias_name, second.create_alias.collection_name) == (
        name + OLD,
        keys[name],
    )
    assert third.delete_alias.alias_name == name + NEW


def test_nothing_is_changed_if_a_target_is_gone(prepare, config, place, qdrant):
    keys, name = prepare(("live", "live", "live")), config.collection
    build = place.get_build(name)
    qdrant.state.delete_collection(build.key)
    with pytest.raises(CollectionError, match="nothing was changed"):
        place.switch(name, build)
    assert aliases(qdrant) == {name: keys[name], name + OLD: keys[name + OLD]}


def test_delete_spares_collections_of_other_programs(config, place, cards, qdrant):
    create_collection(config, cards[0])
    other = f"{config.collection}@backup"
    QdrantClient(qdrant.url, check_compatibility=False).create_collection(other, {})
    delete_collection(config)
    assert [one.name for one in qdrant.state.collections().collections] == [other]
