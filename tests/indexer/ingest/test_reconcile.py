"""The table of cases, row by row: files before, files after, points stored -> what is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.captions.normalize import FileCaptions
from indexer.ingest.embed_stage import EmbedFailedError
from indexer.ingest.payload import build_payload
from indexer.ingest.reconcile import (
    ACTIONS,
    Action,
    ContentChange,
    Stored,
    collect_changes,
    collect_removals,
    load_stored,
    reconcile,
    take_vectors,
)
from indexer.ingest.tagging import OWN
from indexer.ingest.thumbnails import thumbnail_path
from indexer.ingest.types import (
    NOT_READ_HERE,
    CatalogContent,
    CatalogFile,
    DecodedFile,
)
from indexer.search.image_signature import compute_signature
from indexer.sources import SourceFile
from indexer.types import Caption, Record

BASE = {"kind": "image", "captions": [], "tags": [], "content": "x"}
IMAGE = Image.new("RGB", (2, 2))


@dataclass
class StubCatalog:
    """The part of a catalog that is read."""

    files: list[CatalogFile] = field(default_factory=list)
    contents: dict[str, CatalogContent] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def get_content(self, content_id):
        return self.contents.get(content_id)

    def find_files(self, content_id):
        return [file for file in self.files if file.content_id == content_id]

    def get_file(self, path):
        return next((file for file in self.files if file.path == path), None)

    def is_missing(self, path):
        return path in self.missing


@dataclass
class StubStore:
    records: list[Record]
    requests: list[list[str]] = field(default_factory=list)

    def retrieve(self, ids, *, vectors=False):
        self.requests.append(list(ids))
        return [record for record in self.records if record.id in ids]


def make_content(id: str = "x", num_chunks: int = 0) -> CatalogContent:
    if not num_chunks:
        return CatalogContent(id, 0, [{**BASE, "content": id}])
    base = [{**BASE, "kind": "text", "text": f"chunk {i}"} for i in range(num_chunks)]
    return CatalogContent(id, num_chunks, base)


def make_file(path: str, *captions: str, content_id: str = "x", size: int = 1) -> CatalogFile:
    described = FileCaptions(tuple(Caption(text) for text in captions), (), {}, "stamp")
    return CatalogFile(path, size, 0, content_id, described)


def make_decoded(file: CatalogFile, *, new: bool = False) -> DecodedFile:
    return DecodedFile(
        pending=SourceFile(file.path, file.size, file.mtime_ns, "image"),
        file=file,
        new_content=make_content(file.content_id) if new else None,
        images=(IMAGE,) if new else (),
    )


def make_records(content: CatalogContent, *files: CatalogFile) -> dict[str, Record]:
    return {
        id: Record(id, {}, build_payload(base, list(files)))
        for id, base in zip(content.point_ids, content.base_payloads, strict=True)
    }


@pytest.mark.parametrize(
    ("before", "after", "stored", "action"),
    [
        (False, True, Stored.NONE, Action.CREATE),
        (False, True, Stored.SOME, Action.CREATE),
        (False, True, Stored.ALL, Action.ADOPT),
        (True, True, Stored.UNCHECKED, Action.UPDATE),
        (True, True, Stored.ALL, Action.UPDATE),
        (True, True, Stored.NONE, Action.CREATE),
        (True, True, Stored.SOME, Action.CREATE),
        (True, False, Stored.UNCHECKED, Action.DELETE),
        (True, False, Stored.ALL, Action.DELETE),
        (True, False, Stored.SOME, Action.DELETE),
        (True, False, Stored.NONE, Action.FORGET),
    ],
)
def test_each_row_of_the_table(before, after, stored, action):
    """Each row, with a document of two chunks in real files."""
    content, old, new = make_content(num_chunks=2), make_file("old"), make_file("new")
    records = make_records(content, old)
    found = {Stored.NONE: 0, Stored.SOME: 1, Stored.ALL: 2, Stored.UNCHECKED: None}[stored]
    change = ContentChange(
        content=content,
        before=[old] if before else [],
        arrived=[make_decoded(new)] if after else [],
        left=set() if after else {"old"},
        stored=None if found is None else dict(list(records.items())[:found]),
    )
    plan = reconcile(change, roots=["old"])
    assert ACTIONS[before, after, stored] is plan.action is action
    match action:
        case Action.CREATE:
            assert [write.is_new for write in plan.writes] == [True, True]
            assert [write.texts for write in plan.writes] == [("chunk 0",), ("chunk 1",)]
            assert all(write.keyword_texts for write in plan.writes)
            assert not plan.lacks_image
            assert plan.outcome == ("updated" if before else "added")
        case Action.ADOPT | Action.UPDATE:
            assert [write.is_new for write in plan.writes] == [False, False]
            assert all(write.texts == () for write in plan.writes)
            assert plan.outcome == "updated"
        case _:
            assert plan.writes == [] and plan.outcome == "removed"
    assert [file.path for file in plan.put_files] == (["new"] if after else [])


def test_the_table_is_complete():
    """What is missing cannot be: without files before, the store is always asked."""
    cases = {
        (before, after, stored)
        for before, after in ((False, True), (True, True), (True, False))
        for stored in Stored
    }
    assert cases - ACTIONS.keys() == {(False, True, Stored.UNCHECKED)}


def update(before: list[CatalogFile], *arrived: CatalogFile, moved: bool = False):
    change = ContentChange(
        content=make_content(), before=before, arrived=list(map(make_decoded, arrived)), moved=moved
    )
    return reconcile(change)


def test_a_touched_file_is_unchanged():
    plan = update([make_file("a", "red")], make_file("a", "red"))
    assert (plan.outcome, plan.writes) == ("unchanged", [])


def test_a_modification_time_alone_writes_the_payload():
    newer = CatalogFile("a", 1, 10**18, "x", make_file("a").captions)
    plan = update([make_file("a")], newer)
    assert plan.outcome == "unchanged"
    (write,) = plan.writes
    assert (write.texts, write.keyword_texts, write.is_new) == ((), None, False)


def test_a_new_caption_embeds_the_text_and_not_the_image():
    (write,) = update([make_file("a", "red")], make_file("a", "blue")).writes
    assert (write.texts, write.is_new, write.dropped, write.images) == (
        ("blue",),
        False,
        (),
        (),
    )
    assert ("blue", None) in write.keyword_texts


def test_a_first_caption_embeds_the_text():
    (write,) = update([make_file("a")], make_file("a", "red")).writes
    assert write.texts == ("red",)


def test_a_copy_merges_captions():
    plan = update([make_file("a", "red")], make_file("b", "blue"))
    assert plan.outcome == "updated"
    (write,) = plan.writes
    assert (write.payload["paths"], write.texts) == (["a", "b"], ("red", "blue"))


def test_the_last_caption_gone_drops_the_text_vector():
    (write,) = update([make_file("a", "red")], make_file("a")).writes
    assert (write.dropped, write.texts, write.is_new) == (("text",), (), False)
    assert write.keyword_texts == (("a", None),)


def test_a_new_name_changes_the_keywords_alone():
    before = make_file("a", "red")
    change = ContentChange(
        content=make_content(),
        before=[before],
        arrived=[make_decoded(make_file("b", "red"))],
        left={"a"},
        moved=True,
    )
    plan = reconcile(change)
    assert plan.outcome == "moved"
    (write,) = plan.writes
    assert (write.texts, write.keyword_texts) == ((), (("red", None), ("b", None)))
    assert plan.delete_paths == {"a"}


def test_a_new_image_is_embedded_with_its_captions():
    catalog = StubCatalog()
    (change,), orphans = collect_changes([make_decoded(make_file("a", "red"), new=True)], catalog)
    change.stored = {}
    plan = reconcile(change)
    assert orphans == [] and not plan.lacks_image
    (write,) = plan.writes
    assert (write.is_new, write.images, write.texts) == (True, (IMAGE,), ("red",))


def test_vectors_of_a_worker_are_taken():
    row = np.ones(4, np.float32)
    item = DecodedFile(
        pending=SourceFile("a", 1, 0, "image"),
        file=make_file("a", "red"),
        new_content=make_content(),
        image_vector=row,
        text_vectors={"red": row},
    )
    (change,), _ = collect_changes([item], StubCatalog())
    change.stored = {}
    plan = reconcile(change)
    assert not plan.lacks_image
    assert plan.writes[0].image_vector is row and plan.writes[0].text_vectors == {"red": row}


def test_an_image_that_was_not_decoded_is_missing_from_the_plan():
    """Another machine has deleted the point of a file that is only touched here."""
    catalog = StubCatalog([make_file("a")], {"x": make_content()})
    (change,), _ = collect_changes([make_decoded(make_file("a"))], catalog)
    change.stored = {}
    assert reconcile(change).lacks_image


def test_a_copy_whose_original_failed_is_an_orphan():
    copy = make_decoded(make_file("b"))
    assert collect_changes([copy], StubCatalog()) == ([], [copy])


def test_a_file_with_another_content_replaces_the_old_one():
    old = make_file("a", content_id="y")
    catalog = StubCatalog([old], {"y": make_content("y")})
    changes, _ = collect_changes([make_decoded(make_file("a"), new=True)], catalog)
    new, former = changes
    new.stored = {}
    assert reconcile(new).outcome == "updated"
    plan = reconcile(former)
    assert (plan.action, plan.delete_paths) == (Action.DELETE, {"a"})


def test_two_files_that_swap_their_contents_keep_both_points():
    a, b = make_file("a", content_id="x"), make_file("b", content_id="y")
    catalog = StubCatalog([a, b], {"x": make_content("x"), "y": make_content("y")})
    swapped = [make_file("a", content_id="y"), make_file("b", content_id="x")]
    changes, _ = collect_changes([make_decoded(file) for file in swapped], catalog)
    plans = {plan.change.content.id: plan for plan in map(reconcile, changes)}
    assert [plan.action for plan in plans.values()] == [Action.UPDATE, Action.UPDATE]
    assert plans["x"].writes[0].payload["paths"] == ["b"]
    assert plans["y"].writes[0].payload["paths"] == ["a"]


def test_a_moved_file_is_found_by_its_missing_path():
    catalog = StubCatalog([make_file("a"), make_file("c")], {"x": make_content()}, {"a"})
    (change,), _ = collect_changes([make_decoded(make_file("b"))], catalog)
    assert (change.moved, change.left) == (True, {"a"})
    # without a new path, a missing file waits for a prune
    (change,), _ = collect_changes([make_decoded(make_file("c"))], catalog)
    assert (change.moved, change.left) == (False, set())


def test_removed_paths_are_grouped_by_content():
    files = [make_file("a"), make_file("b"), make_file("c", content_id="y")]
    catalog = StubCatalog(files, {"x": make_content(), "y": make_content("y")})
    changes = collect_removals(["a", "c", "unknown"], catalog)
    actions = {change.content.id: reconcile(change).action for change in changes}
    assert actions == {"x": Action.UPDATE, "y": Action.DELETE}


def test_a_signature_that_another_machine_has_added_stays():
    """The catalog of this one does not have it; new captions replace the payload."""
    before, after = make_file("a"), make_file("a", "a cat")
    (record,) = make_records(make_content(), before).values()
    store = StubStore([replace(record, payload={**record.payload, "signature": "abc"})])
    change = ContentChange(content=make_content(), before=[before], arrived=[make_decoded(after)])
    load_stored([change], store, Path("none"), shared=True)
    (write,) = reconcile(change).writes
    assert write.payload["signature"] == "abc"
    assert [caption["text"] for caption in write.payload["captions"]] == ["a cat"]


def test_a_new_signature_is_written_and_is_no_change_of_the_file():
    file = make_file("a")
    content = make_content()
    stored = make_records(content, file)
    content.base_payloads[0]["signature"] = "abc"
    plan = reconcile(
        ContentChange(content=content, before=[], arrived=[make_decoded(file)], stored=stored)
    )
    assert (plan.action, plan.outcome) == (Action.ADOPT, "unchanged")
    assert [write.payload["signature"] for write in plan.writes] == ["abc"]


def test_the_store_is_asked_once_and_only_for_what_the_catalog_does_not_have():
    known = ContentChange(content=make_content("y"), before=[make_file("b", content_id="y")])
    new = [ContentChange(content=make_content(id), before=[]) for id in ("x", "z")]
    records = make_records(new[0].content, make_file("a"))
    store = StubStore(list(records.values()))
    load_stored([known, *new], store, Path("none"), shared=False)
    assert len(store.requests) == 1
    assert [change.stored_state for change in (known, *new)] == [
        Stored.UNCHECKED,
        Stored.ALL,
        Stored.NONE,
    ]
    load_stored([known, *new], store, Path("none"), shared=True)
    assert known.stored_state is Stored.NONE and len(store.requests) == 2
    load_stored([], store, Path("none"), shared=True)
    assert len(store.requests) == 2


def adopt(stored: CatalogFile, arrived: CatalogFile, roots=("/here",), before=()):
    content = make_content()
    change = ContentChange(
        content=content,
        before=list(before),
        arrived=[make_decoded(arrived)],
        stored=make_records(content, stored),
    )
    return reconcile(change, roots)


def test_paths_of_other_machines_stay_with_their_captions():
    plan = adopt(make_file("/there/a", "blue"), make_file("/here/a", "red"))
    (write,) = plan.writes
    assert write.payload["paths"] == ["/here/a", "/there/a"]
    assert write.texts == ("red", "blue")
    foreign = next(file for file in plan.put_files if file.path == "/there/a")
    assert foreign.size == NOT_READ_HERE


def test_paths_under_the_roots_of_this_run_that_it_did_not_see_go():
    plan = adopt(make_file("/here/gone"), make_file("/here/a"))
    assert plan.writes[0].payload["paths"] == ["/here/a"]


def test_a_path_of_another_machine_that_the_point_no_longer_has_is_forgotten():
    foreign = make_file("/there/a", size=NOT_READ_HERE)
    here = make_file("/here/a")
    plan = adopt(here, here, before=[here, foreign])
    assert plan.delete_paths == {"/there/a"}
    assert plan.writes[0].payload["paths"] == ["/here/a"]


def test_a_failed_vector_fails_its_content_alone():
    changes = [
        ContentChange(content=make_content(id), before=[], arrived=[make_decoded(file, new=True)])
        for id, file in (("x", make_file("a")), ("y", make_file("b", content_id="y")))
    ]
    load_stored(changes, StubStore([]), Path("none"), shared=False)
    plans = [reconcile(change) for change in changes]
    row = {"image": np.ones(4, np.float32)}
    take_vectors(plans, [EmbedFailedError("too red"), row])
    assert [plan.error for plan in plans] == ["too red", ""]
    assert plans[1].vectors == {plans[1].writes[0].id: row}


@pytest.mark.parametrize(
    ("old", "new", "embedded", "dropped"),
    [
        ("IMG_1.jpg", "red car.jpg", ("red car",), ()),
        ("red car.jpg", "IMG_1.jpg", (), ("name",)),
        ("a/red car.jpg", "b/red car.jpg", (), ()),
        ("red car.jpg", "blue car.jpg", ("blue car",), ()),
    ],
)
def test_a_moved_file_changes_its_name(old, new, embedded, dropped):
    change = ContentChange(
        content=make_content(),
        before=[make_file(old)],
        arrived=[make_decoded(make_file(new))],
        left={old},
    )
    (write,) = reconcile(change, names=True).writes
    assert (write.names, write.dropped) == (embedded, dropped)
    (without,) = reconcile(change).writes
    assert (without.names, without.dropped) == ((), ())


def test_a_copy_adds_its_name():
    change = ContentChange(
        content=make_content(),
        before=[make_file("a/red car.jpg")],
        arrived=[make_decoded(make_file("b/green.jpg")), make_decoded(make_file("c/IMG_1.jpg"))],
    )
    (write,) = reconcile(change, names=True).writes
    assert write.names == ("red car", "green")


def test_an_edited_file_keeps_the_tags_of_people():
    """They are in the store alone, at the point of what the file was before."""
    old = make_file("a", content_id="y")
    catalog = StubCatalog([old], {"y": make_content("y")})
    changes, _ = collect_changes([make_decoded(make_file("a"), new=True)], catalog)
    (record,) = make_records(make_content("y"), old).values()
    store = StubStore([replace(record, payload={**record.payload, OWN: ["mine"]})])
    load_stored(changes, store, Path("none"), shared=False)
    (write,) = reconcile(changes[0]).writes
    assert write.payload["tags"] == write.payload[OWN] == ["mine"]


def test_documents_of_several_chunks_take_no_tags_from_what_they_replace():
    old = make_file("a", content_id="y")
    catalog = StubCatalog([old], {"y": make_content("y", 2)})
    changes, _ = collect_changes([make_decoded(make_file("a"), new=True)], catalog)
    records = make_records(make_content("y", 2), old).values()
    store = StubStore([replace(r, payload={**r.payload, OWN: ["mine"]}) for r in records])
    load_stored(changes, store, Path("none"), shared=False)
    assert changes[0].former is None
    (write,) = reconcile(changes[0]).writes
    assert write.payload["tags"] == []


def test_of_two_dates_of_adding_the_earlier_one_counts():
    """This machine has seen a file later than another one, and the other way round."""
    for here, there in (("2026-02-02", "2026-01-01"), ("2026-01-01", "2026-02-02")):
        file, content = make_file("a"), make_content()
        (record,) = make_records(content, file).values()
        store = StubStore([replace(record, payload={**record.payload, "added": there})])
        content.base_payloads[0]["added"] = here
        change = ContentChange(content=content, before=[], arrived=[make_decoded(file)])
        load_stored([change], store, Path("none"), shared=False)
        assert content.base_payloads[0]["added"] == "2026-01-01"
    unknown = ContentChange(content=make_content(), before=[make_file("a")])
    load_stored([unknown], StubStore([]), Path("none"), shared=True)
    assert "added" not in unknown.content.base_payloads[0]


def test_a_missing_signature_is_that_of_the_thumbnail(tmp_path):
    image, document = make_content(), make_content("z", 1)
    for content in (image, document):
        path = thumbnail_path(tmp_path, content.point_ids[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").convert("RGB").save(path, "JPEG")
    changes = [
        ContentChange(content=content, before=[make_file("a", content_id=content.id)])
        for content in (document, image)
    ]
    load_stored(changes, StubStore([]), tmp_path, shared=False)
    gradient = compute_signature(Image.linear_gradient("L").convert("RGB"))
    assert len(image.base_payloads[0]["signature"]) == len(gradient)
    assert "signature" not in document.base_payloads[0]
    image.base_payloads[0]["signature"] = "known"
    load_stored(changes, StubStore([]), tmp_path, shared=False)
    assert image.base_payloads[0]["signature"] == "known"


def test_a_run_over_a_folder_does_not_see_what_is_in_its_archives():
    member = make_file("/here/a.tar#x.jpg")
    plan = adopt(member, make_file("/here/a"))
    assert plan.writes[0].payload["paths"] == ["/here/a", "/here/a.tar#x.jpg"]
    plan = adopt(member, make_file("/here/a"), roots=["/here/a.tar"])
    assert plan.writes[0].payload["paths"] == ["/here/a"]


def test_a_lost_point_whose_files_were_not_decoded_waits_for_the_next_run():
    """Another machine has deleted it, and of its two files here one is gone."""
    change = ContentChange(
        content=make_content(), before=[make_file("a"), make_file("b")], left={"b"}, stored={}
    )
    plan = reconcile(change)
    assert (plan.action, plan.delete_paths) == (Action.UPDATE, {"b"})


def test_files_are_in_the_order_of_their_bytes():
    """Also of names that are not UTF-8, which have no order as text."""
    names = ["b", "\udcff", "a", "B", "\U0001f600"]
    change = ContentChange(content=make_content(), before=[make_file(n, n) for n in names])
    change.arrived = [make_decoded(make_file("c", "c"))]
    (write,) = reconcile(change).writes
    captions = [caption["text"] for caption in write.payload["captions"]]
    assert captions == ["B", "a", "b", "c", "\U0001f600", "\udcff"]


def test_the_first_failure_of_a_document_is_told():
    content, file = make_content(num_chunks=3), make_file("a")
    change = ContentChange(content=content, before=[], arrived=[make_decoded(file)], stored={})
    plan = reconcile(change)
    row = {"text": np.ones(4, np.float32)}
    take_vectors([plan], [EmbedFailedError("first"), row, EmbedFailedError("second")])
    assert plan.error == "first"
    assert plan.vectors == {plan.writes[1].id: row}
    again = reconcile(change)
    take_vectors([again], [])  # of a dry run
    assert (again.error, again.vectors) == ("", {})


def test_texts_that_a_worker_has_embedded_are_given():
    row = np.ones(4, np.float32)
    item = replace(make_decoded(make_file("a", "blue")), text_vectors={"blue": row})
    change = ContentChange(content=make_content(), before=[make_file("a", "red")], arrived=[item])
    (write,) = reconcile(change).writes
    assert write.text_vectors == {"blue": row}


def test_the_date_of_adding_is_no_change_of_the_file():
    file, content = make_file("a"), make_content()
    stored = make_records(content, file)
    content.base_payloads[0]["added"] = "2026-01-01"
    plan = reconcile(
        ContentChange(content=content, before=[], arrived=[make_decoded(file)], stored=stored)
    )
    assert plan.outcome == "unchanged"
    assert [write.payload["added"] for write in plan.writes] == ["2026-01-01"]


def test_of_a_document_only_the_points_that_differ_are_written():
    content, file = make_content(num_chunks=3), make_file("a")
    stored = make_records(content, file)
    ids = content.point_ids
    for id in ids[1:]:
        stored[id] = replace(stored[id], payload={**stored[id].payload, "text": "other"})
    change = ContentChange(content=content, before=[], arrived=[make_decoded(file)], stored=stored)
    plan = reconcile(change)
    assert [write.id for write in plan.writes] == ids[1:]
    assert [write.texts for write in plan.writes] == [("chunk 1",), ("chunk 2",)]


def test_a_new_image_is_embedded_with_its_name():
    change = ContentChange(
        content=make_content(),
        before=[],
        arrived=[make_decoded(make_file("red car.jpg"))],
        stored={},
    )
    assert reconcile(change, names=True).writes[0].names == ("red car",)
    assert reconcile(change).writes[0].names == ()
