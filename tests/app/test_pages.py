"""Each page in each of its states, run by Streamlit's own test runner."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from app.permissions import Permissions, set_permissions
from app.results import PAGE_SIZE
from app.services import load_collection_model
from embedder.families import starter
from indexer.errors import CollectionError


def shown(tested: AppTest) -> str:
    """All HTML and text of the page."""
    return "\n".join(str(e.proto) for e in tested.main) + "\n".join(
        str(getattr(e, "value", "")) for e in [*tested.markdown, *tested.error]
    )


def read_data(tested: AppTest, component: str) -> dict | None:
    """What the page gives one of its components; None where it is not shown."""
    found = (element.proto for element in tested.get("bidi_component"))
    return next((json.loads(p.json) for p in found if p.component_name == component), None)


def list_hits(tested: AppTest) -> list[dict]:
    """The hits that the page gives the grid, in order."""
    data = read_data(tested, "polylens_results")
    return data["page"]["hits"] if data else []


def opens(tested: AppTest) -> list[str]:
    """The names of the files, in order."""
    return [hit["name"] for hit in list_hits(tested)]


def test_without_a_collection_it_says_how_to_begin(empty_store, page):
    tested = page()
    assert [b.label for b in tested.button] == ["Choose a folder"]


def test_browsing_shows_pictures(app_store, page):
    tested = page()
    assert len(opens(tested)) == PAGE_SIZE
    assert re.fullmatch(r"9\d items", read_data(tested, "polylens_results")["status"])
    assert not any(hit["match"] or hit["vote"] for hit in list_hits(tested))


def test_the_box_keeps_the_words(app_store, page):
    box = read_data(page(query="a cat -dog"), "polylens_searchbox")
    assert (box["words"], box["has_terms"]) == ("a cat -dog", True)
    assert {"text": "wild", "kind": "tag", "filter": ["tags", "wild"]} in box["suggestions"]
    chips = page(query="a cat -dog").get("popover")
    assert [chip.proto.popover.label for chip in chips] == ["a cat", "not dog"]
    assert not page(query="a cat").get("popover"), "the box says it already"


def test_weak_hits_come_under_a_line(app_store, page):
    tested = page(query="cat")
    (line,) = read_data(tested, "polylens_results")["page"]["headings"].items()
    matches = [hit["match"] for hit in list_hits(tested)]
    last = max(index for index, match in enumerate(matches) if match != "weak")
    assert line == (str(last + 1), "Less likely")


def test_words_find_pictures_in_japanese(app_store, page):
    """Cats, and tigers among them: they have captions."""
    found = opens(page(q=["猫"]))
    assert {"chelsea.jpg", "grey-cat.jpg", "black-cat.webp"} <= set(found[:5])


def test_the_picture_of_more_like_this_comes_first_and_is_marked(app_store, page):
    found = list_hits(page(query="tiger"))
    like_this = list_hits(page(query=f"id:{found[0]['id']}"))
    assert like_this[0]["name"] == found[0]["name"]
    assert [hit["query_match"] for hit in like_this if hit["query_match"]] == ["same"]
    assert not any(hit["query_match"] for hit in found)


def test_a_negative_part_excludes(app_store, page):
    plain, without = (
        opens(page(q=["cat"])),
        opens(page(q=["cat", "-2:id:" + _id_of("chelsea.jpg")])),
    )
    assert "chelsea.jpg" in plain[:3]
    assert "chelsea.jpg" not in without[:3]


def test_filters_narrow(app_store, page):
    assert set(opens(page(w=["kind=text"]))) == {"notes.md"}
    cats = page(w=['name="chelsea.jpg",grey-cat.jpg', "name!=grey-cat.jpg"])
    assert opens(cats) == ["chelsea.jpg"]


def test_an_unknown_key_or_value_of_a_filter_is_named(app_store, page):
    tested = page(w=["nmae=x"])
    assert "did you mean 'name'?" in tested.error[0].value
    assert "No item has format=jpg; did you mean" in shown(page(w=["format=jpg"]))
    next(b for b in tested.button if b.label == "Clear the filters").click().run()
    assert len(opens(tested)) == PAGE_SIZE


def test_a_query_that_matches_nothing_is_marked(app_store, page):
    tested = page(q=["stethoscope"])
    assert "Nothing here really matches" in shown(tested)
    assert opens(tested), "the closest are shown all the same"


def test_a_deleted_upload_is_a_readable_error(app_store, page):
    tested = page(q=["img:" + "0" * 32])
    assert "was deleted" in tested.error[0].value


def test_an_unknown_point_is_a_readable_error(app_store, page):
    tested = page(q=["id:00000000-0000-0000-0000-000000000000"])
    assert "no point" in tested.error[0].value


def test_a_damaged_collection_is_a_readable_error(tmp_path, empty_store, page):
    (empty_store / "default").mkdir(parents=True)
    (empty_store / "default" / "collection.json").write_text("{")
    assert "damaged" in page().error[0].value


def test_an_error_shows_a_path_as_it_is(empty_store):
    tested = AppTest.from_function(_library, default_timeout=90).run()
    tested.text_input[0].set_value("/no/~such~/*folder*")
    tested.button[0].click().run()
    assert r"/no/\~such\~/\*folder\*" in tested.error[0].value


def test_the_library_ingests_a_folder(empty_store, tmp_path, photo):
    photo(tmp_path / "pictures" / "a.jpg", 1)
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    tested = AppTest.from_function(_library, default_timeout=90).run()
    tested.text_input[0].set_value(str(tmp_path / "pictures"))
    tested.button[0].click().run()
    from app import jobs

    job = jobs.latest_ingest("default")
    job.wait(60)
    assert job.error == ""
    tested.run()
    assert not tested.exception
    assert "1 added" in tested.success[0].value
    assert tested.dataframe[0].value["reason"].tolist() == [job.report.skipped[0].reason]


def test_a_collection_is_made_with_the_chosen_model(empty_store, tmp_path, photo, checkpoint):
    """And a search there puts a picture and words through that model together."""
    from app import jobs
    from app.services import open_searcher
    from indexer.types import Part, Query

    photo(tmp_path / "pictures" / "a.jpg", "red")
    photo(tmp_path / "pictures" / "b.jpg", "blue")
    name = str(checkpoint("e5v"))
    job = jobs.start_ingest("default", tmp_path / "pictures", model=name, prune=False)
    job.wait(90)
    assert job.error == ""
    here = open_searcher("default")
    assert here.collection.card.name == name
    words = Part(text="at night", label="at night")
    found = here.search(Query((Part(id=_id_of("a.jpg"), label="a"), words)))
    assert [hit.payload["name"] for hit in found.hits] == ["b.jpg"]
    assert len(found.hits[0].explanation.parts) == 1, "one input, not two vectors added"
    other = jobs.start_ingest("default", tmp_path / "pictures", model="starter", prune=False)
    other.wait(90)
    assert "cannot be compared" in other.error


def _library() -> None:
    from app.views import library

    library.show()


def _id_of(name: str) -> str:
    from app.services import open_searcher

    records, _ = open_searcher("default").collection.store.scroll(limit=1000)
    return next(r.id for r in records if r.payload["name"] == name)


@pytest.mark.parametrize("where", ["/etc", "/nowhere", "s3://bucket", "../..", "~root"])
def test_the_library_adds_folders_under_the_roots_alone(empty_store, where):
    tested = AppTest.from_function(_library, default_timeout=90).run()
    tested.text_input[0].set_value(where)
    tested.button[0].click().run()
    message = tested.error[0].value.replace("\\", "")
    assert "may not be read: only what is in" in message
    assert "POLYLENS_LIBRARY_ROOTS" in message


def test_the_library_names_collections_of_another_model_version(app_store, monkeypatch):
    (card,) = starter.CARDS
    monkeypatch.setattr(starter, "CARDS", (replace(card, fingerprint="starter-0"),))
    tested = AppTest.from_function(_library, default_timeout=90).run()
    assert not tested.exception, tested.exception
    assert "another version of its model" in tested.warning[0].value
    assert tested.code[0].value.startswith("indexer reindex --model starter --collection ")
    with pytest.raises(CollectionError, match=r"'family' was made .* --collection family"):
        load_collection_model("family", card)  # what a search there says


def test_without_roots_the_library_says_how_to_allow_them(empty_store):
    set_permissions(Permissions())
    tested = AppTest.from_function(_library, default_timeout=90).run()
    assert not tested.text_input and not tested.button
    assert "set POLYLENS_LIBRARY_ROOTS" in shown(tested)


def test_pages_are_served_by_polylens_app_alone(empty_store, monkeypatch):
    """`streamlit run` would serve them on every address, without a login."""
    import app.permissions

    monkeypatch.setattr(app.permissions, "_permissions", [])
    tested = AppTest.from_function(_layout_of_another_launcher, default_timeout=60).run()
    assert [code.value for code in tested.code] == ["polylens app"]
    assert not tested.button


def _layout_of_another_launcher() -> None:
    import runpy

    import streamlit as st

    option = st.get_option
    st.get_option = lambda name: False if name == "global.appTest" else option(name)
    try:
        runpy.run_module("app.layout")
    finally:
        st.get_option = option


@pytest.mark.parametrize("name", ["../store", "..", "/etc", "a/../../b", "%2e%2e", "\0"])
def test_a_collection_in_the_address_is_one_of_the_store(app_store, page, name):
    tested = page(c=name)
    assert "There is no collection" in tested.error[0].value
    assert not opens(tested), "not those of another collection"
    next(b for b in tested.button if b.label == "Search default").click().run()
    assert len(opens(tested)) == PAGE_SIZE
