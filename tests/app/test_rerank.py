"""Reranked searches of the app: the JSON route, the switch of the page, and what they share."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app import api, rankings, results, services
from app.state import Search, parse_params, parse_typed
from embedder import Input, Reranker

DEPTH = 30


@pytest.fixture
def reranker(app_store, text_reranker, monkeypatch) -> Iterator[str]:
    """The app's settings have a reranker, which reads captions."""
    monkeypatch.setenv("POLYLENS_RERANKER", str(text_reranker))
    monkeypatch.setenv("POLYLENS_RERANK_DEPTH", str(DEPTH))
    monkeypatch.setenv("POLYLENS_DEVICE", "cpu")
    services.configure()
    yield str(text_reranker)
    services.configure()


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[*api.build_routes()]))


def search(client, query: str, status: int = 200, **params) -> dict:
    answer = client.get("/api/search", params={"c": "default", "query": query, **params})
    assert answer.status_code == status, answer.text
    return answer.json()


def list_ids(page: dict) -> list[str]:
    return [hit["id"] for hit in page["hits"]]


def test_the_best_hits_are_in_the_order_of_the_reranker(reranker, client):
    plain, reranked = search(client, "red"), search(client, "red", reranked=1)
    assert plain["reranking"] is None and not any(hit["rerank"] for hit in plain["hits"])
    assert sorted(list_ids(plain)[:DEPTH]) == sorted(list_ids(reranked)[:DEPTH])
    assert list_ids(plain) != list_ids(reranked)
    assert list_ids(plain)[DEPTH:] == list_ids(reranked)[DEPTH:]
    reranking = reranked["reranking"]
    assert (reranking["model"], reranking["seen"]) == (reranker, DEPTH)
    assert 1 < reranking["scored"] < DEPTH
    assert f"{reranking['scored']} of the best {DEPTH} reranked in " in reranking["text"]
    matches = {hit["id"]: hit["match"] for hit in plain["hits"]}
    assert {hit["id"]: hit["match"] for hit in reranked["hits"]} == matches
    sentences = {hit["rerank"].split(" 0.")[0] for hit in reranked["hits"][:DEPTH]}
    assert sentences == {
        "The reranker scored it",
        "The reranker had nothing to read, and left it in its place",
    }
    assert [hit["rerank"] for hit in reranked["hits"][DEPTH:]] == [""] * (60 - DEPTH)
    for place in reranked["headings"]:
        assert {hit["match"] for hit in reranked["hits"][int(place) :]} == {"weak"}


def test_the_pages_are_of_one_list(reranker, client):
    first = search(client, "red", reranked=1, limit=20)
    whole = search(client, "red", reranked=1, limit=60)
    ids, more = list_ids(first), first["more"]
    search(client, "red", limit=20)  # the list of another visitor, who does without it
    while more and len(ids) < 60:
        page = search(
            client, "red", reranked=1, offset=len(ids), limit=20, ranking=first["ranking"]
        )
        ids, more = ids + list_ids(page), page["more"]
    assert ids == list_ids(whole)
    assert len(set(ids)) == 60
    keys = [key for key in rankings._rankings._entries if "query=red" in key[0]]
    assert len(keys) == 2, "one list with the reranker and one without"


def test_the_model_is_loaded_once_and_scores_are_kept(reranker, client, monkeypatch):
    calls = []
    score = Reranker.score

    def count(self, query: Input, candidates, instruction=None):
        calls.append((id(self), query.text))
        return score(self, query, candidates, instruction)

    monkeypatch.setattr(Reranker, "score", count)
    for query in ("red", "green", "red"):
        search(client, query, reranked=1)
    assert [text for _, text in calls] == ["red", "green"]
    assert len({model for model, _ in calls}) == 1


def test_without_a_reranker_and_with_one_that_does_not_load(app_store, client, monkeypatch):
    assert services.open_reranker() is None
    assert search(client, "red", reranked=1)["reranking"] is None
    monkeypatch.setenv("POLYLENS_RERANKER", "no-such-reranker")
    services.configure()
    assert "no-such-reranker" in search(client, "red", status=400, reranked=1)["error"]
    assert search(client, "red")["hits"], "the hits are there all the same"
    services.configure()


def test_which_searches_have_a_reranker(reranker):
    terms = parse_typed("red")
    assert results.find_reranker(Search(terms=terms)) == reranker
    for other in (
        Search(),
        Search(terms=parse_typed("-red")),
        Search(terms=terms, sort="newest"),
        Search(terms=terms, diversity=0.5),
    ):
        assert results.find_reranker(other) == ""


def test_the_address_says_that_it_is_switched_off():
    off = Search(collection="default", terms=parse_typed("red"), rerank=False)
    assert off.params["rerank"] == ["0"]
    assert parse_params(lambda key: off.params.get(key, [])) == off
    assert "rerank" not in Search(terms=parse_typed("red")).params


def read_reranker(tested: AppTest) -> str:
    """What the page tells the grid to ask for."""
    found = (element.proto for element in tested.get("bidi_component"))
    (data,) = (json.loads(p.json) for p in found if p.component_name == "polylens_results")
    return data["reranker"]


def test_the_switch_of_the_page(page, reranker):
    tested = page(query="red")
    assert read_reranker(tested) == reranker
    (switch,) = (toggle for toggle in tested.toggle if toggle.label == "Rerank")
    assert switch.value
    switch.set_value(False).run()
    assert tested.query_params["rerank"] == "0"
    assert read_reranker(tested) == ""
    labels = [toggle.label for toggle in page(query="red", sort="newest").toggle]
    assert labels == ["Fold near-duplicates"]
    assert [toggle.label for toggle in page().toggle] == ["Fold near-duplicates"]


def test_the_page_has_no_switch_without_a_reranker(page, app_store):
    tested = page(query="red")
    assert [toggle.label for toggle in tested.toggle] == ["Fold near-duplicates"]
    assert read_reranker(tested) == ""
