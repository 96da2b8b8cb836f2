"""`indexer tag` gives tags that searches, filters and facets know, and takes them away."""

from __future__ import annotations


def names(done) -> set[str]:
    return {hit["payload"]["name"] for hit in done["hits"]}


def test_a_tag_is_given_and_taken_away(library):
    given = library.json("tag", "On the wall", "best", "--where", "name=red.png,green.png")
    assert (given["changed"], len(given["ids"])) == (2, 2)
    assert names(library.json("search", "--where", "tag=On the wall")) == {"red.png", "green.png"}
    again = library("tag", "BEST", "--where", "name=red.png")
    assert again.stderr == "0 points changed\n"
    taken = library("tag", "--remove", "best", "--where", "tag=best", "--where", "name!=red.png")
    assert taken.stderr == "1 point changed\n"
    assert names(library.json("search", "--where", "tag=best")) == {"red.png"}
    library("tag", "--remove", "best", "on the wall", "--where", "kind=image")
    assert names(library.json("search", "--where", "kind!=none", "--where", "tag=best")) == set()


def test_what_to_tag_must_be_said(library):
    done = library("tag", "best")
    assert done.returncode == 2 and "--where KEY=VALUE" in done.stderr
    assert "did you mean" in library("tag", "best", "--where", "nmae=red.png").stderr
