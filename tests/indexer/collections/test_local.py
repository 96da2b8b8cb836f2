"""The folder of a collection that somebody else made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.collections import make_layout, open_backend
from indexer.collections.collection import create_collection
from indexer.errors import CollectionError


@pytest.fixture
def ours(tmp_path) -> Path:
    """A folder beside the store, with a collection and other files."""
    (tmp_path / "ours" / "photos").mkdir(parents=True)
    for name in ("collection.json", "catalogue.db", "photos/a.jpg"):
        (tmp_path / "ours" / name).write_text("precious")
    return tmp_path / "ours"


@pytest.mark.parametrize("link", ["indexes", "indexes/x", "tenants", "tenants/x"])
def test_what_a_link_leads_to_is_not_deleted(config, colors, ours, link):
    config = replace(config, store=str(ours.parent / "store"))
    place, name = open_backend(config), config.collection
    create_collection(config, colors.card)
    path = place.local_dir(name) / link
    (place.local_dir(name) / "shard").mkdir()
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(ours if "/" in link else ours.parent)
    assert place.get_build(name) is None
    place.delete_inactive(name)
    for _ in range(2 if "tenants" in link else 0):  # then the first index is deleted
        place.switch(name, place.start_build(name, colors.card, make_layout(config)))
    place.delete(name)
    assert sorted(p.name for p in ours.iterdir()) == ["catalogue.db", "collection.json", "photos"]
    assert (ours / "photos" / "a.jpg").exists()


@pytest.mark.parametrize("index", ["/etc", "../other", "indexes/..", "indexes/../../other"])
def test_an_index_is_in_the_folder_of_its_collection(config, colors, index):
    place, name = open_backend(config), config.collection
    create_collection(config, colors.card)
    file = place.local_dir(name) / "collection.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "index": index}))
    with pytest.raises(CollectionError, match="is not a folder in indexes"):
        place.get_indexes(name)
