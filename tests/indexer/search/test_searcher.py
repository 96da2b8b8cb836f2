"""Search in a real collection: ranking, combined queries, duplicates, pages, filters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.errors import QueryError
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.search.bm25 import build_query_vector
from indexer.search.calibration import CalibrationSampler
from indexer.search.filters import make_filters
from indexer.search.noun_bank import compute_noun_vectors
from indexer.search.query_syntax import read_query_image
from indexer.search.searcher import Searcher
from indexer.search.sorting import make_sort_key
from indexer.types import Part, Query
from tests.embedders import ColorEmbedder

COLORS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


@pytest.fixture(scope="module")
def write_pictures(photo):
    """`write_pictures(folder)`: 40 images of noise, one of each color, two captions, a text."""
    return partial(_write_pictures, photo)


def _write_pictures(photo, root: Path) -> Path:
    for i in range(40):
        photo(root / "noise" / f"n{i:02}.png", i)
    for name, color in COLORS.items():
        photo(root / "plain" / f"{name}.png", color)
    (root / "plain" / "blue.txt").write_text("en: the quiet lagoon\nde: die stille Lagune\n")
    (root / "noise" / "n07.txt").write_text("a zeppelin over the harbour")
    (root / "notes.txt").write_text("Remember to buy seventeen umbrellas.")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_pictures):
    return write_pictures(tmp_path_factory.mktemp("searched") / "pictures")


@pytest.fixture(scope="module")
def collection(tmp_path_factory, folder):
    """For tests that only search; the others have `own_folder`, and `own_collection`."""
    colors = ColorEmbedder()
    config = load_config({"store": str(tmp_path_factory.mktemp("searched") / "store")})
    with OpenCollection.open_or_create(config, colors.card) as opened:
        ingest([folder], opened, colors, IngestOptions())
        yield opened


@pytest.fixture
def searcher(collection, colors):
    return Searcher(collection, lambda: colors)


@pytest.fixture
def own_folder(tmp_path, write_pictures):
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def own_collection(config, colors, in_process):
    """An empty one, which a test fills with `own_folder`."""
    with OpenCollection.open_or_create(config, colors.card) as opened:
        yield opened


def names(results) -> list[str]:
    return [hit.payload["name"] for hit in results.hits]


def text(words: str, weight: float = 1.0) -> Part:
    return Part(text=words, weight=weight, label=words)


def test_text_finds_an_image_in_any_language(searcher):
    for words in ("red", "rot", "赤"):
        assert names(searcher.search(Query((text(words),))))[0] == "red.png"


def test_an_image_query_scores_its_exact_cosine(searcher, collection, colors):
    image = Image.new("RGB", (50, 50), COLORS["green"])
    hits = searcher.search(
        Query((Part(image=image, label="g"),), limit=40, group_duplicates=False)
    ).hits
    assert hits[0].payload["name"] == "green.png"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    from embedder import Input

    query = colors.embed([Input(images=(image,))], "query")[0]
    stored = {
        r.id: r.vectors["image"]
        for r in collection.store.scroll(limit=100, vectors=True)[0]
        if "image" in r.vectors
    }
    pictures = [hit for hit in hits if hit.payload["kind"] == "image"]
    for hit in pictures:
        assert hit.score == pytest.approx(float(stored[hit.id] @ query), abs=2e-3)
    right = sorted(stored, key=lambda id: -float(stored[id] @ query))
    assert [hit.id for hit in pictures][:5] == right[:5]


def test_scores_descend(searcher):
    for words in ("red", "zeppelin", "the quiet lagoon"):
        scores = [hit.score for hit in searcher.search(Query((text(words),), limit=40)).hits]
        assert scores == sorted(scores, reverse=True)


def test_caption_words_raise_the_rank_of_their_image(searcher):
    assert names(searcher.search(Query((text("zeppelin"),))))[0] == "n07.png"
    assert names(searcher.search(Query((text("Lagune"),))))[0] == "blue.png"
    assert names(searcher.search(Query((text("seventeen umbrellas"),))))[0] == "notes.txt"


def test_an_unwanted_part_drops_what_shows_it(searcher):
    plain = names(searcher.search(Query((text("red"),), limit=43)))
    results = searcher.search(Query((text("red"), text("blue", -1.0)), limit=43))
    assert "blue.png" in plain
    assert names(results)[0] == "red.png"
    assert "blue.png" not in names(results)
    unwanted = results.hits[0].why["parts"][1]
    assert (unwanted["label"], unwanted["weight"]) == ("blue", -1.0)
    assert unwanted["removed"] >= 1
    assert "red.png" not in names(searcher.search(Query((text("red"), text("red", -1.0)))))


def test_an_unwanted_word_drops_what_has_it_in_its_captions(searcher):
    """By sight it is noise, and neither part says anything about it."""
    wanted, unwanted = text("harbour"), text("zeppelin", -1.0)
    assert names(searcher.search(Query((wanted,))))[0] == "n07.png"
    assert "n07.png" not in names(searcher.search(Query((wanted, unwanted), limit=50)))


def test_a_low_weight_softens_an_unwanted_part(searcher):
    found = {
        weight: names(searcher.search(Query((text("red"), text("rot", weight)), limit=50)))
        for weight in (-0.1, -3.0)
    }
    assert found[-0.1][0] == "red.png"
    assert "red.png" not in found[-3.0]


def test_unwanted_parts_alone_leave_the_rest_in_a_stable_order(searcher):
    everything = [hit.id for hit in searcher.search(Query((), limit=50))]
    query = Query((text("red", -1.0), text("zeppelin", -1.0)), limit=50)
    rest = searcher.search(query)
    left_out = {"red.png", "n07.png"}
    assert left_out <= set(names(searcher.search(Query((), limit=50)))) - set(names(rest))
    assert [hit.id for hit in rest] == [id for id in everything if id in {h.id for h in rest}]
    assert len(rest) >= 35
    pages = [searcher.search(Query(query.parts, limit=20, offset=start)) for start in (0, 20, 40)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in rest]
    plain = make_filters({"kind": "image", "folder": {"not": "nowhere"}})
    assert "notes.txt" not in names(searcher.search(Query(query.parts, filters=plain, limit=50)))


def test_a_point_query_needs_no_model_and_begins_with_its_point(collection):
    def no_model():
        raise AssertionError("the model was loaded")

    searcher = Searcher(collection, no_model)
    ids = {r.payload["name"]: r.id for r in collection.store.scroll(limit=100)[0]}
    query = Query((Part(id=ids["red.png"], label="id"),), limit=50)
    results = searcher.search(query)
    assert names(results)[0] == "red.png"
    assert [hit.query_match for hit in results.hits[:2]] == ["same", None]
    assert results.matches
    noise = replace(query, filters=make_filters({"name": {"not": "red.png"}}))
    assert "red.png" not in names(searcher.search(noise)), "filters apply to it too"
    text = Query((Part(id=ids["notes.txt"], label="id"),), limit=3)
    assert names(searcher.search(text))[0] == "notes.txt"
    both = Query((Part(id=ids["n03.png"]), Part(id=ids["blue.png"])), limit=50, diversity=0.5)
    assert {*names(searcher.search(both))[:2]} == {"n03.png", "blue.png"}
    with pytest.raises(QueryError, match="no point"):
        searcher.search(Query((Part(id="00000000-0000-0000-0000-000000000000"),)))


def test_with_words_or_a_minus_the_example_does_not_come_first(collection, searcher):
    """Something else is asked for: the point is no hit, and an image has no privilege."""
    red = next(r for r in collection.store.scroll(limit=100)[0] if r.payload["name"] == "red.png")
    image = Image.new("RGB", (50, 50), COLORS["red"])
    for other in (text("green"), text("green", -1.0)):
        found = names(searcher.search(Query((Part(id=red.id), other), limit=50)))
        assert "red.png" not in found
        assert ("green.png" in found) == (other.weight > 0)
        results = searcher.search(Query((Part(image=image), other), limit=50))
        assert "red.png" in names(results)
        assert {hit.query_match for hit in results.hits} == {None}
    only_unwanted = Query((Part(id=red.id, weight=-1.0),), limit=50)
    assert "red.png" not in names(searcher.search(only_unwanted))


def test_the_query_image_comes_first_and_its_copies_are_marked(
    own_collection, colors, own_folder, photo
):
    folder, searcher = own_folder, Searcher(own_collection, lambda: colors)
    original = photo(folder / "original.png", 77, (300, 200))
    with Image.open(original) as image:
        image.resize((90, 60)).save(folder / "small.jpg", quality=70)
        image.convert("L").save(folder / "gray.png")
    ingest([folder], own_collection, colors, IngestOptions())
    for name in ("original.png", "small.jpg", "gray.png"):
        part = Part(image=read_query_image(folder / name, colors.card.image_side))
        query = Query((part,), limit=10, group_duplicates=False)
        hits = searcher.search(query).hits
        assert hits[0].payload["name"] == name
        matches = {hit.payload["name"]: hit.query_match for hit in hits if hit.query_match}
        copies = dict.fromkeys(("original.png", "small.jpg", "gray.png"), "copy")
        assert matches == copies | {name: "same"}
        pages = [searcher.search(replace(query, limit=1, offset=n)).hits[0].id for n in range(4)]
        assert pages == [hit.id for hit in hits[:4]]
        folded = searcher.search(replace(query, group_duplicates=True)).hits
        assert (folded[0].payload["name"], len(folded[0].duplicates)) == (name, 2)


def test_points_without_a_signature_are_searched_as_before(
    own_collection, colors, own_folder, photo
):
    photo(own_folder / "again.jpg", COLORS["red"], (100, 80), quality=60)
    ingest([own_folder], own_collection, colors, IngestOptions())
    records, _ = own_collection.store.scroll(limit=100)
    for record in records:
        record.payload.pop("signature", None)
    own_collection.store.patch([replace(record, vectors={}) for record in records])
    searcher = Searcher(own_collection, lambda: colors)
    image = Image.new("RGB", (50, 50), COLORS["red"])
    hit = searcher.search(Query((Part(image=image),), limit=3)).hits[0]
    assert (hit.query_match, len(hit.duplicates)) == ("same", 1)


def test_signatures_are_stored_and_not_shown(collection, searcher):
    stored = {r.payload["kind"]: r.payload for r in collection.store.scroll(limit=100)[0]}
    assert len(stored["image"]["signature"]) == 260
    assert "signature" not in stored["text"]
    for query in (Query(()), Query((text("red"),))):
        assert all("signature" not in hit.payload for hit in searcher.search(query).hits)


def test_a_malformed_filter_is_an_error_before_the_model_loads(collection):
    def no_model():
        raise AssertionError("the model was loaded")

    with pytest.raises(QueryError, match="year is a number"):
        filters = make_filters({"year": "soon"})
        Searcher(collection, no_model).search(Query((text("red"),), filters=filters))
    with pytest.raises(QueryError, match="did you mean 'width'"):
        filters = make_filters({"widht": {"not": 5}})
        Searcher(collection, no_model).search(Query((text("red"),), filters=filters))


def test_the_shares_of_the_wanted_parts_add_up(searcher):
    hit = searcher.search(Query((text("red"), text("rot", 0.5), text("green", -0.5)))).hits[0]
    assert [part.label for part in hit.explanation.parts] == ["red", "rot"]
    assert sum(part.share for part in hit.explanation.parts) == pytest.approx(1, abs=1e-3)
    assert [part["label"] for part in hit.why["parts"]] == ["red", "rot", "green"]
    assert [part.label for part in hit.explanation.removed] == ["green"]
    assert "image" in hit.why["channels"]


def test_parts_keep_their_order(collection, searcher):
    (point,) = (r for r in collection.store.scroll(limit=50)[0] if r.payload["name"] == "red.png")
    parts = (text("blue"), Part(id=point.id, label="id"), text("red"))
    hit = searcher.search(Query(parts)).hits[0]
    assert [part.label for part in hit.explanation.parts] == ["blue", "id", "red"]


def test_a_single_part_has_the_whole_share(searcher):
    hits = searcher.search(Query((text("red"),))).hits
    assert [[part.share for part in hit.explanation.parts] for hit in hits] == [[1.0]] * len(hits)
    assert hits[0].explanation.removed == ()


def test_the_sample_keeps_the_rows_of_a_point_together(collection, colors, tmp_path, monkeypatch):
    channels = ("image", "text")
    arguments = (collection.store, channels, colors.card.dim, tmp_path, 44)
    drawn = CalibrationSampler(*arguments)()
    stored = collection.store.scroll(limit=100, vectors=True)[0]
    nothing = np.zeros(colors.card.dim)
    expected = {
        tuple(np.asarray(r.vectors.get(c, nothing), np.float32).tobytes() for c in channels)
        for r in stored
    }
    rows = range(len(stored))
    assert expected == {tuple(drawn.vectors[c][row].tobytes() for c in channels) for row in rows}
    assert drawn.present["text"].sum() == 3
    zeppelin = build_query_vector("zeppelin")
    (row,) = np.flatnonzero(drawn.score_words(zeppelin))
    assert drawn.present["text"][row]
    monkeypatch.setattr(CalibrationSampler, "_draw", None)  # from here on, only the file is there
    again = CalibrationSampler(*arguments)()
    assert np.array_equal(again.vectors["text"], drawn.vectors["text"])
    assert np.array_equal(again.score_words(zeppelin), drawn.score_words(zeppelin))
    with np.load(tmp_path / "calibration.npz") as arrays:
        older = {**arrays, "format": 1}
    np.savez(tmp_path / "calibration.npz", **older)
    with pytest.raises(TypeError):  # it would be drawn again
        CalibrationSampler(*arguments)()


def test_near_duplicates_are_grouped_behind_the_best(own_collection, colors, own_folder, photo):
    for i in range(5):
        photo(own_folder / f"again{i}.jpg", COLORS["red"], (100 + i, 80), quality=60)
    ingest([own_folder], own_collection, colors, IngestOptions())
    searcher = Searcher(own_collection, lambda: colors)
    folded = searcher.search(Query((text("red"),), limit=5))
    assert len(folded.hits[0].duplicates) == 5
    assert len([n for n in names(folded) if n.startswith(("again", "red"))]) == 1
    unfolded = names(searcher.search(Query((text("red"),), limit=6, group_duplicates=False)))
    assert {n.startswith(("again", "red")) for n in unfolded} == {True}


def test_pages_contain_every_hit_once(searcher):
    query = Query((text("red"),), limit=10)
    seen, offset = [], 0
    while True:
        page = searcher.search(Query(query.parts, limit=10, offset=offset))
        seen += names(page)
        offset += 10
        if not page.has_more:
            break
    assert len(seen) == len(set(seen))
    assert seen == names(searcher.search(Query(query.parts, limit=100)))


def test_filters_and_facets(searcher, folder):
    where = make_filters({"folder": f"{folder / 'plain'}/"})  # as a shell completes it
    assert set(names(searcher.search(Query((text("red"),), filters=where)))) == {
        f"{c}.png" for c in COLORS
    }
    counts = searcher.facets(where)
    assert dict(counts["kind"]) == {"image": 3}
    assert dict(counts["folder"])[str(folder / "noise")] == 40, "a facet does not narrow itself"
    elsewhere = make_filters({"folder": {"not": str(folder / "plain")}})
    assert dict(searcher.facets(elsewhere)["folder"]) == {str(folder / "noise"): 40, str(folder): 1}
    wide = searcher.search(Query((text("red"),), filters=make_filters({"width": ">=1000"})))
    assert (wide.hits, wide.hint) == ((), "No item has width>=1000.")
    mistyped = searcher.search(Query((text("red"),), filters=make_filters({"folder": "noize"})))
    assert mistyped.hint == f"No item has folder=noize; did you mean folder={folder / 'noise'}?"


def test_diversity_spreads(own_collection, colors, own_folder, photo):
    for i in range(6):
        photo(own_folder / f"shade{i}.png", (250 - 12 * i, 30 + 9 * i, 10), (60, 60))
    ingest([own_folder], own_collection, colors, IngestOptions())
    searcher = Searcher(own_collection, lambda: colors)

    def spread(diversity):
        found = searcher.search(
            Query((text("red"),), limit=6, diversity=diversity, group_duplicates=False)
        ).hits
        rows = np.stack(
            [
                r.vectors["image"]
                for r in own_collection.store.retrieve([h.id for h in found], vectors=True)
            ]
        )
        return float((rows @ rows.T).mean())

    assert spread(0.8) < spread(0.0)


def test_browsing_and_edge_cases(searcher):
    first = searcher.search(Query((), limit=30))
    second = searcher.search(Query((), limit=30, offset=30))
    assert first.has_more
    assert not second.has_more
    assert len({*names(first), *names(second)}) == 44
    assert searcher.search(Query((), offset=1000)).hits == ()
    assert searcher.search(Query((text("red"),), limit=0)).hits == ()
    assert searcher.search(Query((text("red"),), offset=1000)).hits == ()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_empty_collection_can_be_searched(config, colors):
    compute_noun_vectors(colors.card, lambda: colors)
    with OpenCollection.open_or_create(config, colors.card) as empty:
        assert Searcher(empty, lambda: colors).search(Query((text("red"),))).hits == ()


def test_eight_orientations_of_one_photo_are_one_hit(config, colors, tmp_path):
    """The same image stored in all eight EXIF orientations."""
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    upright = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    turns = (
        *(None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM"),
        *("TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270"),
    )
    (tmp_path / "turned").mkdir()
    for number, turn in enumerate(turns, start=1):
        exif = Image.Exif()
        exif[0x0112] = number
        stored = upright.transpose(getattr(Image.Transpose, turn)) if turn else upright
        stored.save(tmp_path / "turned" / f"{number}.jpg", exif=exif, quality=95)
    with OpenCollection.open_or_create(config, colors.card) as opened:
        ingest([tmp_path / "turned"], opened, colors, IngestOptions())
        query = Query((Part(image=upright, label="it"),), limit=8, group_duplicates=False)
        hits = Searcher(opened, lambda: colors).search(query).hits
    assert len(hits) == 8
    assert min(hit.score for hit in hits) >= 0.97


def test_likely_hits_by_date_without_the_rest(collection, searcher):
    """In a collection of 44, those that stand out; among all, what is asked for would be lost."""
    best = searcher.search(Query((text("red"),), limit=3))
    for sort in ("newest", "oldest", "added", "name"):
        found = searcher.search(Query((text("red"),), limit=40, sort=sort))
        assert found.total == len(found) < 20
        assert "red.png" in names(found)
        assert found.matches == best.matches
        keys = [make_sort_key(sort, hit.id, hit.payload) for hit in found]
        assert keys == sorted(keys)
        pages = [
            searcher.search(Query((text("red"),), limit=2, offset=offset, sort=sort))
            for offset in range(0, found.total, 2)
        ]
        assert [hit.id for page in pages for hit in page] == [hit.id for hit in found]
        assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]


def test_browsing_by_date(searcher):
    found = searcher.search(Query((), limit=60, sort="added"))
    added = [hit.payload["added"] for hit in found]
    assert (len(added), added) == (44, sorted(added, reverse=True))
    without = searcher.search(Query((text("red", -1.0),), limit=60, sort="added"))
    shown = [hit.id for hit in without]
    assert "red.png" not in names(without)
    assert shown == [hit.id for hit in found if hit.id in shown]
