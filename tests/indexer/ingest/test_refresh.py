"""An index of an earlier version gets names and new words; no image is embedded again."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

from embedder import Input
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, LATEST_TEXTS, NAME, TextIndexing
from indexer.ingest import decode_stage, refresh
from indexer.ingest.pipeline import ingest
from indexer.ingest.tagging import tag_points
from indexer.ingest.thumbnails import thumbnail_path
from indexer.ingest.time_and_place import TAKEN_FIELDS
from indexer.ingest.types import IngestOptions
from indexer.search.duplicates import group_duplicates
from tests import in_process_store
from tests.indexer.outdated import OLD, make_outdated

FILES = [
    "red car.jpg",
    "Wald/blue.jpg",
    "Wald/IMG_0001.jpg",
    "IMG_0002.jpg",
    "green tea/DSC_0003.jpg",
]


@pytest.fixture(params=["folder", pytest.param("http", marks=pytest.mark.server), "grpc"])
def settings(request, config, monkeypatch):
    in_process_store.install(monkeypatch)
    return replace(config, **request.getfixturevalue(f"{request.param}_store"))


@pytest.fixture
def folder(tmp_path, photo):
    for number, name in enumerate(FILES):
        photo(tmp_path / "all" / "Pictures" / name, number)
    (tmp_path / "all" / "Pictures" / "tea.md").write_text("Green tea is grown in Uji.")
    return tmp_path / "all" / "Pictures"


def run(settings, colors, folder, stop=None, **options):
    """Ingest; returns what was embedded: (images, texts)."""
    colors.calls.clear()
    texts: list[str] = []
    embed = type(colors).embed

    def recording(inputs, role, instruction=None):
        texts.extend(item.text for item in inputs if item.text)
        return embed(colors, inputs, role, instruction)

    colors.embed = recording
    with OpenCollection.open_or_create(settings, colors.card) as collection:
        run.report = ingest([folder], collection, colors, IngestOptions(**options), stop=stop)
    return sum(colors.calls), sorted(texts)


def read_vectors(settings):
    """File name -> its vectors."""
    with OpenCollection.open(settings) as collection:
        records, _ = collection.store.scroll(limit=100, vectors=True)
    return {record.payload["name"]: dict(record.vectors) for record in records}


def get_texts(settings):
    return open_backend(settings).get_indexes(settings.collection).in_use.texts


def test_an_index_of_an_earlier_version_is_brought_up_to_date(settings, colors, folder):
    assert run(settings, colors, folder, names=False) == (5, ["Green tea is grown in Uji."])
    before = read_vectors(settings)
    make_outdated(settings)
    assert NAME not in read_vectors(settings)["red car.jpg"]
    assert run(settings, colors, folder) == (0, ["Wald", "blue", "green tea", "red car"])
    assert (run.report.unchanged, get_texts(settings)) == (6, LATEST_TEXTS)
    after = read_vectors(settings)
    named = {name for name, vectors in after.items() if NAME in vectors}
    assert named == {"red car.jpg", "blue.jpg", "IMG_0001.jpg", "DSC_0003.jpg"}
    (blue,) = colors.embed([Input(text="blue")], "document")
    np.testing.assert_allclose(after["blue.jpg"][NAME], blue, atol=1e-3)
    for name, vectors in before.items():
        assert after[name][BM25] == vectors[BM25]  # rewritten
        for channel in {"image", "text"} & vectors.keys():
            np.testing.assert_allclose(after[name][channel], vectors[channel], atol=1e-3)
    assert run(settings, colors, folder) == (0, [])


def test_an_interrupted_run_leaves_what_there_was_and_is_continued(
    settings, colors, folder, monkeypatch
):
    monkeypatch.setattr(refresh, "PAGE_SIZE", 2)
    run(settings, colors, folder, names=False)
    make_outdated(settings)
    stop, pages = threading.Event(), []
    write_page = refresh.TextRefresh._write_page

    def write_and_stop(self, page):
        write_page(self, page)
        pages.append([record.id for record in page])
        stop.set()

    monkeypatch.setattr(refresh.TextRefresh, "_write_page", write_and_stop)
    run(settings, colors, folder, stop=stop)
    assert len(pages) == 1 and get_texts(settings) == OLD
    assert all(NAME not in vectors for vectors in read_vectors(settings).values())  # not yet
    run(settings, colors, folder)
    assert len({id for page in pages for id in page}) == sum(map(len, pages)) == 6
    assert get_texts(settings) == LATEST_TEXTS
    assert sum(NAME in vectors for vectors in read_vectors(settings).values()) == 4


def test_names_are_off_until_they_are_turned_on(settings, colors, folder):
    assert run(settings, colors, folder)[1] == [
        "Green tea is grown in Uji.",
        "Wald",
        "blue",
        "green tea",
        "red car",
    ]
    assert run(settings, colors, folder, names=False) == (0, [])
    assert all(NAME not in vectors for vectors in read_vectors(settings).values())
    os.rename(folder / "red car.jpg", folder / "white car.jpg")
    assert run(settings, colors, folder, prune=True) == (0, [])  # remembered
    assert get_texts(settings) == TextIndexing(names=False)
    assert run(settings, colors, folder, names=True)[1] == [
        "Wald",
        "blue",
        "green tea",
        "white car",
    ]


def test_an_outdated_index_whose_names_are_turned_off_gets_its_new_words(
    config, colors, folder, monkeypatch
):
    in_process_store.install(monkeypatch)
    run(config, colors, folder)
    before = read_vectors(config)
    make_outdated(config, names=True)
    assert run(config, colors, folder, names=False) == (0, [])
    after = read_vectors(config)
    assert all(NAME not in vectors for vectors in after.values())
    assert {n: v[BM25] for n, v in after.items()} == {n: v[BM25] for n, v in before.items()}


def test_points_get_the_dates_in_their_names(config, colors, folder, photo, monkeypatch):
    in_process_store.install(monkeypatch)
    photo(folder / "IMG_20190704_101530.jpg", 9)
    run(config, colors, folder)
    make_outdated(config)
    with OpenCollection.open(config) as collection:
        for record in collection.store.scroll(limit=100)[0]:
            undated = {k: v for k, v in record.payload.items() if k not in TAKEN_FIELDS}
            collection.store.patch([replace(record, vectors={}, payload=undated)])
    run(config, colors, folder)
    with OpenCollection.open(config) as collection:
        dates = {r.payload.get("taken") for r in collection.store.scroll(limit=100)[0]}
    assert dates == {None, "2019-07-04T10:15:30"}


def test_tags_given_meanwhile_are_kept(settings, colors, folder, monkeypatch):
    run(settings, colors, folder)
    signatures = make_outdated(settings)
    make_patch = refresh.TextRefresh._make_patch

    def tag_first(self, record, embedded):
        tag_points(self._store, [record.id], add=["holiday"])
        return make_patch(self, record, embedded)

    monkeypatch.setattr(refresh.TextRefresh, "_make_patch", tag_first)
    run(settings, colors, folder)
    with OpenCollection.open(settings) as collection:
        payloads = {r.id: r.payload for r in collection.store.scroll()[0]}
    assert {tuple(payload["tags"]) for payload in payloads.values()} == {("holiday",)}
    assert {id for id, payload in payloads.items() if "signature" in payload} == signatures.keys()


def test_a_moved_file_has_its_new_name(settings, colors, folder):
    run(settings, colors, folder)
    os.rename(folder / "red car.jpg", folder / "white.jpg")
    os.rename(folder / "Wald" / "blue.jpg", folder / "IMG_0009.jpg")
    assert run(settings, colors, folder, prune=True) == (0, ["white"])
    after = read_vectors(settings)
    (white,) = colors.embed([Input(text="white")], "document")
    np.testing.assert_allclose(after["white.jpg"][NAME], white, atol=1e-3)
    assert NAME not in after["IMG_0009.jpg"]


def test_the_points_of_all_tenants_are_brought_up_to_date(config, colors, folder, monkeypatch):
    in_process_store.install(monkeypatch)
    tenants = [replace(config, tenant=name) for name in ("ada", "grace")]
    for own in tenants:
        run(own, colors, folder, names=False)
    signatures = make_outdated(config)
    assert run(tenants[0], colors, folder) == (0, ["Wald", "blue", "green tea", "red car"])
    (folder / "red car.txt").write_text("an old lorry")  # its payload is written again
    assert run(tenants[1], colors, folder) == (0, ["an old lorry"])
    assert sum(NAME in vectors for vectors in read_vectors(tenants[1]).values()) == 4
    with OpenCollection.open(config) as collection:
        stored = {r.id: r.payload.get("signature") for r in collection.store.scroll(limit=100)[0]}
    assert {id for id, signature in stored.items() if signature} == signatures.keys()


def test_copies_with_several_names_have_the_mean_of_them(config, colors, folder, monkeypatch):
    in_process_store.install(monkeypatch)
    (folder / "green.jpg").write_bytes((folder / "red car.jpg").read_bytes())
    (folder / "IMG_0005.jpg").write_bytes((folder / "red car.jpg").read_bytes())
    run(config, colors, folder)
    red, green = colors.embed([Input(text="red car"), Input(text="green")], "document")
    mean = (red + green) / np.linalg.norm(red + green)
    vector = next(v for name, v in read_vectors(config).items() if name == "IMG_0005.jpg")[NAME]
    np.testing.assert_allclose(vector, mean, atol=1e-3)


def test_images_get_their_signatures_from_the_thumbnails(settings, colors, folder, monkeypatch):
    run(settings, colors, folder)
    signatures = make_outdated(settings)
    with OpenCollection.open(settings) as collection:
        records, _ = collection.store.scroll(limit=100)
        lost = next(r.id for r in records if r.payload["name"] == "IMG_0002.jpg")
        thumbnail_path(collection.thumbnail_dir, lost).unlink()

    def no_decoding(*_, **__):
        raise AssertionError("a file was decoded")

    monkeypatch.setattr(decode_stage, "decode_image", no_decoding)
    assert run(settings, colors, folder)[0] == 0
    (folder / "red car.txt").write_text("an old lorry")  # its payload is written again
    run(settings, colors, folder)
    with OpenCollection.open(settings) as collection:
        stored = {r.id: r.payload for r in collection.store.scroll(limit=100)[0]}
    assert "signature" not in stored[lost]
    for id, signature in signatures.items():
        if id != lost:
            payload = stored[id]
            vectors = np.eye(2, dtype=np.float32)
            copies = [{**payload, "signature": one} for one in (signature, payload["signature"])]
            assert group_duplicates(copies, vectors, 0.9) == [0, 0]


def test_a_signature_that_the_catalog_lacks_is_not_dropped(config, colors, folder, monkeypatch):
    """A crash came after the store had it, and before the catalog was committed."""
    in_process_store.install(monkeypatch)
    run(config, colors, folder)
    signatures = make_outdated(config)
    with OpenCollection.open(config) as collection:
        for record in collection.store.retrieve(list(signatures)):
            payload = record.payload | {"signature": signatures[record.id]}
            collection.store.patch([replace(record, vectors={}, payload=payload)])
    (folder / "red car.txt").write_text("an old lorry")
    run(config, colors, folder)
    with OpenCollection.open(config) as collection:
        stored = collection.store.retrieve([*signatures])
    assert all("signature" in record.payload for record in stored)
