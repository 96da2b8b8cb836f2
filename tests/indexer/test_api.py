"""The public class `indexer.Collection`, with the small embedder of tests/embedders.py."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from embedder.families import registry
from indexer import (
    Collection,
    CollectionError,
    ConfigError,
    IndexerError,
    Part,
    QueryError,
    parse_query,
)
from tests.noise import make_noise

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def collection(tmp_path, monkeypatch) -> Collection:
    """A collection that does not exist yet."""
    families = (registry.Family("colors", "tests.embedders"),)
    monkeypatch.setattr(registry, "FAMILIES", families)
    with Collection.open("walls", store=tmp_path / "store", model="colors") as opened:
        yield opened


@pytest.fixture
def walls(tmp_path, photo) -> Path:
    """Three images, each of one color."""
    for color in ("red", "green", "blue"):
        photo(tmp_path / "walls" / f"{color}.png", color)
    return tmp_path / "walls"


def names(results) -> list[str]:
    return [Path(hit.path).stem for hit in results]


def test_ingest_then_search(collection, walls, photo):
    assert not collection.exists()
    assert len(collection) == 0
    assert collection.ingest(walls).added == 3
    assert len(collection) == 3
    assert names(collection.search("red", limit=1)) == ["red"]
    photo(walls / "black.png", "black")
    assert collection.ingest(str(walls)).added == 1
    assert names(collection.search("black", limit=1)) == ["black"]


def test_what_a_query_may_be(collection, walls):
    collection.ingest(walls)
    blue = Image.new("RGB", (40, 40), "blue")
    for query in (
        blue,
        walls / "blue.png",
        {"image": blue},
        {"image": str(walls / "blue.png")},
        ["blue", blue],
        [{"text": "blue", "weight": 2}, {"text": "red", "weight": -1}],
        Part(text="blue"),
    ):
        assert names(collection.search(query, limit=1)) == ["blue"], query
    (hit,) = collection.search("blue", limit=1)
    assert names(collection.search({"id": hit.id}, limit=1)) == ["blue"]
    assert names(collection.search([{"id": hit.id}, "blue"], limit=1)) != ["blue"]
    assert len(collection.search()) == 3
    assert names(collection.search(filters={"name": ["red.png", "blue.png"]}, limit=9)) != []
    assert len(collection.search(filters={"name": "red.png"})) == 1
    assert len(collection.search(filters={"name": {"not": "red.png"}})) == 2
    assert collection.search(filters={"name": "red.png,blue.png"}).hits == ()
    assert collection.facets({"name": {"not": ["red.png", "blue.png"]}})["kind"] == [("image", 1)]
    with pytest.raises(QueryError, match="no item has the key 'nmae'; did you mean 'name'"):
        collection.facets({"nmae": "red.png"})


def test_a_string_is_text_and_parse_query_reads_signs(collection, walls):
    collection.ingest(walls)

    def weights(query):
        hit = collection.search(query, limit=1)[0]
        return {part["label"]: part["weight"] for part in hit.why["parts"]}

    assert weights("red -blue^2") == {"red -blue^2": 1}
    assert weights(["-red", str(walls / "red.png")]) == {"-red": 1, str(walls / "red.png"): 1}
    assert weights(parse_query("a red wall -blue^2")) == {"a red wall": 1, "blue": -2}


def closed_image() -> Image.Image:
    image = Image.new("RGB", (40, 40))
    image.close()
    return image


def truncated_image() -> Image.Image:
    file = BytesIO()
    make_noise((200, 200), 50).save(file, "PNG")
    return Image.open(BytesIO(file.getvalue()[:1000]))


MALFORMED = (
    *(5, {"words": "red"}, {}, {"text": "red", "id": "x"}, [None], {"text": 5}, {"image": 5}),
    *({"text": "a", "weight": "x"}, {"text": "a", "weight": None}, {"id": "x"}, {"id": " "}),
    *("", "  ", {"text": ""}, Part(), Part(text=""), Part(text="red", id="x"), ["red", ""]),
    *(closed_image(), truncated_image(), Image.new("RGB", (0, 0)), Image.new("L", (0, 5))),
    *({"image": closed_image()}, Part(image=truncated_image()), {"text": "a", "weight": 1e30}),
)


@pytest.mark.parametrize("query", MALFORMED)
def test_what_a_query_may_not_be(collection, walls, query):
    collection.ingest(walls)
    with pytest.raises(QueryError):
        collection.search(query)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": -1}, "limit and offset are from 0 to"),
        ({"limit": -1}, "limit and offset are from 0 to"),
        (
            {"limit": 2**64},
            "limit and offset are from 0 to 1,000,000,000, not 18446744073709551616",
        ),
        ({"diversity": -0.1}, "diversity is a number from 0 to 1"),
        ({"diversity": 1.5}, "diversity is a number from 0 to 1"),
        ({"diversity": float("nan")}, "diversity is a number from 0 to 1"),
    ],
)
def test_numbers_out_of_range(collection, walls, options, message):
    collection.ingest(walls)
    for search in (collection.search, lambda **page: collection.search("red", **page)):
        with pytest.raises(QueryError, match=message):
            search(**options)


def test_an_image_and_words_are_two_parts(collection, walls):
    collection.ingest(walls)
    with pytest.raises(QueryError, match="as a list"):
        collection.search({"image": walls / "red.png", "text": "blue"})
    assert len(collection.search([walls / "red.png", "blue"])) == 3


def test_facets_check_their_limit(collection, walls):
    collection.ingest(walls)
    for limit in (-1, 2**64):
        with pytest.raises(QueryError, match="limit and offset are from 0"):
            collection.facets(limit=limit)


def test_ingest_without_sources_creates_nothing(collection):
    for sources in ((), ([],), ("",)):  # "" is not this folder
        with pytest.raises(IndexerError, match="ingest needs a source"):
            collection.ingest(*sources)
    assert not collection.exists()


def test_ingest_takes_a_list_of_sources(collection, walls, photo):
    photo(walls.parent / "more" / "black.png", "black")
    assert collection.ingest([walls, walls.parent / "more"]).added == 4


def test_a_collection_that_another_process_has_created(collection, walls):
    assert not collection.exists()
    with Collection(collection.config) as other:
        assert other.ingest(walls).added == 3
    assert collection.exists()
    report = collection.ingest(walls)
    assert (report.added, report.unchanged) == (0, 3)


@pytest.mark.store_server
def test_another_process_turns_names_off(collection, walls, tmp_path):
    collection.ingest(walls)
    assert "name" in collection.search("red")[0].why["channels"]
    with Collection.open("walls", store=tmp_path / "store", model="colors") as other:
        other.ingest(walls, names=False)
    found = collection.search("red")
    assert names(found)[0] == "red"
    assert "name" not in found[0].why["channels"]
    assert collection.similar(found[0].id)


def test_filters_that_are_none(collection, walls):
    collection.ingest(walls)
    with pytest.raises(QueryError, match="filters map"):
        collection.search("red", filters="kind=image")


def test_before_the_first_ingest(collection):
    with pytest.raises(CollectionError, match="there is no collection 'walls'"):
        collection.search("red")
    with pytest.raises(IndexerError, match="does not exist"):
        collection.ingest("/nowhere")
    assert not collection.exists()


def test_a_dry_run_makes_nothing(collection, walls):
    assert collection.ingest(walls, dry_run=True).added == 3
    assert not collection.exists()


def test_an_ingest_that_is_interrupted_leaves_what_it_has_written(collection, walls):
    def interrupt(progress):
        if progress.done == progress.total:  # all is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.ingest(walls, on_progress=interrupt)
    assert collection.exists()
    assert len(collection) == 3
    assert collection.ingest(walls).files == 3


def test_settings(tmp_path):
    with pytest.raises(ConfigError, match="color"):
        Collection.open("walls", store=tmp_path, color="red")


def test_a_closed_collection_opens_again(collection, walls):
    collection.ingest(walls)
    collection.close()
    assert names(collection.search("green", limit=1)) == ["green"]
