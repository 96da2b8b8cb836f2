"""`indexer ingest` and `prune` as a user sees them: counts, exit codes, progress, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tarfile
import time
from pathlib import Path

import pytest

from indexer.collections.collection import OpenCollection
from indexer.config import load_config

COUNTS = ("added", "updated", "unchanged", "moved", "removed")
REST = ("duplicates", "unsupported", "failed", "remaining")
LOSSES = {"recovered", "lost"}


def counts(answer: dict) -> dict[str, int]:
    return {name: answer[name] for name in COUNTS if answer[name]}


def test_json_is_one_object(indexer, pictures):
    answer = indexer.json("ingest", pictures)
    others = {"skipped", "notes", "passed_over", "files", "interrupted", "seconds"}
    assert set(answer) == {*COUNTS, *REST, *LOSSES, *others}
    assert counts(answer) == {"added": 4}
    assert answer["skipped"] == []
    assert answer["files"] == 4
    assert answer["interrupted"] is False
    assert answer["seconds"]["total"] > 0
    assert counts(indexer.json("ingest", pictures)) == {"unchanged": 4}


def test_the_printed_counts(indexer, pictures):
    done = indexer("ingest", pictures)
    assert done.returncode == 0
    assert "4 added" in done.stdout
    assert "embed" in done.stderr  # the stages' times


def test_skipped_files_are_listed_and_exit_3(indexer, pictures):
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    answer = indexer.json("ingest", pictures, code=3)
    (skip,) = answer["skipped"]
    assert set(skip) == {"path", "reason", "detail"}
    assert skip["path"] == str(pictures / "broken.jpg")
    assert skip["reason"] in ("corrupt", "truncated")
    assert counts(answer) == {"added": 4}
    listed = (indexer.folder / "store" / "default" / "errors.jsonl").read_text()
    assert json.loads(listed)["path"] == skip["path"]
    done = indexer("ingest", pictures)
    assert done.returncode == 3
    assert "broken.jpg" in done.stderr
    assert "1 failed" in done.stdout


def make_every_kind_of_file(folder: Path, photo) -> None:
    """Eight kinds, and what is no file of its own: captions, a folder, something else."""
    photo(folder / "white.png", "white")
    shutil.copy(folder / "white.png", folder / "white copy.png")
    photo(folder / "black.png", "black")
    (folder / "black.txt").write_text("a black wall")
    (folder / "drawing.svg").write_text("<svg/>")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "empty.png").touch()
    (folder / "program.exe").write_bytes(b"MZ")
    with tarfile.open(folder.parent / "members.tar", "w") as tar:
        for name in ("white.png", "red.png", "red.txt", "drawing.svg", "broken.jpg"):
            tar.add(folder / name, name)


def total(answer: dict) -> int:
    return sum(answer[name] for name in (*COUNTS, *REST) if name != "removed")


def test_the_counts_are_a_partition_of_the_files(indexer, pictures, photo):
    make_every_kind_of_file(pictures, photo)
    arguments = ("ingest", pictures, pictures.parent / "members.tar")
    first = indexer.json(*arguments, code=3)
    assert counts(first) == {"added": 6}  # four pictures were there, with a note
    assert [first[name] for name in REST] == [3, 2, 3, 0]
    assert first["files"] == total(first) == 14
    assert len(first["skipped"]) == first["unsupported"] + first["failed"]

    (pictures / "red.png").rename(pictures / "crimson.png")
    (pictures / "red.txt").rename(pictures / "crimson.txt")
    (pictures / "blue.txt").write_text("another blue wall")
    (pictures / "black.png").write_bytes(b"")  # known, and damaged since
    photo(pictures / "gray.png", "gray")
    for options in (["--dry-run"], ["--prune"]):
        then = indexer.json(*arguments, *options, code=3)
        assert counts(then) | {"removed": 0} == {
            "added": 1, "updated": 1, "moved": 1, "unchanged": 3, "removed": 0,
        }  # fmt: skip
        assert [then[name] for name in REST] == [3, 2, 4, 0]
        assert then["files"] == total(then) == 15
    done = indexer(*arguments)
    assert done.stdout == (
        "15 files: 0 added, 0 updated, 6 unchanged, 0 moved, 3 duplicates, 2 unsupported, "
        "4 failed; 0 removed\n"
        "passed over, neither images nor texts: 1 other file\n"
    )


def test_what_captions_were_not_read_as_written_is_said(indexer, pictures):
    table = 'file,caption\nred.png,"open\nnone.png,x\n'
    (pictures / "captions.csv").write_text(table)
    (pictures / "film.mp4").write_bytes(b"film")
    done = indexer("ingest", pictures)
    assert "captions.csv: line 2: a quotation mark without its other half" in done.stderr
    assert "captions.csv: 1 name fits no file, such as 'none.png'" in done.stderr
    assert "passed over, neither images nor texts: 1 video" in done.stdout


def test_unsupported_files_alone_are_no_failure(indexer, pictures):
    (pictures / "drawing.svg").write_text("<svg/>")
    done = indexer("ingest", pictures)
    assert done.returncode == 0
    assert "skipped" in done.stderr and "drawing.svg" in done.stderr
    assert "1 unsupported, 0 failed" in done.stdout
    assert indexer("reindex", "--model", "shades").returncode == 0
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    assert indexer("reindex", "--forget").returncode == 0
    assert indexer("reindex", "--model", "colors").returncode == 3


def test_only_the_first_skipped_files_are_shown(indexer, pictures):
    for i in range(12):
        (pictures / f"broken{i:02}.jpg").write_bytes(b"")
    done = indexer("ingest", pictures)
    assert "broken09.jpg" in done.stderr
    assert "broken10.jpg" not in done.stderr
    assert "2 more" in done.stderr
    assert "errors.jsonl" in done.stderr
    assert "broken11.jpg" in indexer("ingest", pictures, "--verbose").stderr


def test_limits_take_suffixes(indexer, pictures):
    answer = indexer.json("ingest", pictures, "--max-pixels", "1k", code=3)
    assert {skip["reason"] for skip in answer["skipped"]} == {"too-many-pixels"}
    answer = indexer.json("ingest", pictures, "--max-bytes", "1kB", "--max-pixels", "1M")
    assert counts(answer) == {"added": 3, "unchanged": 1}


def test_a_dry_run_changes_nothing(indexer, pictures):
    assert counts(indexer.json("ingest", pictures, "--dry-run")) == {"added": 4}
    assert not (indexer.folder / "store").exists()
    indexer.json("ingest", pictures)
    (pictures / "red.png").unlink()
    assert indexer.json("ingest", pictures, "--dry-run", "--prune")["removed"] == 1
    assert indexer.json("status")["points"] == 4


def test_a_missing_folder_leaves_no_collection(indexer, pictures):
    assert indexer("ingest", pictures, "no-such-folder").returncode == 1
    assert not (indexer.folder / "store").exists()


def test_workers_that_cannot_write_to_the_store_leave_no_collection(indexer, pictures):
    pytest.importorskip("ray")
    done = indexer("ingest", pictures, "--workers", "ray://127.0.0.1:1")
    assert done.returncode == 1
    assert "put it on a Qdrant server" in done.stderr
    assert not (indexer.folder / "store").exists()


def test_prune(indexed, pictures):
    (pictures / "red.png").unlink()
    assert indexed.json("prune", "--dry-run")["removed"] == 1
    assert indexed.json("status")["points"] == 4
    answer = indexed.json("prune")
    assert answer["removed"] == 1
    assert answer["paths"] == [str(pictures / "red.png")]
    assert indexed.json("status")["points"] == 3
    shutil.rmtree(pictures)
    answer = indexed.json("prune")
    assert answer["removed"] == 0
    assert answer["absent"] == [str(pictures)]


def test_a_rescan_does_not_load_the_model(indexed, pictures):
    """The starter's weights cost a second; an unchanged folder must not pay it."""
    done = indexed.with_failing_model("ingest", pictures, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unchanged"] == 4


def test_a_model_that_does_not_load_is_one_error(indexer, pictures):
    """Not one skipped file per file."""
    done = indexer.with_failing_model("ingest", pictures)
    assert done.returncode == 1
    assert "error: no weights here" in done.stderr
    assert "skipped" not in done.stderr
    assert not (indexer.folder / "store" / "default").exists()
    assert indexer("ingest", pictures, "--model", "shades").returncode == 0


def test_names_that_are_not_utf8(indexer, pictures, photo):
    folder = os.fsencode(pictures) + b"/caf\xe9"
    os.rename(photo(pictures / "new" / "white.png", "white").parent, folder)
    answer = indexer.json("ingest", os.fsdecode(folder))
    assert counts(answer) == {"added": 1}
    assert "caf\\xe9" in indexer("search", "white").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_what_is_done(indexer, tmp_path, photo, number):
    folder = tmp_path / "many"
    for i in range(60):
        photo(folder / f"{i}.png", i, size=(16, 12))
    process = indexer.start("ingest", folder, "--json", "--batch", "2", pause=0.1)
    catalogue = tmp_path / "store" / "default" / "thumbs"
    while process.poll() is None and not any(catalogue.glob("*/*.jpg")):
        time.sleep(0.02)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    answer = json.loads(out)
    assert answer["interrupted"] is True
    assert answer["added"] < 60
    assert indexer.json("status")["points"] == answer["added"]
    assert counts(indexer.json("ingest", folder)) == {
        "added": 60 - answer["added"],
        **({"unchanged": answer["added"]} if answer["added"] else {}),
    }


def test_no_progress_when_quiet(indexer, pictures):
    done = indexer("ingest", pictures, "--quiet", "--json")
    assert done.stderr == ""


def test_what_the_store_has_lost_is_said(indexer, pictures, tmp_path):
    """As after a power cut; what is in another folder cannot be read again."""
    assert indexer("ingest", pictures).returncode == 0
    (tmp_path / "other").mkdir()
    with OpenCollection.open(load_config({"store": str(indexer.folder / "store")})) as opened:
        ids = [record.id for record in opened.store.scroll()[0]]
        opened.store.delete(ids[:2])
    elsewhere = indexer("ingest", tmp_path / "other")
    assert elsewhere.returncode == 3
    assert "the store has lost 2 files that this run could not read again" in elsewhere.stderr
    with OpenCollection.open(load_config({"store": str(indexer.folder / "store")})) as opened:
        opened.store.delete(ids[2:3])
    again = indexer("ingest", pictures)
    assert (again.returncode, again.stdout.split(" added")[0].split()[-1]) == (0, "3")
    assert "the store had lost 1 file, as after a power cut" in again.stderr
