"""Pairs from a collection's own captions."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from finetune.data.collection_pairs import from_collection, group_near_duplicates
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.paths import hash_content


def picture(folder, name: str) -> Side:
    return Side(image=str(folder / name))


def content(folder, name: str) -> str:
    return hash_content((folder / name).read_bytes())


def test_each_caption_is_a_pair_with_its_language(shared):
    collection, folder = shared
    made = from_collection(collection)
    red, blue = content(folder, "red.png"), content(folder, "blue.png")
    expected = {
        Pair(
            Side("red paint"),
            picture(folder, "red.png"),
            language="en",
            item=red,
            dataset="default",
        ),
        Pair(
            Side("rote Farbe"),
            picture(folder, "red.png"),
            language="de",
            item=red,
            dataset="default",
        ),
        Pair(
            Side("blue paint"),
            picture(folder, "blue.png"),
            language=None,
            item=blue,
            dataset="default",
        ),
        Pair(
            Side("How to mix paint"),
            Side("Take two colors and stir."),
            item=content(folder, "guide.md"),
            dataset="default",
        ),
    }
    assert len(made.pairs) == 4
    assert set(made.pairs) == expected
    assert made.left_out == {"picture without a caption": 7, "document without a title": 1}


def test_both_ways(shared):
    collection, _ = shared
    pairs = from_collection(collection, both_ways=True).pairs
    assert len(pairs) == 8
    assert sum(pair.direction == "i2t" for pair in pairs) == 3
    assert {(p.positive, p.query) for p in pairs[4:]} == {(p.query, p.positive) for p in pairs[:4]}


def test_texts_pairs_captions_of_one_image(shared):
    """Texts only, as E5-V is trained. Red has two captions, blue has one."""
    collection, folder = shared
    pairs = from_collection(collection, texts=True).pairs
    red, guide = content(folder, "red.png"), content(folder, "guide.md")
    found = {(p.query.text, p.positive.text, p.language, p.item) for p in pairs}
    assert found == {
        ("red paint", "rote Farbe", "en", red),
        ("rote Farbe", "red paint", "de", red),
        ("How to mix paint", "Take two colors and stir.", None, guide),
    }
    assert all(pair.direction == "t2t" for pair in pairs)


def test_copies_and_near_duplicates(collection, colors, folder):
    """Near-duplicates are one item; a copy stands in for a file that is gone."""
    copy = folder / "small" / "red.jpg"
    copy.parent.mkdir()
    Image.open(folder / "red.png").resize((60, 45)).save(copy)
    copy.with_suffix(".txt").write_text("en: a red copy")
    shutil.copy(folder / "blue.png", folder / "zz.png")
    ingest([folder], collection, colors, IngestOptions())
    (folder / "blue.png").unlink()
    pairs = {pair.query.text: pair for pair in from_collection(collection).pairs}
    assert pairs["red paint"].item == pairs["a red copy"].item != pairs["blue paint"].item
    assert pairs["blue paint"].positive == picture(folder, "zz.png")
    (folder / "zz.png").unlink()
    made = from_collection(collection)
    assert made.left_out["captioned, but the file is gone"] == 1
    assert "blue paint" not in {pair.query.text for pair in made.pairs}


def test_near_duplicate_rows_are_grouped():
    turn = np.radians([0, 10, 20, 90])  # cos 10 degrees is 0.985, cos 20 degrees 0.94
    vectors = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    assert group_near_duplicates([{}] * len(vectors), vectors).groups() == [[0, 1, 2], [3]]


def test_without_pairs_the_error_gives_advice(collection, colors, folder):
    for name in ("guide.md", "red.png", "blue.png"):
        (folder / name).unlink()
    ids = [r.id for r in collection.store.scroll()[0] if r.payload["name"] == "guide.md"]
    collection.store.delete(ids)
    with pytest.raises(DataError, match=r"files of all 2 captioned pictures .* are gone"):
        from_collection(collection)
    ingest([folder], collection, colors, IngestOptions(prune=True))
    message = "no picture of collection 'default' has a caption: .*captions.csv.*indexer ingest"
    with pytest.raises(DataError, match=message):
        from_collection(collection)
