"""The JSON routes that the app's pages ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import api, components, items, rankings, results, saved_searches, services
from app.services import open_searcher
from app.state import Search, parse_typed
from indexer import feedback
from indexer.types import Hit

ROOT = Path(__file__).parents[2]
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def client(app_store) -> Iterator[TestClient]:
    yield TestClient(Starlette(routes=[*api.build_routes(), *components.build_routes()]))
    (app_store / "default" / "feedback.jsonl").unlink(missing_ok=True)


def search(client, query: str = "", status: int = 200, **params) -> dict:
    answer = client.get("/api/search", params={"c": "default", "query": query, **params})
    assert answer.status_code == status, answer.text
    return answer.json()


def find_cat(client, query: str = "cat") -> dict:
    """The hit of a picture with captions in eight languages."""
    return next(hit for hit in search(client, query)["hits"] if hit["name"] == "chelsea.jpg")


def list_ids(page: dict) -> list[str]:
    return [hit["id"] for hit in page["hits"]]


def test_a_hit_has_what_the_grid_shows(client):
    hit = find_cat(client, "猫")
    assert (hit["kind"], hit["match"]) == ("image", "strong")
    assert (hit["title"], hit["language"]) == ("茶トラの猫がカメラを見ている", "ja")
    assert hit["width"] / hit["height"] == pytest.approx(1.5, abs=0.01)
    assert hit["thumb"] == f"picture/thumb/default/{hit['id']}"
    assert hit["path"].endswith("chelsea.jpg")


def test_a_title_is_in_the_script_of_the_query_else_english(client):
    assert find_cat(client, "قطة")["title"] == "قطة برتقالية تنظر إلى الكاميرا"
    assert find_cat(client, "кошка")["title"] == "A ginger cat looks into the camera"


def test_the_pages_of_a_search_hold_each_hit_once(client):
    """A deeper search ranks more candidates: the pages are of one list all the same."""
    first = search(client, "dog", limit=10)
    ids, more, offset = list_ids(first), first["more"], 10
    while more:
        page = search(client, "dog", offset=offset, limit=7, ranking=first["ranking"])
        ids += list_ids(page)
        more, offset = page["more"], offset + 7
    assert len(ids) == len(set(ids))
    folded = {id for hit in first["hits"] for id in hit["duplicates"]}
    assert not set(ids) & folded
    total = open_searcher("default").count()
    assert len(ids) + len(folded) <= total <= len(ids) + 10
    assert search(client, "dog", offset=500, ranking=first["ranking"])["hits"] == []


def test_a_list_whose_server_was_restarted_goes_on(client):
    first = search(client, "dog", limit=10)
    rankings._rankings.clear()
    second = search(client, "dog", offset=10, limit=10, ranking=first["ranking"])
    assert not set(list_ids(first)) & set(list_ids(second))


def test_browsing_shows_all(client):
    ids = [id for start in (0, 40, 80) for id in list_ids(search(client, offset=start, limit=40))]
    assert len(ids) == len(set(ids)) == open_searcher("default").count()
    assert not search(client, offset=80, limit=40)["more"]


def test_pages_in_an_order(client):
    """Of a query, the likely hits; of a list, all."""
    best = search(client, "cat")
    likely = {hit["id"] for hit in best["hits"] if hit["match"] in ("strong", "likely")}
    found = search(client, "cat", sort="name")
    names = [hit["name"] for hit in found["hits"]]
    assert set(list_ids(found)) == likely
    assert (names, found["headings"]) == (sorted(names, key=str.casefold), {})
    first = search(client, sort="added", limit=50)
    rest = search(client, sort="added", limit=50, offset=50, ranking=first["ranking"])
    dates = [hit["date"] for hit in (*first["hits"], *rest["hits"])]
    assert dates == sorted(dates, reverse=True)
    assert len(dates) == open_searcher("default").count()


def test_where_nothing_matches_the_nearest_are_shown_and_others_on_demand(client):
    page = search(client, "wheelchair")
    assert {hit["match"] for hit in page["hits"]} == {"weak"}
    assert (len(page["hits"]), page["paused"], page["more"]) == (20, True, True)
    more = search(client, "wheelchair", offset=20, ranking=page["ranking"])
    assert (len(more["hits"]), more["paused"]) == (60, False)
    assert len(search(client, "wheelchair", sort="newest")["hits"]) <= 20
    assert not search(client, "cat")["paused"]


def test_a_total_claims_no_more_than_is_known(client):
    def total(query: str = "", **options) -> str:
        wanted = Search(collection="default", terms=parse_typed(query), **options)
        return results.describe_total(wanted, results.load_page(wanted), 1234)

    sentence = "three old wooden boats on a quiet lake at sunset"
    assert total() == "1,234 items"
    assert re.fullmatch(r"About \d strong results?", total("cat"))
    assert re.fullmatch(r"\d+ likely results?; weaker ones are left out", total("cat", sort="name"))
    assert (total("wheelchair"), total(sentence)) == ("The closest {n}", "The best {n}")
    assert re.fullmatch(r"The best \d+", total(sentence, sort="newest"))
    assert total("cat -dog").startswith("About "), "it is the wanted part that counts"
    assert total(f"id:{find_cat(client)['id']}") == "The best {n}", "nobody has counted these"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"c": "../default"}, "Name a collection"),
        ({"c": ""}, "Name a collection"),
        ({"w": "nmae=x"}, "did you mean 'name'?"),
        ({"query": "img:" + "0" * 32}, "was deleted"),
        ({"offset": "-1"}, "offset is a number"),
        ({"limit": "9" * 30}, "limit is a number"),
    ],
)
def test_a_bad_request_is_answered_with_a_sentence(client, params, message):
    assert message in search(client, status=400, **params)["error"]


def test_a_collection_that_is_gone_is_not_another(client):
    assert "gone" in search(client, "dog", c="gone", status=404)["error"]


def test_values_of_a_facet_are_found_by_a_part_of_them(client):
    def find(**params):
        return client.get("/api/facets", params={"c": "default", **params})

    (value,) = find(key="folder", contains="ANIM").json()["values"]
    assert value["label"] == "animals" or value["label"].endswith("/animals")
    assert value["count"] == 30
    assert find(key="folder", contains="ANIM", w="format=webp").json()["values"][0]["count"] < 30
    assert find(key="folder", contains="nowhere").json() == {"values": []}
    assert "key is one of" in find(key="secret", contains="x").json()["error"]


def facets(client, query: str = "", **params) -> dict:
    answer = client.get("/api/facets", params={"c": "default", "query": query, **params})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    by_key = {
        facet["key"]: {value["value"]: value["count"] for value in facet["values"]}
        for facet in found["facets"]
    }
    return {**found, "by_key": by_key}


def test_facets_count_the_collection_or_the_results_of_a_query(client):
    everything = facets(client)
    assert everything["of"] is None and everything["by_key"]["kind"] == {"image": 93, "text": 1}
    page = search(client, "cat", w="kind=image")
    found = facets(client, "cat", w="kind=image", ranking=page["ranking"])
    ranked = rankings._rankings._entries  # the page's own list was counted
    assert len([version for version, _ in ranked.values() if version[0] == page["ranking"]]) == 2
    assert sum(found["by_key"]["format"].values()) == found["of"] > 60
    assert found["by_key"]["kind"]["text"] == 1, "the other values of a facet that is filtered by"
    assert facets(client, w="name=a.jpg")["others"][0]["text"] == "name=a.jpg"


def test_an_item_has_what_the_viewer_shows(client):
    hit = find_cat(client)
    item = client.get(f"/api/items/default/{hit['id']}", params={"query": "cat"}).json()
    assert ("ar", "قطة برتقالية تنظر إلى الكاميرا") in [
        (caption["language"], caption["text"]) for caption in item["captions"]
    ]
    (part,) = item["reasons"]
    assert part["label"] == "cat"
    assert part["reasons"][0].endswith("has “cat”")
    assert ["Size", "451 × 300 · 27 kB · jpeg"] in item["facts"]
    assert item["paths"][0].endswith("chelsea.jpg")
    assert client.get(f"/api/items/default/{hit['id']}").json()["reasons"] == []


def test_the_regions_of_an_image_are_of_the_words(client):
    address = f"/api/regions/default/{find_cat(client)['id']}"
    regions = client.get(address, params={"query": "cat"}).json()["regions"]
    assert [len(row) for row in regions] == [6] * 6
    assert max(map(max, regions)) == 1
    for query in ("", "-cat"):
        refused = client.get(address, params={"query": query})
        assert refused.status_code == 400 and "words of a query" in refused.json()["error"]
    other = "00000000-0000-0000-0000-000000000000"
    assert client.get(f"/api/regions/default/{other}?query=cat").status_code == 404


def test_a_text_is_whole_in_the_viewer(client):
    (note,) = search(client, w="kind=text")["hits"]
    item = client.get(f"/api/items/default/{note['id']}").json()
    assert item["text"].startswith(note["text"])
    assert item["thumb"] is item["original"] is None


@pytest.mark.parametrize("id", [NOBODY, "x", "..%2f..%2fetc"])
def test_an_item_that_is_not_there(client, id):
    assert client.get(f"/api/items/default/{id}").status_code == 404


def vote(client, id: str, value: object, query: str = "cat"):
    address = {"c": "default", "query": query}
    return client.post("/api/votes", params=address, json={"votes": {id: value}})


def test_a_vote_is_recorded_and_withdrawn(client, app_store):
    hit = search(client, "cat", limit=1)["hits"][0]
    assert vote(client, hit["id"], -1).json() == {"votes": {hit["id"]: -1}}
    assert search(client, "cat", limit=1)["hits"][0]["vote"] == -1
    item = client.get(f"/api/items/default/{hit['id']}", params={"query": "cat"})
    assert item.json()["vote"] == -1
    assert search(client, "dog", limit=94)["hits"][0]["vote"] == 0
    (kept,) = feedback.read_votes(app_store / "default")
    assert kept.query.parts[0].text == "cat"
    vote(client, hit["id"], 0)
    assert search(client, "cat", limit=1)["hits"][0]["vote"] == 0


def test_votes_of_many_visitors_are_all_kept(client, app_store):
    ids = list_ids(search(client, "cat", limit=20))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda id: vote(client, id, 1).status_code, ids))
    assert set(answers) == {200}
    assert {kept.id for kept in feedback.read_votes(app_store / "default")} == set(ids)


def test_many_votes_are_cast_and_taken_back_at_once(client, app_store):
    ids = list_ids(search(client, "cat", limit=3))
    address = {"c": "default", "query": "cat"}
    cast = {ids[0]: 1, ids[1]: -1, NOBODY: 1}
    answer = client.post("/api/votes", params=address, json={"votes": cast})
    assert answer.json()["votes"] == {ids[0]: 1, ids[1]: -1}
    votes = [hit["vote"] for hit in search(client, "cat", limit=3)["hits"]]
    assert votes == [1, -1, 0]
    client.post("/api/votes", params=address, json={"votes": dict.fromkeys(ids, 0)})
    assert feedback.read_votes(app_store / "default") == []


def tag(client, ids, **edits):
    return client.post("/api/tags", params={"c": "default"}, json={"ids": ids, **edits})


def test_tags_are_given_found_and_taken_back(client):
    ids = list_ids(search(client, "cat", limit=3))
    assert tag(client, ids[:1], add=["on the wall"]).json() == {"changed": ids[:1]}
    changed = tag(client, ids, add=["On the wall", "best"], remove=["nothing"]).json()["changed"]
    assert changed == ids
    assert set(list_ids(search(client, w="tag=on the wall,On the wall"))) == set(ids)
    facets = client.get("/api/facets", params={"c": "default", "key": "tags", "contains": "best"})
    assert [value["count"] for value in facets.json()["values"]] == [3]
    item = client.get(f"/api/items/default/{ids[1]}").json()
    assert item["tags"] == ["On the wall", "best"]
    tag(client, ids, remove=["on the wall", "best"])
    assert client.get(f"/api/items/default/{ids[1]}").json()["tags"] == []


@pytest.mark.parametrize(
    ("ids", "edits"),
    [([], {"add": ["a"]}), ([NOBODY], {}), (["x"], {"add": ["a"]}), ([NOBODY], {"add": [1]}),
     (None, {"add": ["a"]}), ([NOBODY], {"add": "a", "remove": ["A"]})],
)  # fmt: skip
def test_a_change_of_tags_that_makes_no_sense_is_refused(client, ids, edits):
    answer = tag(client, ids, **edits)
    assert answer.status_code == 400 and answer.json()["error"]
    assert client.post("/api/tags?c=gone", json={"ids": [NOBODY], "add": ["a"]}).status_code == 404


def test_a_vote_without_a_search_or_a_hit_is_refused(client):
    hit = search(client, "cat", limit=1)["hits"][0]
    assert vote(client, NOBODY, 1).status_code == 404
    for refused in (
        vote(client, hit["id"], 1, query=""),
        vote(client, hit["id"], 5),
        vote(client, hit["id"], None),
        vote(client, "x", 1),
        client.post("/api/votes?c=default&query=cat", content=b"x" * 500_000),
    ):
        assert refused.status_code == 400
        assert refused.json()["error"]


def test_an_image_is_uploaded_and_searched_with(client):
    data = (ROOT / "samples" / "animals" / "chelsea.jpg").read_bytes()
    name = client.post("/api/uploads", content=data).json()["name"]
    hit = search(client, f"img:{name}")["hits"][0]
    assert (hit["name"], hit["query_match"]) == ("chelsea.jpg", "same")


def test_a_file_that_is_no_image_or_too_large_is_refused(client, monkeypatch):
    answer = client.post("/api/uploads", content=b"# not an image")
    assert answer.status_code == 400
    assert "not in a known image format" in answer.json()["error"]
    monkeypatch.setenv("POLYLENS_MAX_BYTES", "1000000")
    services.configure()
    answer = client.post("/api/uploads", content=b"\xff\xd8\xff" + b"0" * 1_000_001)
    assert answer.status_code == 400
    assert "too large" in answer.json()["error"]


def test_modules_are_served_and_nothing_else(client):
    answer = client.get("/assets/results.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    again = client.get("/assets/results.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    for name in ("style.css", "..%2fstyle.css", "../api.py", "x.js"):
        assert client.get(f"/assets/{name}").status_code == 404


def test_a_page_of_a_search_finds_its_list_again(client):
    """The next page takes what was ranked for the first."""
    searcher = open_searcher("default")
    first = search(client, "horse", limit=10)
    asked = []
    original = searcher.search
    searcher.search = lambda query: asked.append(query) or original(query)
    try:
        search(client, "horse", offset=10, limit=50, ranking=first["ranking"])
        assert asked == []
    finally:
        del searcher.search


def find_date(record) -> datetime:
    return datetime.fromisoformat(record.payload["added"])


def test_what_is_new_is_counted_among_more_of_the_same_day(client, monkeypatch):
    """The last ones that were added, however old the pictures are."""
    monkeypatch.setattr(saved_searches, "MAX_NEW", 5)
    dates = sorted(map(find_date, open_searcher("default").collection.store.scroll(limit=1000)[0]))
    params = {"c": "default", "since": dates[-4].isoformat()}
    assert client.get("/api/new", params=params).json()["count"] == 3


def test_a_body_that_is_nested_too_deeply_is_refused(client):
    answer = client.post("/api/tags?c=default", content=b"[" * 200_000)
    assert answer.status_code == 400


def test_what_is_new_in_a_search_is_counted(client):
    def count(since: str, query: str = "", **params) -> int | None:
        address = {"c": "default", "query": query, "since": since, **params}
        answer = client.get("/api/new", params=address)
        assert answer.status_code == 200, answer.text
        return answer.json()["count"]

    total = open_searcher("default").count()
    assert count("2020-01-01T00:00:00+00:00") == total
    assert 0 < count("2020-01-01T00:00:00Z", "cat") < 20, "those that are likely right"
    assert count("2999-01-01T00:00:00+00:00", "cat") == 0
    assert count("2020-01-01", w="added>=2020") is None
    first = min(map(find_date, open_searcher("default").collection.store.scroll(limit=1000)[0]))
    ahead = (first - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=14)))
    assert count(ahead.isoformat()) == total, "it is tomorrow there"
    assert client.get("/api/new", params={"c": "default", "since": "x"}).status_code == 400


def test_a_date_is_as_exact_as_it_is_known():
    payload = {"kind": "image", "name": "a", "taken": "1962-01-01", "taken_precision": "year"}
    hit = Hit("x", 0.0, payload | {"added": "2026-11-29T10:00:00.000001+00:00"}, {})
    dates = {"newest": "1962", "added": hit.payload["added"], "name": None}
    for order, date in dates.items():
        assert items.describe_hit(Search(collection="c", sort=order), hit)["date"] == date
