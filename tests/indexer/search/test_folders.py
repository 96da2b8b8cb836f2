"""A folder with all that is in it, as a filter and in a tree."""

from __future__ import annotations

from indexer.search.filters import build_store_filter, make_filters
from indexer.search.folders import FolderNode, build_folder_tree, expand_folders

FOLDERS = ["/a", "/a/b", "/a/b/c", "/a/bc", "/x.zip", "/x.zip#in", "s3://bucket/a"]


class StubStore:
    def facet(self, key, where=None, limit=20):
        assert (key, where) == ("folder", None)
        return [(folder, 1) for folder in FOLDERS]


def expand(**filters) -> list[str]:
    wanted = expand_folders(StubStore(), make_filters(filters))["folder"]
    return [*wanted.any_of, *(f"not {value}" for value in wanted.none_of)]


def test_a_folder_with_all_that_is_in_it():
    assert expand(folder="/a/b/**") == ["/a/b", "/a/b/c"]
    assert expand(folder=["/a/b", "/x.zip/**"]) == ["/a/b", "/x.zip", "/x.zip#in"]
    assert expand(folder={"not": "/a/**"}) == ["not /a", "not /a/b", "not /a/b/c", "not /a/bc"]
    assert expand(folder="s3://bucket/**") == ["s3://bucket/a"]
    assert expand(folder="/none/**") == ["/none/**"], "it finds nothing"
    assert expand_folders(None, make_filters({"folder": "/a"})) == make_filters({"folder": "/a"})


def test_the_folders_of_a_filter_are_one_condition():
    built = build_store_filter(make_filters({"folder": {"any": ["/a/", "/b"], "not": "/c"}}))
    assert [one.match.any for one in (*built.must, *built.must_not)] == [["/a", "/b"], ["/c"]]


def show(nodes: list[FolderNode], depth: int = 0) -> list[str]:
    lines = []
    for node in nodes:
        lines += [f"{' ' * depth}{node.label} {node.count} {node.value}"]
        lines += show(node.children, depth + 1)
    return lines


def test_the_tree_has_no_folders_that_only_lead_to_another():
    counts = [("/home/me/Pictures/2019", 2), ("/home/me/Pictures/2020/May", 3)]
    counts += [("/home/me/Pictures/2020/May/Rome", 4), ("s3://bucket/old", 1), ("relative", 1)]
    assert show(build_folder_tree(counts)) == [
        "/home/me/Pictures 9 /home/me/Pictures/**",
        " 2019 2 /home/me/Pictures/2019",
        " 2020/May 7 /home/me/Pictures/2020/May/**",
        "  Rome 4 /home/me/Pictures/2020/May/Rome",
        "relative 1 relative",
        "s3://bucket/old 1 s3://bucket/old",
    ]
    assert build_folder_tree([]) == []
