"""Plans: proportions, reproducibility, and which pictures a job gets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from finetune.errors import FinetuneError
from finetune.synthesis.images import choose_images
from finetune.synthesis.plan import (
    COMBINATIONS,
    LANGUAGES,
    Rejected,
    SynthesisPlan,
    parse_language_weights,
    parse_weights,
)

IDS = tuple("abcdefghij")
TASKS = {"classification": 1.0, "vqa": 1.0, "retrieval": 2.0}


def plan(ids=IDS, tasks=TASKS, languages="en=3,ja,de", seed=0) -> SynthesisPlan:
    weights = parse_language_weights(languages)
    return SynthesisPlan(ids=ids, tasks=tasks, languages=weights, seed=seed)


def test_tasks_come_in_proportion_and_combinations_in_turn():
    jobs = list(plan().iter_jobs(28))
    assert Counter(job.combination.task for job in jobs) == {
        "classification": 7,
        "vqa": 7,
        "retrieval": 14,
    }
    named = [job.combination.name for job in jobs if job.combination.task == "retrieval"]
    assert named[:7] == ["I->T", "IT->T", "T->IT", "T->I", "I->I", "IT->I", "IT->IT"]
    assert named[7:] == named[:7]


def test_languages_are_drawn_by_weight():
    drawn = Counter(job.language.code for job in plan().iter_jobs(2000))
    assert set(drawn) == {"en", "ja", "de"}
    assert 1120 < drawn["en"] < 1280  # 1200, 4 standard deviations around
    everything = Counter(job.language.code for job in plan(languages=None).iter_jobs(4000))
    assert everything["en"] > everything["de"] > everything["cy"]
    assert len(LANGUAGES) == 93


def test_every_image_is_drawn_before_any_repeats():
    drawn = [job.anchor_id for job in plan().iter_jobs(20)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(IDS)
    assert drawn[:10] != drawn[10:]


def test_plans_are_reproducible_and_extensible():
    assert list(plan().iter_jobs(40))[:15] == list(plan().iter_jobs(15))
    assert list(plan(seed=1).iter_jobs(15)) != list(plan().iter_jobs(15))


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"ids": IDS[:-1]}, {"languages": "en"}, {"tasks": {"vqa": 1.0}}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_fingerprint_tells_plans_apart(changes):
    assert plan().fingerprint == plan().fingerprint
    assert plan(**changes).fingerprint != plan().fingerprint


def test_few_images_exclude_some_combinations():
    names = {job.combination.name for job in plan(ids=("a", "b")).iter_jobs(30)}
    assert names == {"I->T", "IT->T", "T->IT", "T->I"}
    with pytest.raises(FinetuneError, match="too few"):
        list(plan(ids=()).iter_jobs(1))


@pytest.mark.parametrize("text", ["klingon=1", "en=much", "en=-1", "en=nan", "en=0", ""])
def test_invalid_weights(text):
    with pytest.raises(FinetuneError, match="--languages"):
        parse_language_weights(text)


def test_weights():
    assert parse_weights("VQA=2, retrieval", COMBINATIONS, "--tasks") == {"vqa": 2, "retrieval": 1}


def test_images_by_role(gallery):
    """Near-duplicates never stand for each other, and a positive is nearer than a negative."""
    rows = {id: gallery.get_vectors([id])[0] for id in gallery.ids}
    twins = {frozenset((a, b)) for a in rows for b in rows if a < b and rows[a] @ rows[b] > 0.97}
    assert len(twins) == 1
    for job in plan(ids=gallery.ids).iter_jobs(120):
        found = choose_images(job, gallery)
        assert tuple(found) == job.combination.image_roles
        assert found[job.combination.image_roles[0]].id == job.anchor_id
        ids = [picture.id for picture in found.values()]
        assert len(set(ids)) == len(ids)
        assert not any(frozenset((a, b)) in twins for a in ids for b in ids)
        if job.combination.name in {"I->I", "IT->I", "IT->IT"}:
            query, positive, negative = (rows[id] for id in ids)
            assert query @ positive >= query @ negative
        assert choose_images(job, gallery) == found


def test_a_missing_file_is_rejected(gallery):
    job = next(plan(ids=gallery.ids).iter_jobs(1))
    folder = Path(gallery.get_image(job.anchor_id).path).parent
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(Rejected, match="picture is gone"):
            choose_images(job, gallery)
    finally:
        elsewhere.rename(folder)
