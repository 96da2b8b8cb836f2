"""An ingest keeps a collection in step with its folders, and embeds nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from embedder.errors import EmbedderError, UnavailableError
from indexer.collections.collection import OpenCollection
from indexer.errors import CollectionError, IndexerError, StoreBusyError
from indexer.ingest import pipeline
from indexer.ingest.catalog import Catalog
from indexer.ingest.pipeline import ingest
from indexer.ingest.prune import prune
from indexer.ingest.types import IngestOptions
from indexer.paths import hash_content, make_point_ids
from indexer.sources.mounts import MountTable
from tests.embedders import ColorEmbedder


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    """Three images and a document."""
    for i, name in enumerate(["a.jpg", "b.png", "deep/c.webp"]):
        photo(tmp_path / "pictures" / name, i)
    (tmp_path / "pictures" / "note.md").write_text("A red bicycle leans on the wall.\n")
    return tmp_path / "pictures"


@pytest.fixture
def collection(config, colors, in_process):
    with OpenCollection.open_or_create(config, colors.card) as opened:
        yield opened


@pytest.fixture
def run(collection, colors, folder):
    """`run(...)` ingests the folder and returns the counts of the report that are not zero."""

    def call(*roots: Path, embedder=colors, stop=None, **options):
        colors.calls.clear()
        report = ingest(
            roots or [folder],
            collection,
            embedder,
            IngestOptions(batch_size=2, **options),
            stop=stop,
        )
        counts = {
            k: getattr(report, k) for k in ("added", "updated", "unchanged", "moved", "removed")
        }
        call.report = report
        return {k: v for k, v in counts.items() if v} | (
            {"skipped": sorted((Path(s.path).name, s.reason) for s in report.skipped)}
            if report.skipped
            else {}
        )

    return call


def stored(collection) -> dict[str, dict]:
    """File name -> payload of every point."""
    records, _ = collection.store.scroll(limit=1000)
    return {record.payload["name"]: record.payload for record in records}


def id_of(path: Path) -> str:
    return make_point_ids(hash_content(path.read_bytes()))[0]


def test_a_second_run_changes_nothing_and_embeds_nothing(run, collection, colors):
    assert run() == {"added": 4}
    assert collection.store.count() == 4
    assert sum(colors.calls) == 3
    assert run() == {"unchanged": 4}
    assert colors.calls == []


def test_the_fields_of_a_point(run, collection, folder):
    run()
    record = collection.store.retrieve([id_of(folder / "deep/c.webp")], vectors=True)[0]
    payload = record.payload
    assert payload["paths"] == [str(folder / "deep/c.webp")]
    assert payload["folder"] == [str(folder / "deep")]
    assert (payload["kind"], payload["format"]) == ("image", "webp")
    assert (payload["width"], payload["height"]) == (120, 90)
    assert {"image", "bm25"} <= set(record.vectors)
    assert "text" not in record.vectors
    assert (collection.thumbnail_dir / record.id[:2] / f"{record.id}.jpg").is_file()
    note = stored(collection)["note.md"]
    assert (note["kind"], note["text"]) == ("text", "A red bicycle leans on the wall.")


def test_when_and_where_an_image_was_taken(run, collection, folder, photo, colors):
    sidecar = {
        "photoTakenTime": {"timestamp": "1562256000"},
        "geoData": {"latitude": 48.2, "longitude": 16.4},
        "people": [{"name": "Anna"}],
        "favorited": True,
    }
    (folder / "a.jpg.json").write_text(json.dumps(sidecar))
    photo(folder / "IMG-20120304-WA0001.jpg", 5)
    assert run() == {"added": 5}
    points = stored(collection)
    taken = points["a.jpg"]
    assert (taken["taken"], taken["year"]) == ("2019-07-04T16:00:00+00:00", 2019)
    assert (taken["taken_from"], taken["place_from"]) == ("takeout", "takeout")
    assert (taken["latitude"], taken["longitude"]) == (48.2, 16.4)
    assert (taken["tags"], taken["meta"]) == (["Anna"], {"favorite": "true"})
    named = points["IMG-20120304-WA0001.jpg"]
    assert (named["taken"], named["taken_from"], named["year"]) == ("2012-03-04", "name", 2012)
    assert not {"taken", "taken_from", "year", "latitude"} & points["b.png"].keys()

    (folder / "a.jpg.json").write_text("{}")
    note = '<d xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">{}</d>'
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    about = f'<r:Description xmlns:r="{rdf}" photoshop:DateCreated="1962-05"/>'
    (folder / "a.jpg.xmp").write_text(note.format(about))
    assert run() == {"unchanged": 4, "updated": 1}
    old = stored(collection)["a.jpg"]
    assert (old["taken"], old["taken_precision"]) == ("1962-05-01", "month")
    assert (old["taken_from"], old["year"]) == ("sidecar", 1962)

    (folder / "a.jpg.json").unlink()
    (folder / "a.jpg.xmp").unlink()
    (folder / "IMG-20120304-WA0001.jpg").rename(folder / "later.jpg")
    assert run() == {"unchanged": 3, "updated": 1, "moved": 1}
    assert not sum(colors.calls)
    points = stored(collection)
    assert not {"taken", "year", "latitude"} & points["a.jpg"].keys()
    assert "taken" not in points["later.jpg"]


def test_a_table_of_the_folder_applies_to_a_part_that_is_ingested_alone(run, collection, folder):
    (folder / "captions.csv").write_text("file,caption\ndeep/c.webp,a cat\nz.jpg,nothing\n")
    run()
    assert [note.text for note in run.report.notes] == ["1 name fits no file, such as 'z.jpg'"]
    for _ in range(2):
        assert run(folder / "deep") == {"unchanged": 1}
        captions = stored(collection)["c.webp"]["captions"]
        assert [caption["text"] for caption in captions] == ["a cat"]
        assert run.report.notes == ()


def replace_silently(file: Path) -> None:
    """Replace a text by another of the same size and time, as some programs do."""
    before = file.stat()
    file.write_text(file.read_text().replace("red", "big"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def ctime(monkeypatch):
    """`ctime(kept)`: whether the file system of the tests keeps times of changes."""

    def choose(kept: bool) -> None:
        monkeypatch.setattr(MountTable, "_keeps_ctime", lambda self, folder: kept)

    return choose


def test_a_file_replaced_with_the_same_size_and_time_is_found(run, folder, ctime):
    ctime(True)
    run()
    replace_silently(folder / "note.md")
    assert run() == {"unchanged": 3, "updated": 1}
    assert run() == {"unchanged": 4}
    (folder / "a.jpg").chmod(0o600)  # read again, and the same
    assert run() == {"unchanged": 4}


def test_rehash_finds_it_anywhere(run, folder, ctime):
    ctime(False)
    run()
    replace_silently(folder / "note.md")
    assert run() == {"unchanged": 4}
    assert run(rehash=True) == {"unchanged": 3, "updated": 1}
    assert run(rehash=True) == {"unchanged": 4}


def test_the_first_run_that_knows_ctimes_takes_them_as_they_are(run, folder, ctime, monkeypatch):
    ctime(False)
    run()
    ctime(True)
    with monkeypatch.context() as patch:
        patch.setattr("indexer.ingest.decode_stage.DecodeStage._decode", None)
        assert run() == {"unchanged": 4}
    (folder / "a.jpg").chmod(0o600)
    assert run() == {"unchanged": 4}


def test_other_files_are_counted_by_kind(run, folder):
    for name in ("a.mp4", "b.MOV", "c.pdf", "d.docx", "e.xyz", ".hidden.mp4", "a.jpg.json"):
        (folder / name).write_text("{}")
    run()
    assert run.report.passed_over == {
        "video": 2,
        "PDF": 1,
        "Office document": 1,
        "other file": 1,
    }


def test_a_renamed_file_moves_without_embedding(run, collection, folder, colors):
    run()
    (folder / "a.jpg").rename(folder / "deep" / "renamed.jpg")
    assert run() == {"moved": 1, "unchanged": 3}
    assert not sum(colors.calls)
    assert stored(collection)["renamed.jpg"]["paths"] == [str(folder / "deep" / "renamed.jpg")]
    assert run() == {"unchanged": 4}


def test_a_renamed_folder_moves(run, collection, folder, colors):
    run()
    (folder / "deep").rename(folder / "deeper")
    assert run() == {"moved": 1, "unchanged": 3}
    assert not sum(colors.calls)
    assert stored(collection)["c.webp"]["folder"] == [str(folder / "deeper")]


def test_a_copy_is_the_same_point_with_two_paths(run, collection, folder, colors):
    shutil.copy(folder / "a.jpg", folder / "z.jpg")
    assert run() == {"added": 4}
    assert run.report.files == 5
    assert len(stored(collection)["a.jpg"]["paths"]) == 2
    shutil.copy(folder / "b.png", folder / "deep" / "b2.png")
    assert run() == {"updated": 1, "unchanged": 3}
    assert not sum(colors.calls)
    assert collection.store.count() == 4


def test_a_changed_file_replaces_its_point(run, collection, folder, photo):
    run()
    old = id_of(folder / "a.jpg")
    photo(folder / "a.jpg", 99)
    assert run() == {"updated": 1, "unchanged": 3}
    assert collection.store.retrieve([old]) == []
    assert not (collection.thumbnail_dir / old[:2] / f"{old}.jpg").exists()
    assert collection.store.count() == 4


def test_a_changed_copy_leaves_the_other_alone(run, collection, folder, photo):
    shutil.copy(folder / "a.jpg", folder / "z.jpg")
    run()
    photo(folder / "a.jpg", 99)
    assert run() == {"updated": 1, "unchanged": 4}
    assert stored(collection)["z.jpg"]["paths"] == [str(folder / "z.jpg")]


def test_a_touched_file_is_unchanged(run, folder, colors):
    run()
    os.utime(folder / "a.jpg", (1_700_000_000, 1_700_000_000))
    assert run() == {"unchanged": 4}
    assert colors.calls == []


def test_a_caption_is_embedded_without_its_image(run, collection, folder, colors):
    run()
    (folder / "a.txt").write_text("en: a red ball\nja: 赤いボール\n")
    assert run() == {"updated": 1, "unchanged": 3}
    assert sum(colors.calls) == 0
    record = collection.store.retrieve([id_of(folder / "a.jpg")], vectors=True)[0]
    assert {c["language"] for c in record.payload["captions"]} == {"en", "ja"}
    assert record.payload["languages"] == ["en", "ja"]
    assert "image" in record.vectors
    assert record.vectors["text"].shape == (48,)
    (folder / "a.txt").unlink()
    assert run() == {"updated": 1, "unchanged": 3}
    record = collection.store.retrieve([id_of(folder / "a.jpg")], vectors=True)[0]
    assert record.payload["captions"] == []
    assert set(record.vectors) == {"image", "bm25"}


def test_a_vanished_file_stays_until_pruned(run, collection, folder):
    run()
    (folder / "a.jpg").unlink()
    assert run() == {"unchanged": 3}
    assert collection.store.count() == 4
    assert run(prune=True) == {"unchanged": 3, "removed": 1}
    assert collection.store.count() == 3


def test_prune_by_itself(run, collection, folder):
    shutil.copy(folder / "b.png", folder / "b2.png")
    run()
    (folder / "a.jpg").unlink()
    (folder / "b2.png").unlink()
    assert len(prune(collection, ColorEmbedder, dry_run=True).paths) == 2
    assert collection.store.count() == 4
    report = prune(collection, ColorEmbedder)
    assert (report.removed, report.missing_roots) == (1, ())
    assert stored(collection)["b.png"]["paths"] == [str(folder / "b.png")]


def test_a_missing_or_empty_root_is_never_pruned(run, collection, folder, tmp_path):
    run()
    folder.rename(tmp_path / "unplugged")
    assert prune(collection, ColorEmbedder).missing_roots == (str(folder),)
    with pytest.raises(IndexerError, match="pictures"):
        run(prune=True)
    folder.mkdir()  # a mount point without its disk
    assert run(prune=True) == {}
    assert prune(collection, ColorEmbedder).removed == 0
    assert collection.store.count() == 4


def test_bad_files_are_reported_and_the_rest_goes_on(run, collection, folder):
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    (folder / "broken copy.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.jpg")
    counts = run()
    assert counts["added"] == 4
    assert {name for name, _ in counts["skipped"]} == {
        "broken.jpg",
        "broken copy.jpg",
        "empty.png",
        "pipe.jpg",
    }
    lines = (collection.path / "errors.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {r for _, r in counts["skipped"]}
    assert run()["skipped"] == counts["skipped"], "a bad file is reported every time"


class FailsOnRed:
    """Fails on images that are mostly red."""

    def __init__(self, inner) -> None:
        self.inner, self.card = inner, inner.card

    def embed(self, inputs, role, instruction=None):
        for item in inputs:
            if item.images and item.images[0].resize((1, 1)).getpixel((0, 0))[0] > 250:
                raise EmbedderError("too red")
        return self.inner.embed(inputs, role, instruction)


def test_an_image_that_cannot_be_embedded_is_skipped_alone(run, collection, folder, photo, colors):
    photo(folder / "red.png", "red")
    shutil.copy(folder / "red.png", folder / "red too.png")
    shutil.copy(folder / "red.png", folder / "zzz.png")
    counts = run(embedder=FailsOnRed(colors))
    assert counts == {
        "added": 4,
        "skipped": [(n, "embed-failed") for n in ("red too.png", "red.png", "zzz.png")],
    }
    assert collection.store.count() == 4
    assert run() == {"added": 1, "unchanged": 4}


def test_an_unavailable_model_ends_the_run_and_skips_no_file(
    run, collection, folder, photo, colors
):
    """A server that is stopped, say: what was written stays, the next run does the rest."""
    for i in range(20):
        photo(folder / f"more {i}.png", i + 10)

    class UnavailableSoon:
        card = colors.card
        left = 6

        def embed(self, inputs, role, instruction=None):
            self.left -= 1
            if self.left < 0:
                raise UnavailableError("the server cannot be reached")
            return colors.embed(inputs, role, instruction)

    with pytest.raises(IndexerError, match="cannot be reached"):
        run(embedder=UnavailableSoon())
    kept = collection.store.count()
    assert 0 < kept < 24
    assert run()["added"] == 24 - kept
    assert collection.store.count() == 24


def test_a_lost_catalog_costs_no_embedding(run, collection, folder, colors):
    (folder / "a.txt").write_text("a red ball")
    run()
    for file in collection.path.glob("catalogue.db*"):
        file.unlink()
    assert run() == {"unchanged": 4}
    assert colors.calls == []
    assert run() == {"unchanged": 4}


def test_points_of_other_roots_survive_a_lost_catalog(run, collection, folder, tmp_path, photo):
    other = photo(tmp_path / "elsewhere" / "a copy.jpg", 0).parent
    shutil.copy(folder / "a.jpg", other / "a copy.jpg")
    run(folder, other)
    for file in collection.path.glob("catalogue.db*"):
        file.unlink()
    run(folder)
    assert stored(collection)["a copy.jpg"]["paths"] == [
        str(other / "a copy.jpg"),
        str(folder / "a.jpg"),
    ]


def test_stop_saves_what_is_done_and_a_second_run_completes(run, collection, folder, photo, colors):
    for i in range(20):
        photo(folder / f"more{i:02}.jpg", 100 + i)
    stop = threading.Event()

    class StopsRun(FailsOnRed):
        def embed(self, inputs, role, instruction=None):
            stop.set()
            return self.inner.embed(inputs, role, instruction)

    first = run(embedder=StopsRun(colors), stop=stop)
    assert run.report.interrupted
    assert 0 < first["added"] < 24
    assert collection.store.count() == first["added"]
    assert run() == {"added": 24 - first["added"], "unchanged": first["added"]}


def test_a_dry_run_reports_and_changes_nothing(run, collection, folder, colors):
    assert run(dry_run=True) == {"added": 4}
    assert colors.calls == []
    assert collection.store.count() == 0
    assert list(collection.thumbnail_dir.rglob("*.jpg")) == []
    run()
    (folder / "a.jpg").rename(folder / "renamed.jpg")
    (folder / "b.png").unlink()
    expected = {"moved": 1, "unchanged": 2, "removed": 1}
    assert run(dry_run=True, prune=True) == expected
    assert run(prune=True) == expected


def test_long_documents_are_split_into_chunks(run, collection, folder):
    (folder / "long.txt").write_text(
        "\n\n".join(f"Paragraph {i}. " + "word " * 120 for i in range(9))
    )
    assert run() == {"added": 5}
    passages = [
        r.payload for r in collection.store.scroll(limit=100)[0] if r.payload["name"] == "long.txt"
    ]
    assert len(passages) > 4
    assert {p["passages"] for p in passages} == {len(passages)}
    (folder / "long.txt").write_text("short now")
    assert run() == {"updated": 1, "unchanged": 4}
    assert collection.store.count() == 5


def test_file_names_that_are_not_utf8(run, collection, folder):
    raw = os.fsencode(folder) + b"/caf\xe9.jpg"
    shutil.copy(folder / "a.jpg", os.fsdecode(raw))
    (folder / "a.jpg").unlink()
    assert run() == {"added": 4}
    assert "caf\\xe9.jpg" in stored(collection)
    assert run() == {"unchanged": 4}


def test_only_one_process_writes_at_a_time(run, collection):
    with collection.lock_for_writing(), pytest.raises(StoreBusyError, match="another ingest"):
        run()


def test_another_model_is_refused_by_name(run, config, colors, collection):
    from dataclasses import replace

    other = replace(colors.card, name="other", fingerprint="other-1")
    with pytest.raises(CollectionError, match=r"colors.*other.*--collection"):
        OpenCollection.open_or_create(config, other)


def test_a_missing_collection_names_the_command(config):
    with pytest.raises(CollectionError, match="indexer ingest FOLDER"):
        OpenCollection.open(config)


def test_a_newer_format_is_refused(config, collection, run):
    meta = collection.path / "collection.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 99}))
    with pytest.raises(CollectionError, match="format 99"):
        OpenCollection.open(config)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"format": 1, "card": {}}',
        '{"format": 1, "card": []}',
        "\x00",
        "[" * 100_000,
    ],
)
def test_damaged_metadata_is_named(config, collection, content):
    (collection.path / "collection.json").write_text(content)
    with pytest.raises(CollectionError, match=r"collection\.json is damaged"):
        OpenCollection.open(config)


def test_progress_is_reported(collection, colors, folder):
    reported = []
    ingest([folder], collection, colors, IngestOptions(batch_size=1), on_progress=reported.append)
    assert next(p.stage for p in reported) == "scan"
    last = [p for p in reported if p.stage == "ingest"][-1]
    assert (last.done, last.total) == (4, 4)


def test_the_catalog_is_committed_after_the_store_is_flushed(
    run, collection, photo, folder, monkeypatch
):
    """What was acknowledged since the last flush may be lost in a power cut: the catalog must not
    have it."""
    events = []
    upsert, flush, commit = collection.store.upsert, collection.store.flush, Catalog.commit
    record = {
        "upsert": lambda records: (events.append("upsert"), upsert(records)),
        "flush": lambda: (events.append("flush"), flush()),
    }
    for name, call in record.items():
        monkeypatch.setattr(collection.store, name, call)
    monkeypatch.setattr(Catalog, "commit", lambda self: (events.append("commit"), commit(self)))
    monkeypatch.setattr(pipeline, "COMMIT_INTERVAL", 0.0)
    run()
    assert events[0] == "commit"  # of the roots
    for event, following in pairwise(events[1:]):
        assert following == {"upsert": "flush", "flush": "commit"}.get(event, following)
    assert events.count("commit") > 2


def test_the_store_is_asked_once_per_batch(run, collection, monkeypatch):
    asked, retrieve = [], collection.store.retrieve

    def count(ids, **options):
        asked.append(len(ids))
        return retrieve(ids, **options)

    monkeypatch.setattr(collection.store, "retrieve", count)
    run()
    assert asked == [1, 1, 1, 1]  # batches of 2 are halved: one is embedded, one is written
    run()
    assert asked == [1, 1, 1, 1, 4]  # the catalog has everything; the last writes are compared


def test_the_embedder_is_called_from_one_thread(run, folder, photo, colors):
    for number in range(20):
        photo(folder / f"{number}.png", number + 10)
        (folder / f"{number}.txt").write_text(f"caption {number}")
    threads = set()

    class RecordsThreads(FailsOnRed):
        def embed(self, inputs, role, instruction=None):
            threads.add(threading.get_ident())
            return self.inner.embed(inputs, role, instruction)

    assert run(embedder=RecordsThreads(colors))["added"] == 24
    assert len(threads) == 1


def test_a_copy_waits_for_the_batch_that_its_original_is_in(run, collection, folder, colors):
    """Each file is a batch of its own, and the model is slower than the decoder."""
    for number in range(6):
        shutil.copy(folder / "a.jpg", folder / f"a{number}.jpg")
        (folder / f"a{number}.txt").write_text(f"caption {number}")

    class Slow(FailsOnRed):
        def embed(self, inputs, role, instruction=None):
            time.sleep(0.05)
            return self.inner.embed(inputs, role, instruction)

    assert run(embedder=Slow(colors)) == {"added": 4}
    payload = stored(collection)["a.jpg"]
    assert len(payload["paths"]) == 7
    assert {caption["text"] for caption in payload["captions"]} == {
        f"caption {n}" for n in range(6)
    }


def test_a_failed_update_leaves_the_point_as_it_was(run, collection, folder, colors):
    run()

    class FailsOnText(FailsOnRed):
        def embed(self, inputs, role, instruction=None):
            if any(item.text for item in inputs):
                raise EmbedderError("no texts today")
            return self.inner.embed(inputs, role, instruction)

    (folder / "a.txt").write_text("a red ball")
    counts = run(embedder=FailsOnText(colors))
    assert counts == {"unchanged": 3, "skipped": [("a.jpg", "embed-failed")]}
    assert stored(collection)["a.jpg"]["captions"] == []
    assert run() == {"updated": 1, "unchanged": 3}
    assert [c["text"] for c in stored(collection)["a.jpg"]["captions"]] == ["a red ball"]


@pytest.mark.store_server
@pytest.mark.parametrize("replaced", [False, True])
def test_a_collection_moved_during_an_ingest_gets_all_and_its_former_place_nothing(
    collection, run, folder, photo, monkeypatch, replaced
):
    for i in range(10, 30):
        photo(folder / f"{i}.jpg", i)
    embed, moved = ColorEmbedder.embed, collection.path.with_name("moved")

    def embed_and_move(self, inputs, role, instruction=None):
        if len(self.calls) == 4:
            collection.path.rename(moved)
            if replaced:
                collection.path.mkdir()
        return embed(self, inputs, role, instruction)

    monkeypatch.setattr(ColorEmbedder, "embed", embed_and_move)
    with pytest.raises(CollectionError, match="moved or replaced" if replaced else "are gone"):
        run()
    left = sorted(path.name for path in collection.path.rglob("*") if path.is_file())
    assert [name for name in left if not name.endswith(".jpg")] == []
    assert replaced or not collection.path.exists()
    assert (moved / "collection.json").exists()
