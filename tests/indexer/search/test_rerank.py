"""Reranked searches of a real collection, with tiny rerankers of real architectures."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embedder
from embedder import Input
from embedder.families import registry
from embedder.images.decode import DecodeLimits, decode_image
from indexer import Collection, QueryError
from indexer.ingest import originals
from indexer.ingest.originals import OriginalReader
from indexer.search import rerank as reranking
from indexer.search.explanation import format_reranking
from indexer.search.rerank import order_by_score
from indexer.types import Reranking
from tests.in_process_store import install

DEPTH = 10
CAPTIONS = {  # of every other image of noise, which a search for a color ranks by chance
    2 * row: text
    for row, text in enumerate(
        (
            *("two dogs on a beach", "the quiet lagoon", "a zeppelin over the harbour"),
            *("red fruit and a yellow banana", "a tiger in the snow", "a square at sunset"),
            *("a blue beach", "two dogs in the snow", "a tiger on a beach", "the document"),
            *("a yellow zeppelin", "the harbour and the lagoon"),
        )
    )
}
QUERY = "red fruit"


@pytest.fixture(scope="module")
def colors_only():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", (registry.Family("colors", "tests.embedders"),))
        install(patch)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo) -> Path:
    """24 images of noise, larger than their thumbnails, of which some have a caption."""
    root = tmp_path_factory.mktemp("reranked") / "pictures"
    for look in range(24):
        photo(root / f"n{look:02}.png", look, (600, 500))
        if look in CAPTIONS:
            (root / f"n{look:02}.txt").write_text(CAPTIONS[look])
    photo(root / "red.png", "red")
    shutil.copy(photo(root / "blue.jpg", (0, 0, 250), (300, 200)), root / "blue.png")
    return root


@pytest.fixture(scope="module")
def collection(tmp_path_factory, folder, colors_only) -> Collection:
    store = tmp_path_factory.mktemp("reranked") / "store"
    with Collection.open(
        "noise", store=store, model="colors", device="cpu", rerank_depth=DEPTH, names=False
    ) as opened:
        opened.ingest(folder)
        yield opened


@pytest.fixture(scope="module")
def text_model(text_reranker) -> embedder.Reranker:
    return embedder.load_reranker(str(text_reranker), device="cpu")


@pytest.fixture(scope="module")
def image_model(qwen3_vl_reranker) -> embedder.Reranker:
    return embedder.load_reranker(str(qwen3_vl_reranker), device="cpu")


def ids(results) -> list[str]:
    return [hit.id for hit in results]


def scores(results) -> dict[str, float | None]:
    return {h.id: h.explanation.rerank.score for h in results if h.explanation.rerank}


def caption(hit) -> str | None:
    return "\n".join(caption["text"] for caption in hit.payload["captions"]) or None


def test_hits_without_a_score_keep_their_places():
    nan = np.nan
    assert order_by_score(np.array([0.1, nan, 0.9, nan, 0.5])).tolist() == [2, 1, 4, 3, 0]
    assert order_by_score(np.array([0.5, 0.7, 0.5])).tolist() == [1, 0, 2], "ties stay"
    assert order_by_score(np.array([nan, nan])).tolist() == [0, 1]
    assert order_by_score(np.array([])).tolist() == []


def test_captions_are_put_in_the_order_of_a_model_that_reads_texts(
    collection, text_reranker, text_model
):
    plain = collection.search(QUERY, limit=16).hits
    found = collection.search(QUERY, limit=16, rerank=str(text_reranker))
    captioned = [hit for hit in plain[:DEPTH] if hit.payload["captions"]]
    assert 1 < len(captioned) < DEPTH
    expected = dict(
        zip(
            ids(captioned),
            text_model.score(Input(QUERY), [Input(caption(hit)) for hit in captioned]),
            strict=True,
        )
    )
    best_first = sorted(captioned, key=lambda hit: -expected[hit.id])
    assert ids(best_first) != ids(captioned), "else nothing is shown here"
    places = iter(best_first)
    order = [next(places) if hit in captioned else hit for hit in plain[:DEPTH]] + [*plain[DEPTH:]]
    assert ids(found) == ids(order)
    for hit, before in zip(found, order, strict=True):
        assert (hit.strength, hit.match, hit.score) == (
            before.strength, before.match, before.score,
        )  # fmt: skip
    for place, hit in enumerate(plain, 1):
        (same,) = [other for other in found if other.id == hit.id]
        rerank = same.explanation.rerank
        if place > DEPTH:
            assert rerank is None
            continue
        assert rerank.place == place
        if hit.id in expected:
            assert rerank.score == pytest.approx(expected[hit.id], rel=1e-4)
        else:
            assert rerank.score is None
    assert found.reranking.model == str(text_reranker)
    assert (found.reranking.scored, found.reranking.seen) == (len(captioned), DEPTH)
    assert found.reranking.took_ms > 0
    assert collection.search(QUERY).reranking is None


def test_pages_agree(collection, text_reranker):
    rerank = str(text_reranker)
    whole = collection.search(QUERY, limit=24, rerank=rerank)
    plain = collection.search(QUERY, limit=24)
    pages = [
        collection.search(QUERY, limit=4, offset=offset, rerank=rerank)
        for offset in range(0, 24, 4)
    ]
    assert [id for page in pages for id in ids(page)] == ids(whole)
    assert sorted(ids(whole)) == sorted(ids(plain)), "nothing is lost or shown twice"
    assert ids(whole)[DEPTH:] == ids(plain)[DEPTH:]
    assert [page.has_more for page in pages] == [True] * 5 + [whole.has_more]
    assert {page.matches for page in pages} == {whole.matches}


def test_images_are_read_from_their_files_else_from_thumbnails(
    colors_only, tmp_path, photo, qwen3_vl_reranker, image_model
):
    for look in range(3):
        photo(tmp_path / "pictures" / f"{look}.png", look, (600, 500))
    (tmp_path / "pictures" / "1.txt").write_text("two dogs")
    with Collection.open(
        "few", store=tmp_path / "store", model="colors", device="cpu", reranker=qwen3_vl_reranker
    ) as opened:
        opened.ingest(tmp_path / "pictures")
        found = opened.search(QUERY)
        side = image_model.card.image_side
        for hit in found:
            image = decode_image(Path(hit.path).read_bytes(), side=side).image
            (expected,) = image_model.score(Input(QUERY), [Input(caption(hit), (image,))])
            assert hit.explanation.rerank.score == pytest.approx(expected, rel=1e-4)
        given = [hit.explanation.rerank.score for hit in found]
        assert given == sorted(given, reverse=True)
        shutil.rmtree(tmp_path / "pictures")
        opened.close()
    with Collection.open("few", store=tmp_path / "store", model="colors", device="cpu") as opened:
        away = opened.search(QUERY, rerank=str(qwen3_vl_reranker))
        for hit in away:
            file = opened.opened.thumbnail_dir / hit.id[:2] / f"{hit.id}.jpg"
            image = Image.open(file).convert("RGB")
            assert max(image.size) <= 448
            (expected,) = image_model.score(Input(QUERY), [Input(caption(hit), (image,))])
            assert hit.explanation.rerank.score == pytest.approx(expected, rel=1e-4)
            file.unlink()
    with Collection.open("few", store=tmp_path / "store", model="colors", device="cpu") as opened:
        blind = opened.search(QUERY, rerank=str(qwen3_vl_reranker))
        assert (blind.reranking.scored, blind.reranking.seen) == (1, 3), "the caption is left"


def test_nothing_is_fetched_from_another_machine(collection, folder, monkeypatch):
    hit = collection.search("red", limit=1)[0]
    reader = OriginalReader(collection.opened, DecodeLimits())
    payload = {**hit.payload, "paths": ["https://127.0.0.1:9/red.png", "s3://bucket/red.png"]}
    assert max(reader.read(hit.id, hit.payload, 1000).size) == 120
    assert max(reader.read(hit.id, payload, 1000).size) == 120, "its thumbnail"
    assert reader.read("7c0e1f6e-6f61-5c1b-8d4e-0f6a1f7a2b3c", payload, 1000) is None
    outside = {**hit.payload, "paths": [str(Path(__file__))]}
    assert reader.read("7c0e1f6e-6f61-5c1b-8d4e-0f6a1f7a2b3c", outside, 1000) is None
    asked = []
    monkeypatch.setattr(originals, "find_original", lambda id, paths, *rest: asked.extend(paths))
    reader.read(hit.id, {**payload, "paths": [*payload["paths"], hit.path]}, 1000)
    assert asked == [hit.path]


def test_what_is_not_wanted_is_for_the_search_alone(collection, text_reranker):
    rerank = str(text_reranker)
    alone = collection.search(QUERY, limit=DEPTH, rerank=rerank)
    query = [QUERY, {"text": "blue", "weight": -1.0}]
    without = collection.search(query, limit=DEPTH, rerank=rerank)
    both = scores(alone).keys() & scores(without).keys()
    assert sum(scores(alone)[id] is not None for id in both) > 1
    assert {id: scores(alone)[id] for id in both} == {id: scores(without)[id] for id in both}
    assert sorted(ids(without)) == sorted(ids(collection.search(query, limit=DEPTH)))
    assert collection.search([{"text": "blue", "weight": -1.0}], rerank=rerank).reranking is None


def test_an_image_as_the_query(collection, folder, text_reranker, qwen3_vl_reranker, image_model):
    query = folder / "n05.png"
    plain = collection.search(query)
    unread = collection.search(query, rerank=str(text_reranker))
    assert ids(unread) == ids(plain)
    assert "reads only texts" in unread.reranking.note
    assert (unread.reranking.scored, unread.reranking.took_ms) == (0, 0.0)
    found = collection.search(query, rerank=str(qwen3_vl_reranker))
    assert (found[0].query_match, found[0].explanation.rerank) == ("same", None)
    assert found.reranking.seen == DEPTH - 1
    ranked = [score for hit in found[1:DEPTH] for score in [hit.explanation.rerank.score]]
    assert ranked == sorted(ranked, reverse=True)
    similar = collection.similar(found[0].id, rerank=str(qwen3_vl_reranker))
    assert ids(similar) == ids(found), "a point is its image"
    words = collection.search([query, "in the snow"], rerank=str(qwen3_vl_reranker))
    hit = words[0]
    images = [decode_image(Path(path).read_bytes(), side=1357).image for path in (query, hit.path)]
    (expected,) = image_model.score(
        Input("in the snow", (images[0],)), [Input(caption(hit), (images[1],))]
    )
    assert hit.explanation.rerank.score == pytest.approx(expected, rel=1e-4)


def test_few_images_are_in_memory_at_once(collection, qwen3_vl_reranker, image_model, monkeypatch):
    sizes = []
    score = embedder.Reranker.score

    def count(self, query, candidates, instruction=None):
        sizes.append(len(candidates))
        return score(self, query, candidates, instruction)

    name = str(qwen3_vl_reranker)
    whole = collection.search("two dogs", limit=DEPTH, rerank=name)
    monkeypatch.setattr(embedder.Reranker, "score", count)
    monkeypatch.setattr(reranking, "MAX_CHUNK_PIXELS", 3 * (2 * image_model.card.image_side) ** 2)
    collection._reranker._scores.clear()
    chunked = collection.search("two dogs", limit=DEPTH, rerank=name)
    assert (max(sizes), sum(sizes)) == (3, DEPTH)
    assert ids(chunked) == ids(whole)


def test_which_searches_are_reranked(collection, text_reranker):
    rerank = str(text_reranker)
    for more in ({"sort": "newest"}, {"diversity": 0.5}):
        with pytest.raises(QueryError, match="a reranker orders the hits"):
            collection.search(QUERY, rerank=rerank, **more)
    with pytest.raises(QueryError, match="no reranker is set"):
        collection.search(QUERY, rerank=True)
    assert collection.search(rerank=rerank).reranking is None, "a list has no query"
    collection.close()  # the shard of this process is open once
    settings = {"store": collection.config.store, "device": "cpu", "reranker": rerank}
    with Collection.open("noise", model="colors", **settings) as configured:
        assert configured.search(QUERY).reranking.model == rerank
        assert configured.search(QUERY, rerank=True).reranking.seen > DEPTH, "the default is 50"
        assert configured.search(QUERY, rerank=False).reranking is None
        assert configured.search(QUERY, sort="name").reranking is None
        assert configured.search(QUERY, diversity=0.5).reranking is None
    with pytest.raises(embedder.UnknownModelError, match="no-such-reranker"):
        collection.search(QUERY, rerank="no-such-reranker")


def test_a_page_scores_again_nothing_that_was_scored(collection, text_reranker, monkeypatch):
    calls = []
    score = embedder.Reranker.score

    def count(self, query, candidates, instruction=None):
        calls.append(len(candidates))
        return score(self, query, candidates, instruction)

    monkeypatch.setattr(embedder.Reranker, "score", count)
    for offset in (0, 4, 12):
        collection.search("a tiger", limit=4, offset=offset, rerank=str(text_reranker))
    collection.search("a lagoon", limit=4, rerank=str(text_reranker))
    assert calls == [DEPTH, DEPTH]
    with ThreadPoolExecutor() as pool:  # four visitors who follow the same link
        pages = pool.map(
            lambda _: ids(collection.search("a dog", rerank=str(text_reranker))), range(4)
        )
        assert len({tuple(page) for page in pages}) == 1
        assert calls == [DEPTH] * 3
        with collection._reranker._lock:  # another search is being scored
            known = pool.submit(collection.search, "a tiger", rerank=str(text_reranker))
            assert known.result(timeout=60).reranking.seen == DEPTH


def test_how_much_was_reranked_is_said_as_it_is():
    def say(scored: int, took_ms: float, with_model: bool = False) -> str:
        return format_reranking(
            Reranking(model="it", scored=scored, seen=50, took_ms=took_ms), with_model
        )

    assert say(50, 1234) == "the best 50 reranked in 1.2 s"
    assert say(19, 15.3, True) == "19 of the best 50 reranked by it in 15 ms"
    assert say(0, 1) == "none of the best 50 reranked: they have no captions to read"
