"""Agreement: the share of the collection's images that fit a sample's text less well."""

from __future__ import annotations

import pytest

from finetune.synthesis.images import (
    CollectionImages,
    compute_agreements,
    filter_by_agreement,
    matching_text_and_image,
)
from finetune.synthesis.journal import JobOutcome, Sample
from finetune.synthesis.plan import SampleImage
from indexer.collections.collection import OpenCollection
from indexer.ingest.pipeline import ingest

COLORS = {
    "red": "red",
    "reddish": (255, 60, 60),
    "white": "white",
    "green": (0, 255, 0),
    "black": "black",
}


@pytest.fixture
def painted(config, colors, photo, tmp_path):
    for name, color in COLORS.items():
        photo(tmp_path / f"{name}.png", color)
    with OpenCollection.open_or_create(config, colors.card) as opened:
        ingest([tmp_path], opened, colors)
        yield CollectionImages.from_store(opened.store, "default")


def make_sample(task, texts, pictures, item="") -> Sample:
    return Sample(
        task=task,
        language="en",
        item=item,
        instruction="Find it.",
        texts=texts,
        pictures=pictures,
    )


def sample(gallery, name, texts, task="retrieval", role="query") -> Sample:
    picture = next(
        found
        for id in gallery.ids
        if (found := gallery.get_image(id)).path.endswith(f"/{name}.png")
    )
    return make_sample(task, texts, {role: picture})


def test_agreement_by_hand(painted, colors):
    """ "red" has cosines 1 with red, about 0.94 with reddish, 1/3 with white and black's is -1/3 *
    -1 = 1/3 ... whatever they are, red is best: 4 of 5 are worse, and itself counts half: 0.9."""
    samples = [
        sample(painted, "red", {"positive": "something red"}),
        sample(painted, "green", {"positive": "something red"}),
        sample(painted, "red", {"query": "a red one"}, role="positive"),
        sample(painted, "red", {}),
    ]
    found = compute_agreements(samples, painted, colors)
    assert found[0] == found[2] == pytest.approx(0.9)
    assert found[1] == pytest.approx(0.1)
    assert found[3] is None


def test_min_agreement(painted, colors):
    good = JobOutcome(job=0, sample=sample(painted, "red", {"positive": "something red"}))
    bad = JobOutcome(job=1, sample=sample(painted, "green", {"positive": "something red"}))
    none = JobOutcome(job=2, sample=sample(painted, "green", {}))
    rejected = JobOutcome(job=3, reason="refused")
    everything = [good, bad, none, rejected]
    assert filter_by_agreement(everything, painted, colors, 0.5) == [good, none]
    assert filter_by_agreement(everything, painted, colors, 0.0) == [good, bad, none]
    assert filter_by_agreement(everything, painted, colors, 0.95) == [none]


def test_matching_text_and_image():
    q, p = SampleImage("q", "", ""), SampleImage("p", "", "")

    def match(task, texts, pictures):
        return matching_text_and_image(make_sample(task, texts, pictures))

    words = {"query": "asked", "positive": "said", "negative": "not"}
    assert match("vqa", words, {"query": q}) == ("asked said", q)
    assert match("retrieval", words, {"query": q}) == ("said", q)
    assert match("classification", {"positive": "said"}, {"query": q}) == ("said", q)
    assert match("retrieval", {"query": "asked"}, {"positive": p}) == ("asked", p)
    assert match("retrieval", words, {"query": q, "positive": p}) == ("asked", p)
    assert match("retrieval", {}, {"query": q, "positive": p}) is None
