"""The journal: outcomes are read back, torn lines cut off, other plans refused."""

from __future__ import annotations

import pytest

from finetune.errors import DataError, FinetuneError
from finetune.synthesis.journal import JobOutcome, Journal, Sample
from finetune.synthesis.plan import SampleImage

SAMPLE = Sample(
    task="vqa",
    language="ja",
    item="c1",
    instruction="Answer.",
    texts={"query": "何色？", "positive": "赤", "negative": "青"},
    pictures={"query": SampleImage("p1", "c1", "/pictures/1.jpg")},
)
KEPT = JobOutcome(job=0, sample=SAMPLE, tokens_in=10, tokens_out=20, llm="a-model")
REJECTED = JobOutcome(
    job=3, reason="not JSON", detail="Hello", tokens_in=5, tokens_out=6, llm="a-model"
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "deep" / "out.journal.jsonl"
    with Journal(path, "plan-1") as journal:
        journal.add(KEPT)
        journal.add(REJECTED)
    return path


def test_outcomes_are_read_back(path):
    with Journal(path, "plan-1") as journal:
        assert journal.outcomes == {0: KEPT, 3: REJECTED}


@pytest.mark.parametrize("torn", [b'{"job": 4, "kept": {"ta', b"\xe8\xb5", b"{}"])
def test_a_torn_last_line_is_dropped(path, torn):
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Journal(path, "plan-1") as journal:
        assert set(journal.outcomes) == {0, 3}
        journal.add(JobOutcome(job=4, reason="refused"))
    assert path.read_bytes().startswith(whole)
    with Journal(path, "plan-1") as journal:
        assert set(journal.outcomes) == {0, 3, 4}


def test_another_plan_is_refused_and_the_journal_kept(path):
    before = path.read_bytes()
    with pytest.raises(FinetuneError, match=r"another plan.*choose another --out"):
        Journal(path, "plan-2")
    assert path.read_bytes() == before


def test_a_plan_without_outcomes_is_replaced(tmp_path):
    for plan in ("plan-1", "plan-2"):
        with Journal(tmp_path / "journal", plan) as journal:
            assert journal.outcomes == {}
    assert (tmp_path / "journal").read_text().count("\n") == 1
    with Journal(tmp_path / "journal", "plan-2") as journal:
        journal.add(KEPT)
    with Journal(tmp_path / "journal", "plan-2") as journal:
        assert journal.outcomes == {0: KEPT}


def test_a_damaged_line_is_named(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{broken}\n", *lines[2:]]))
    with pytest.raises(DataError, match="line 3 is damaged"):
        Journal(path, "plan-1")
    path.write_bytes(lines[0] + b'{"color": 1}\n')
    with pytest.raises(DataError, match="not a synthesis journal"):
        Journal(path, "plan-1")


def test_one_process_at_a_time(path):
    with Journal(path, "plan-1"), pytest.raises(FinetuneError, match="another finetune synthesize"):
        Journal(path, "plan-1")


def test_sample_to_pair():
    pair = SAMPLE.to_pair()
    assert pair.direction == "it2t"
    assert (pair.query.text, pair.query.image) == ("何色？", "/pictures/1.jpg")
    assert pair.query.instruction == "Answer."
    assert (pair.positive.text, pair.positive.image, pair.positive.instruction) == (
        "赤",
        None,
        None,
    )
    assert [side.text for side in pair.negatives] == ["青"]
    assert (pair.language, pair.item, pair.dataset) == ("ja", "c1", "synthetic-vqa")
