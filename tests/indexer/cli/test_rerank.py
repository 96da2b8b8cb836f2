"""`indexer search --rerank` and `similar --rerank` as a user sees them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch) -> None:
    monkeypatch.setenv("POLYLENS_DEVICE", "cpu")


def file_names(answer: dict) -> list[str]:
    return [Path(hit["path"]).name for hit in answer["hits"]]


def test_the_hits_are_in_the_order_of_the_reranker(library, text_reranker):
    plain = library.json("search", "red")
    answer = library.json("search", "red", "--rerank", text_reranker)
    assert plain["reranking"] is None
    reranking = answer["reranking"]
    assert (reranking["model"], reranking["scored"], reranking["seen"]) == (
        str(text_reranker), 4, 4,
    )  # fmt: skip
    assert reranking["took_ms"] > 0
    assert reranking["note"] == ""
    given = [hit["explanation"]["rerank"] for hit in answer["hits"]]
    scores = [rerank["score"] for rerank in given]
    assert scores == sorted(scores, reverse=True)
    before = [file_names(plain).index(name) + 1 for name in file_names(answer)]
    assert [rerank["place"] for rerank in given] == before
    assert before != sorted(before), "the tiny model is as good as random"
    strengths = {hit["id"]: hit["strength"] for hit in plain["hits"]}
    assert {hit["id"]: hit["strength"] for hit in answer["hits"]} == strengths


def test_a_setting_and_how_to_do_without_it(library, text_reranker):
    environment = {"POLYLENS_RERANKER": str(text_reranker), "POLYLENS_RERANK_DEPTH": "2"}
    answer = library.json("search", "red", **environment)
    assert answer["reranking"]["seen"] == 2
    assert (
        library.json("search", "red", "--rerank-depth", "3", **environment)["reranking"]["seen"]
        == 3
    )
    assert library.json("search", "red", "--no-rerank", **environment)["reranking"] is None
    assert library.json("search", "red", "--sort", "name", **environment)["reranking"] is None
    toml = library.folder / "polylens.toml"
    toml.write_text(f'reranker = "{text_reranker}"\n')
    try:
        assert library.json("search", "red")["reranking"]["model"] == str(text_reranker)
    finally:
        toml.unlink()


def test_its_time_is_shown(library, text_reranker):
    line = rf"best 4 reranked by {re.escape(str(text_reranker))} in (\d+ ms|\d+\.\d s)"
    done = library("search", "red", "--rerank", text_reranker)
    assert re.search(rf"^The {line}\.$", done.stderr, re.M)
    assert len(done.stdout.splitlines()) == 4
    words = ("search", "red", "--rerank", text_reranker, "-v")
    shown = library(*words, is_terminal=True, TERM="xterm", NO_COLOR="1", COLUMNS="200")
    assert re.search(rf"4 hits in \d+ ms; the {line}", shown.stderr)
    reason = r"the reranker scored it 0\.\d+; the search had it in place [1-4]"
    assert re.search(reason, shown.stdout)


def test_what_the_reranker_cannot_read(library, text_reranker):
    picture = library.folder / "pictures" / "red.png"
    done = library("similar", picture, "--rerank", text_reranker)
    assert done.returncode == 0
    assert "reads only texts, and the query has an image" in done.stderr
    assert done.stdout == library("similar", picture).stdout
    note = library.json("similar", picture, "--rerank", text_reranker)["reranking"]["note"]
    assert "reads only texts" in note


def test_pictures_are_read_by_a_model_that_can(library, qwen3_vl_reranker):
    picture = library.folder / "pictures" / "red.png"
    answer = library.json("similar", picture, "--rerank", qwen3_vl_reranker)
    assert file_names(answer)[0] == "red.png", "what is searched with stays first"
    assert answer["hits"][0]["explanation"]["rerank"] is None
    assert (answer["reranking"]["scored"], answer["reranking"]["seen"]) == (3, 3)
    narrow = ("--reranker-pixel-budget", "2k")
    again = library.json("similar", picture, "--rerank", qwen3_vl_reranker, *narrow)
    one, other = (
        {hit["id"]: (hit["explanation"]["rerank"] or {}).get("score") for hit in a["hits"]}
        for a in (answer, again)
    )
    assert one != other


def test_mistakes(library, text_reranker):
    for name, hint in (("qwen3-vl-rerank-2b", "did you mean"), ("nothing", "known rerankers")):
        done = library("search", "red", "--rerank", name)
        assert done.returncode == 1
        assert hint in done.stderr
        assert "Traceback" not in done.stderr
    done = library("search", "red", "--rerank", text_reranker, "--sort", "newest")
    assert "leave it out, or the other order" in done.stderr
