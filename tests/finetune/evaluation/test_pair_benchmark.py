"""A user's own pairs as a benchmark, and complete evaluations of small models."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from finetune.data.pairs import Pair, Side
from finetune.errors import DataError, FinetuneError
from finetune.evaluation.benchmark import (
    benchmark_from_pairs,
    compute_digest,
    sample_queries,
    strip_instructions,
)
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.report import read_report

NAMES = ("red", "green", "blue", "white", "black")


@pytest.fixture
def images(tmp_path, photo):
    return {name: str(photo(tmp_path / f"{name}.png", name)) for name in NAMES}


def pair(text, image, language="en", **other):
    return Pair(Side(text=text), Side(image=image), language=language, **other)


def make_benchmark(pairs, **other):
    return benchmark_from_pairs(pairs, "mine", "mine.jsonl", **other)


def queries_by_text(benchmark):
    return {(q.sides[0].text, q.language): q for q in benchmark.queries}


def test_equal_queries_are_merged(images):
    benchmark = make_benchmark([pair("a flag", images["red"]), pair("A  flag", images["blue"]),
                      pair("grass", images["green"])])  # fmt: skip
    assert len(benchmark.queries) == 2
    assert dict(benchmark.queries[0].relevant) == {0: 1, 1: 1}
    assert "hit@1" in benchmark.metrics


def test_one_word_in_two_languages_shares_relevant_documents(images):
    benchmark = make_benchmark(
        [pair("Taxi", images["white"], "en"), pair("Taxi", images["black"], "de")]
    )
    found = queries_by_text(benchmark)
    assert set(found) == {("Taxi", "en"), ("Taxi", "de")}
    assert all(dict(q.relevant) == {0: 1, 1: 1} for q in found.values())


def test_copies_of_an_image_are_one_document(images, tmp_path):
    copy = shutil.copy(images["red"], tmp_path / "copy.png")
    benchmark = make_benchmark([pair("red", images["red"]), pair("rot", str(copy), "de")])
    assert len(benchmark.documents) == 1
    assert [dict(q.relevant) for q in benchmark.queries] == [{0: 1}, {0: 1}]
    assert len({q.cluster for q in benchmark.queries}) == 1


def test_captions_are_ranked_within_their_language(images):
    pairs = [Pair(Side(image=images[name]), Side(text=f"{name} {tag}"), language=tag)
             for name in ("red", "blue") for tag in ("en", "de")]  # fmt: skip
    benchmark = make_benchmark(pairs)
    texts = [side.text for side in benchmark.documents]
    for query in benchmark.queries:
        ranked = {texts[index] for index in query.candidates}
        assert ranked == {f"red {query.language}", f"blue {query.language}"}
        assert len(query.relevant) == 1


def test_only_documents_of_the_same_kind_are_ranked(images):
    benchmark = make_benchmark([pair("red", images["red"])], reverse=True)
    forward, back = benchmark.queries
    assert (forward.direction, back.direction) == ("t2i", "i2t")
    assert [benchmark.documents[i].kind for i in forward.candidates] == ["i"]
    assert [benchmark.documents[i].kind for i in back.candidates] == ["t"]


def test_negatives_and_distractors_are_ranked_but_not_relevant(images):
    with_negative = Pair(Side(text="red"), Side(image=images["red"]),
                         (Side(image=images["blue"]),), language="en")  # fmt: skip
    benchmark = make_benchmark([with_negative], distractors=[pair("grass", images["green"])])
    (query,) = benchmark.queries
    ranked = {benchmark.documents[index].image for index in query.candidates}
    assert ranked == {images["red"], images["blue"], images["green"]}
    assert [benchmark.documents[index].image for index in query.relevant] == [images["red"]]


def test_an_image_does_not_find_itself(images):
    pairs = [Pair(Side(image=images["red"]), Side(image=images["blue"])),
             Pair(Side(image=images["blue"]), Side(image=images["red"]))]  # fmt: skip
    benchmark = make_benchmark(pairs)
    for query in benchmark.queries:
        assert benchmark.documents[query.exclude].image == query.sides[0].image


def test_data_sets_are_ranked_separately(images):
    benchmark = make_benchmark([pair("red", images["red"], dataset="a"),
                      pair("blue", images["blue"], dataset="b")])  # fmt: skip
    assert [len(query.candidates) for query in benchmark.queries] == [1, 1]


def test_sampling_is_deterministic(images):
    benchmark = make_benchmark(
        [pair(f"{name} {n}", images[name]) for n in range(20) for name in NAMES]
    )
    once, again = (sample_queries(benchmark, 30) for _ in range(2))
    assert [q.id for q in once.queries] == [q.id for q in again.queries]
    assert len(once.queries) == 30
    assert once.documents == benchmark.documents
    for query in once.queries:
        (place,) = query.relevant
        assert query.sides[0].text.split()[0] in once.documents[place].image
    assert compute_digest(once) != compute_digest(benchmark)
    assert compute_digest(sample_queries(benchmark, 30, 1)) != compute_digest(once)


def test_missing_images_are_reported_before_embedding(colors, images, tmp_path):
    benchmark = make_benchmark([pair("red", images["red"]), pair("blue", images["blue"])])
    (tmp_path / "blue.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images are missing.*blue\.png.*--images"):
        evaluate(colors, benchmark)


def test_metrics_by_hand(colors, images, tmp_path):
    """The model reads red, green and blue; other words are black to it."""
    pairs = [pair(name, images[name]) for name in ("red", "green", "blue")]
    pairs += [pair("rot", images["red"], "de")]
    benchmark = make_benchmark(
        [*pairs, pair("white", images["black"])], distractors=[pair("", images["white"])]
    )
    report = evaluate(colors, benchmark, tmp_path / "out")
    by_language = {group.language: group for group in report.groups}
    assert by_language["de"].metrics["recall@1"].mean == 1
    assert by_language["en"].metrics["recall@1"].mean == 0.75
    assert by_language["en"].queries == 4
    assert report.metrics["recall@1"].mean == 0.8
    assert report.metrics["recall@10"].mean == 1
    wrong = next(answer for answer in report.results if answer.text == "white")
    assert wrong.rank == 5  # black is white's opposite
    assert wrong.found[0]["image"] == images["white"]
    assert wrong.metrics["mrr"] == pytest.approx(0.2)
    assert by_language["de"].metrics["recall@1"].low == pytest.approx(0.025)  # a single item


def test_a_report_reads_back(colors, images, tmp_path):
    benchmark = make_benchmark([pair(name, images[name]) for name in NAMES], reverse=True)
    report = evaluate(colors, benchmark, tmp_path / "out")
    assert read_report(tmp_path / "out") == report
    fields = json.loads((tmp_path / "out" / "report.json").read_text())
    assert fields["format"] == 1
    assert fields["model"] == {"name": "colors", "fingerprint": "colors-1", "dim": 48}
    assert fields["main"] == "recall@10"
    assert {(g["direction"], g["language"], g["dataset"]) for g in fields["groups"]} == {
        ("t2i", "en", None), ("i2t", "en", None)}  # fmt: skip
    line = json.loads((tmp_path / "out" / "queries.jsonl").read_text().splitlines()[0])
    assert line["relevant"] == [{"text": None, "image": images["red"]}]
    assert line["found"][0] == line["relevant"][0]


class Blind:
    """Gives every input the same vector."""

    def __init__(self, colors):
        self.card = colors.card

    def embed(self, inputs, role, instruction=None):
        return np.tile(np.eye(1, 48, dtype=np.float32), (len(inputs), 1))


def test_two_models(colors, images, tmp_path):
    """Of twelve shades that only the second model distinguishes, it wins all."""
    pairs = [pair(f"{name} {n}", images[name], "de" if n else "en", item=f"{name} {n}")
             for name in ("red", "green", "blue") for n in range(4)]  # fmt: skip
    messages = []
    benchmark = make_benchmark(pairs)
    before, after = (
        evaluate(model, benchmark, progress=messages.append) for model in (Blind(colors), colors)
    )
    result = compare(before, after, tmp_path / "c")
    change = result.overall["recall@1"]
    assert (change.before, change.after, change.difference) == (0, 1, 1)
    assert change.p == pytest.approx(2 / 2**12, abs=0.001)
    assert {group.language: group.queries for group in result.groups} == {"en": 3, "de": 9}
    three = next(g for g in result.groups if g.language == "en").metrics["recall@1"]
    assert three.p == pytest.approx(2 / 2**3, abs=0.02)
    assert (three.low, three.high) == (pytest.approx(2 * 0.025 ** (1 / 3) - 1), 1)
    assert result.worst == ()
    assert messages
    back = compare(read_report(tmp_path / "c" / "after"), read_report(tmp_path / "c" / "before"))
    assert back.overall["recall@1"].difference == -1
    assert back.worst[0] in {answer.id for answer, _ in back.pairs}
    assert len(back.worst) == 12
    written = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert written["overall"]["recall@1"]["after"] == 1
    assert set(written["overall"]["recall@1"]) == {
        "before", "after", "difference", "low", "high", "p"}  # fmt: skip


def test_different_benchmarks_are_not_compared(colors, images):
    one = evaluate(
        colors, make_benchmark([pair("red", images["red"]), pair("blue", images["blue"])])
    )
    two = evaluate(
        colors, make_benchmark([pair("red", images["red"]), pair("navy", images["blue"])])
    )
    with pytest.raises(FinetuneError, match="have different queries"):
        compare(one, two)


def test_instructions_reach_the_model_and_can_be_stripped(model, images):
    """E5-V has two instructions, and raises an error for others."""
    instructed = Pair(
        Side(text="red", instruction="Find it:"), Side(image=images["red"]), language="en"
    )
    benchmark = make_benchmark([instructed, pair("blue", images["blue"])])
    e5v = model("e5v")
    with pytest.raises(FinetuneError, match=r"has no instruction 'Find it:'.*--plain"):
        evaluate(e5v, benchmark)
    report = evaluate(e5v, strip_instructions(benchmark))
    assert len(report.results) == 2
    exact = e5v.embed([Side(text="red").to_input()], "query")
    documents = e5v.embed([side.to_input() for side in benchmark.documents], "document")
    assert report.results[0].scores[0] == pytest.approx(
        float((exact @ documents.T).max()), abs=1e-5
    )
