"""The noun bank, and how strong the matches of a search are."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embedder
from embedder import EmbeddingModel, MatchHead
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import TextIndexing
from indexer.config import load_config
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.search import noun_bank, reference_scores
from indexer.search.reference_scores import ReferenceScorer, score_store
from indexer.search.searcher import Searcher
from indexer.search.strength import (
    ABSENT_PLACE,
    ABSENT_SCALE,
    WRITTEN_STRENGTH,
    Gumbel,
    ReferenceScores,
    is_comparable,
    judge_matches,
    put_strongest_first,
    rate_hits,
)
from indexer.types import Hit, Part, Query, SearchResults
from tests.embedders import ColorEmbedder

ROOT = Path(__file__).parents[3]


def unit_rows(rng: np.random.Generator, count: int, dim: int = 64) -> np.ndarray:
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def best(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (queries @ points.T).max(axis=1).astype(float)


def plant(queries: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A point for each query that is about it."""
    rows = 0.8 * queries + 0.6 * unit_rows(rng, len(queries), queries.shape[1])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_bank_has_nouns_of_many_languages_and_none_that_searches_are_tested_with():
    lines = [line.split("\t") for line in noun_bank.NOUNS_FILE.read_text("utf-8").splitlines()]
    languages = Counter(language for language, _ in lines)
    nouns = [noun for _, noun in lines]
    assert len(set(nouns)) == len(nouns) == 800
    assert len(languages) >= 20
    assert min(languages.values()) >= 5
    texts = []
    for queries in (ROOT / "bench").glob("*_queries.csv"):
        with queries.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                texts += [row[language].casefold() for language in languages if row.get(language)]
    assert len(texts) > 1000
    asked = {*texts, *(word for text in texts for word in re.findall(r"\w+", text))}
    assert asked.isdisjoint(nouns)


def test_the_shipped_vectors_are_those_of_the_shipped_starter():
    """If not, run `python -m recipes.noun_bank`."""
    model = embedder.load("starter")
    vectors = noun_bank.load_noun_vectors(model.card)
    assert vectors is not None, "they were made with another starter"
    places = [0, 150, 799]
    nouns = noun_bank.read_nouns()
    expected = model.encode_query([nouns[place] for place in places])
    assert np.sum(vectors[places] * expected, axis=1) == pytest.approx(1, abs=0.005)


def test_vectors_of_another_model_are_computed_once(colors, tmp_path, monkeypatch):
    monkeypatch.setattr(noun_bank, "default_store", lambda: str(tmp_path))
    assert noun_bank.load_noun_vectors(colors.card) is None
    first = noun_bank.compute_noun_vectors(colors.card, lambda: colors)

    def fail():
        raise AssertionError("the model was loaded again")

    again = noun_bank.compute_noun_vectors(colors.card, fail)
    assert np.sum(first * again, axis=1) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("present", [0.0, 0.5])
def test_absent_queries_are_rarely_strong_also_where_many_nouns_are_present(present):
    """A percentile of the nouns would call what is there weak as soon as half of them are too."""
    rng = np.random.default_rng(1)
    nouns, absent, wanted = unit_rows(rng, 800), unit_rows(rng, 400), unit_rows(rng, 100)
    shown = np.concatenate([nouns[: int(800 * present)], wanted])
    points = np.concatenate([unit_rows(rng, 2000), plant(shown, rng)])
    reference = ReferenceScores({"image": best(nouns, points)}, np.empty(0), len(points))
    false = np.mean(reference.rate_text({"image": best(absent, points)}) >= 0.8)
    kept = np.mean(reference.rate_text({"image": best(wanted, points)}) >= 0.8)
    assert false <= 0.2
    assert kept >= 0.95


def test_two_channels_are_not_two_chances():
    """The larger of two channels is compared with the larger of two of each noun."""
    rng = np.random.default_rng(2)
    nouns, absent = unit_rows(rng, 800), unit_rows(rng, 400)
    points = {"image": unit_rows(rng, 500), "text": unit_rows(rng, 500)}
    reference = ReferenceScores(
        {name: best(nouns, rows) for name, rows in points.items()}, np.empty(0), 500
    )
    scores = {name: best(absent, rows) for name, rows in points.items()}
    level = np.exp(-np.exp((ABSENT_PLACE - 1.8) / ABSENT_SCALE))  # of what 15 % of nouns find
    assert np.mean(reference.rate_text(scores) >= level) == pytest.approx(0.15, abs=0.04)


def test_a_hit_that_lacks_a_channel_is_rated_by_the_others():
    reference = ReferenceScores(
        {"image": np.linspace(0, 1, 100), "text": np.linspace(0, 1, 100)}, np.empty(0), 9
    )
    alone, with_text = reference.rate_text(
        {"image": np.array([0.9, 0.9]), "text": np.array([np.nan, 0.1])}
    )
    assert alone == with_text > 0.5


def test_the_gumbel_distribution_is_found_from_its_lower_part():
    values = np.random.default_rng(3).gumbel(0.4, 0.05, 4000)
    found = Gumbel.fit(np.where(values > np.median(values), 9.0, values))
    assert (found.place, found.scale) == pytest.approx((0.4, 0.05), abs=0.01)


@pytest.mark.parametrize(
    ("part", "comparable"),
    [
        (Part(text="lighthouse"), True),
        (Part(text="a red bicycle"), True),
        (Part(text="a child who plays in the snow"), False),
        (Part(text="自転車"), True),
        (Part(text="雪の中で遊んでいる子供"), False),
        (Part(id="7c0e1f6e-6f61-5c1b-8d4e-0f6a1f7a2b3c"), True),
        (Part(image=Image.new("RGB", (2, 2))), True),
        (Part(image=Image.new("RGB", (2, 2)), text="snow"), False),
    ],
)
def test_claims_are_made_about_what_is_like_the_reference(part, comparable):
    assert is_comparable(part) is comparable


def test_a_hit_of_several_parts_is_as_strong_as_the_weakest():
    reference = ReferenceScores({"image": np.linspace(0, 0.8, 100)}, np.linspace(0, 1, 100), 9)
    parts = [Part(text="snow"), Part(id="1")]
    scores = [{"image": np.array([0.99, 0.99])}, {"image": np.array([0.99, 0.1])}]
    both, one = rate_hits(parts, scores, reference)
    assert both > 0.8 > one
    assert np.isnan(rate_hits([Part(text="storks on old chimneys")], scores[:1], reference)).all()


class Model(EmbeddingModel):
    """Knows what is in `words`, and may have a sigmoid head."""

    def __init__(self, *words: str, head: MatchHead | None = None) -> None:
        self._words, self._head = words, head

    def embed(self, inputs, role, instruction=None):
        raise NotImplementedError

    def knows_words(self, text: str) -> bool:
        return text in self._words

    @property
    def match_head(self) -> MatchHead | None:
        return self._head


def test_no_claim_is_made_about_words_that_the_model_does_not_know():
    reference = ReferenceScores({"image": np.linspace(0, 0.8, 100)}, np.empty(0), 9)
    scores = [{"image": np.array([0.99, 0.99]), "bm25": np.array([np.nan, 2.0])}]
    known = rate_hits([Part(text="owl")], scores, reference, Model("owl"))
    unknown, written = rate_hits([Part(text="xqzw")], scores, reference, Model("owl"))
    assert (known > 0.8).all()
    assert np.isnan(unknown)
    assert written == WRITTEN_STRENGTH  # in its caption is the very word


@pytest.mark.parametrize(
    ("text", "is_strong"),
    [
        ("owl", True),
        ("an owl", True),
        ("snowy owl", False),  # one of two words says little
        ("雪鸮", True),
        ("自転車", False),  # so does one of two bigrams
        ("雪", False),  # may be a part of another word
    ],
)
def test_a_hit_with_the_very_word_is_strong(text, is_strong):
    reference = ReferenceScores({"image": np.linspace(0, 1, 100)}, np.empty(0), 9)
    scores = {"image": np.array([0.2, 0.2]), "bm25": np.array([1.0, 0.0])}
    written, other = rate_hits([Part(text=text)], [scores], reference).tolist()
    assert other < 0.5
    assert (written == WRITTEN_STRENGTH) is is_strong


def test_a_sigmoid_head_rates_what_an_image_shows_for_the_size_of_the_collection():
    head = MatchHead(scale=100.0, bias=-15.0, prior_odds=1000.0)
    reference = ReferenceScores({"image": np.linspace(0, 1, 100)}, np.empty(0), 10)
    scores = [{"image": np.array([0.15, 0.05, np.nan]), "text": np.array([np.nan, np.nan, 0.1])}]
    even, low, none = rate_hits([Part(text="owl")], scores, reference, Model("owl", head=head))
    assert even == pytest.approx(100 / 101, abs=1e-3)  # odds of 1 : 1, times 1000 / 10
    assert low == pytest.approx(0.0045, abs=1e-3)
    assert none == 0


def test_it_is_not_known_whether_anything_matches_where_some_hits_have_no_strength():
    assert judge_matches(np.array([np.nan, 0.9])) is True
    assert judge_matches(np.array([np.nan, 0.2])) is None
    assert judge_matches(np.array([0.2])) is False
    assert judge_matches(np.array([0.2] * 20 + [0.99])) is False, "far down, by chance"


def test_the_strong_ones_of_the_first_hits_lead_and_keep_their_order():
    strengths = np.array([0.5, np.nan, 0.8, 0.98, 0.1, 0.97, 0.9, *[0.2] * 13, 0.99])
    order = put_strongest_first(strengths)
    assert order[:7].tolist() == [3, 5, 2, 6, 0, 1, 4]
    assert order[7:].tolist() == [*range(7, 21)], "those far down stay there"
    assert put_strongest_first(np.array([])).tolist() == []


def test_no_claim_is_made_about_an_image_without_images_to_compare_with():
    few, many = (
        ReferenceScores({"image": np.linspace(0, 1, 100)}, np.linspace(0, 1, number), number)
        for number in (9, 10)
    )
    parts, seen = [Part(id="1")], [{"image": np.array([0.95])}]
    text_alone = [{"image": np.array([np.nan]), "text": np.array([0.95])}]
    assert np.isnan(rate_hits(parts, seen, few)).all()
    assert not np.isnan(rate_hits(parts, seen, many)).any()
    assert np.isnan(rate_hits(parts, text_alone, many)).all()
    assert len(rate_hits(parts, [{"image": np.array([])}], many)) == 0


def test_the_tail_is_what_follows_the_last_hit_that_is_likely():
    def results(*strengths: float | None) -> SearchResults:
        hits = [Hit(str(n), 0.5, {}, {}, strength=s) for n, s in enumerate(strengths)]
        return SearchResults(tuple(hits), 1.0, None, has_more=False)

    assert [hit.match for hit in results(0.99, 0.9, 0.3, None)] == [
        "strong",
        "likely",
        "weak",
        None,
    ]
    assert results(0.99, 0.2, 0.9, 0.3, 0.1).num_leading == 3
    assert results(0.1, 0.2).num_leading == 0
    assert results(None, None).num_leading == 2


@pytest.fixture(scope="module")
def filled(tmp_path_factory, photo):
    """40 images of noise, and a red one."""
    folder, colors = tmp_path_factory.mktemp("strength"), ColorEmbedder()
    for i in range(40):
        photo(folder / "pictures" / f"n{i:02}.png", i)
    photo(folder / "pictures" / "red.png", (250, 10, 10))
    config = load_config({"store": str(folder / "store")})
    with OpenCollection.open_or_create(config, colors.card) as opened:
        ingest([folder / "pictures"], opened, colors, IngestOptions())
        yield config


@pytest.fixture
def collection(filled, tmp_path, monkeypatch):
    """The same points for all tests, which have no scores yet."""
    monkeypatch.setattr(noun_bank, "default_store", lambda: str(tmp_path / "data"))
    with OpenCollection.open(filled) as opened:
        (opened.index_dir / reference_scores.SCORES_FILE).unlink(missing_ok=True)
        yield opened


def search(searcher: Searcher, words: str, **options) -> SearchResults:
    return searcher.search(Query((Part(text=words, label=words),), **options))


def test_strength_and_matches(collection, colors):
    noun_bank.compute_noun_vectors(colors.card, lambda: colors)
    searcher = Searcher(collection, lambda: colors)
    found = search(searcher, "red")
    assert found.matches is True
    assert (found[0].path.endswith("red.png"), found[0].match) == (True, "strong")
    assert found[-1].match == "weak"
    assert [hit.id for hit in search(searcher, "red", min_strength=0.97)] == [found[0].id]
    absent = [search(searcher, f"nothing{i}", limit=1).matches for i in range(20)]
    assert absent.count(False) >= 15
    assert search(searcher, "nothing1", min_strength=0.999).hits == ()
    assert search(searcher, "a red wall of many bricks").matches is None
    assert search(searcher, "red", instruction="find it")[0].strength is None


def test_a_filter_does_not_change_how_strong_a_hit_is(collection, colors):
    from indexer.search.filters import make_filters

    noun_bank.compute_noun_vectors(colors.card, lambda: colors)
    searcher = Searcher(collection, lambda: colors)
    plain = search(searcher, "red")[1]
    alone = search(searcher, "red", filters=make_filters({"name": plain.payload["name"]}))[0]
    assert (alone.id, alone.strength) == (plain.id, plain.strength)


def test_a_large_collection_makes_no_claim_until_it_was_measured(collection, colors, monkeypatch):
    monkeypatch.setattr(reference_scores, "SAMPLE_SIZE", 10)
    monkeypatch.setattr(reference_scores, "DELAY_SECONDS", 0.05)
    searcher = Searcher(collection, lambda: colors)
    first = search(searcher, "red")
    assert (first.matches, first[0].strength) == (None, None)
    assert len(search(searcher, "red", min_strength=0.9)) == len(first)
    searcher._reference._thread.join(20)
    assert search(searcher, "red").matches is True
    assert search(Searcher(collection, lambda: colors), "red").matches is True, "kept on disk"


@pytest.mark.parametrize(("delay", "quiet"), [(60.0, 0.1), (0.0, 60.0)])
def test_the_background_work_ends_with_the_collection(
    collection, colors, monkeypatch, delay, quiet
):
    """Before it has begun, and while it waits for searches to end."""
    monkeypatch.setattr(reference_scores, "SAMPLE_SIZE", 10)
    monkeypatch.setattr(reference_scores, "DELAY_SECONDS", delay)
    monkeypatch.setattr(reference_scores, "QUIET_SECONDS", quiet)
    monkeypatch.setattr(reference_scores, "MOST_QUIET_SECONDS", quiet)
    searcher = Searcher(collection, lambda: colors)
    assert search(searcher, "red").matches is None
    collection.close()
    searcher._reference._thread.join(20)
    assert not searcher._reference._thread.is_alive()
    assert not (collection.index_dir / reference_scores.SCORES_FILE).exists()


def test_a_store_is_measured_as_its_sample_is(collection, colors):
    nouns = noun_bank.compute_noun_vectors(colors.card, lambda: colors)
    sample = Searcher(collection, lambda: colors)._sampler()
    known = reference_scores.score_sample(sample, nouns)
    images = sample.vectors["image"][sample.present["image"]][:5]
    asked = score_store(collection.store, ["image", "text"], nouns, images, pause=lambda _: False)
    assert np.sort(asked.nouns["image"]) == pytest.approx(np.sort(known.nouns["image"]), abs=1e-3)
    assert asked.images == pytest.approx(known.images[:5], abs=1e-3)
    assert np.isnan(asked.nouns["text"]).all()
    assert search_is_unharmed(asked)


def search_is_unharmed(reference: ReferenceScores) -> bool:
    """A channel in which nothing was found says nothing."""
    rated = reference.rate_text({"image": np.array([1.0]), "text": np.array([np.nan])})
    return bool(rated[0] > 0.8)


def test_it_is_measured_again_after_a_tenth_has_changed(collection, colors, monkeypatch):
    monkeypatch.setattr(reference_scores, "SAMPLE_SIZE", 10)
    file = collection.index_dir / reference_scores.SCORES_FILE

    def changes() -> int:
        with np.load(file) as arrays:
            return int(arrays["changes"])

    scorer = ReferenceScorer(collection, lambda: colors)
    scorer.update(41)
    assert changes() == 0
    scorer.update(3)
    assert changes() == 3
    scorer.update(2)
    assert changes() == 0
    scorer.update(2)
    assert changes() == 2
    collection.set_texts(TextIndexing(names=False))
    scorer.update()
    assert changes() == 0, "the nouns have found names, and there are none now"
