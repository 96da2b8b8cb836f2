"""Queries that people type, asked of some sample pictures with the starter."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from indexer import Collection, parse_query

SAMPLES = Path(__file__).parents[3] / "samples"
ANIMALS = "black-cat chelsea cow owl polar-bear puppies-at-the-door shepherd-dog tiger zebra"
PLACES = "eiffel-tower lake-boats sunset yellow-flower sunflower dandelions snowman"
THINGS = "baseball volleyball banana red-apple strawberry bicycle motorcycle red-bus red-apple"
PICTURES = {*ANIMALS.split(), *PLACES.split(), *THINGS.split()}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """As shipped: with the captions that these pictures have."""
    folder = tmp_path_factory.mktemp("samples")
    paths = [path for path in SAMPLES.rglob("*.*") if path.stem in PICTURES]
    for path in paths:
        shutil.copy(path, folder)
    with (SAMPLES / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            {**row, "file": Path(row["file"]).name}
            for row in csv.DictReader(file)
            if Path(row["file"]).stem in PICTURES
        ]
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["file", "language", "caption"])
        writer.writeheader()
        writer.writerows(rows)
    with Collection.open("samples", store=folder / "store", model="starter") as opened:
        opened.ingest(folder)
        yield opened


@pytest.mark.parametrize("query", ["bicycle", "a cat", "an apple", "a bus", "ein Hund", "雪だるま"])
def test_the_strength_does_not_rise_down_the_page(collection, query):
    words = ["strong", "likely", "weak"]
    places = [words.index(hit.match) for hit in collection.search(query, limit=20)]
    assert places == sorted(places)


def find(collection, *parts) -> list[str]:
    return [Path(hit.path).stem for hit in collection.search(list(parts), limit=10)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("a blue bicycle", {"bicycle"}),
        ("a bicycle", {"bicycle"}),  # and not the motorcycle, which has a caption
        ("夕焼けの湖", {"lake-boats"}),
        ("ein roter Apfel", {"red-apple"}),
        ("猫", {"black-cat", "chelsea"}),
        ("ball -volleyball", {"baseball"}),
        ("flower -sunflower", {"yellow-flower", "dandelions"}),
        ("cat -tiger", {"black-cat", "chelsea"}),
        ("fruit -banana", {"red-apple", "strawberry"}),
    ],
)
def test_the_first_place_is_right_and_what_a_minus_names_is_gone(collection, query, first):
    unwanted = query.partition(" -")[2]
    found = find(collection, *parse_query(query))
    assert found[0] in first
    assert not unwanted or unwanted not in found
    assert not unwanted or first <= {*found}, "what only resembles it stays"


def test_a_dog_in_the_snow_is_a_dog_first(collection):
    dog = next(SAMPLES.rglob("shepherd-dog.*"))
    assert find(collection, dog, "in the snow")[0] in {"shepherd-dog", "puppies-at-the-door"}
