"""A usage error is one line and an exit code, never a traceback."""

from __future__ import annotations

import json
import logging
import subprocess

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status"], "indexer ingest FOLDER"),
        (["search", "sea"], "indexer ingest FOLDER"),
        (["similar", "no-such-file.jpg"], "indexer ingest FOLDER"),
        (["export"], "indexer ingest FOLDER"),
        (["prune"], "indexer ingest FOLDER"),
        (["ingest", "no-such-folder"], "no-such-folder"),
        (["ingest", ".", "--model", "nobody"], "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_failure_names_the_fix(indexer, arguments, message):
    done = indexer(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["search", "~stranger"], 0),  # words
        (["search", "~stranger/cat.jpg"], 1),
        (["search", "--image", "~stranger"], 1),
        (["similar", "~stranger"], 1),
        (["export", "--search", "~stranger", "-o", "found.jsonl"], 0),
        (["export", "-o", "~stranger/all.jsonl"], 1),
        (["snapshot", "--output", "~stranger/all.tar"], 1),
        (["search", "red", "--where", "folder=~stranger"], 0),
        (["ingest", "~stranger"], 1),
        (["ingest", "~stranger/*.jpg"], 1),
        (["ingest", ".", "--manifest", "~stranger"], 1),
        (["ingest", ".", "--model", "~stranger", "--collection", "new"], 1),
        (["status", "--store", "~stranger"], 2),
        (["reindex", "--model", "~stranger"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_home_folder_that_does_not_exist(library, arguments, code):
    done = library(*arguments)
    assert done.returncode == code, done.stderr
    assert "Could not determine" not in done.stderr
    assert (code == 0) != done.stderr.startswith("error: ")


def test_with_json_the_error_is_an_object_too(indexer):
    done = indexer("status", "--json")
    assert done.returncode == 1
    assert "ingest FOLDER" in json.loads(done.stdout)["error"]
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["status", "--foo"],
        ["ingest"],
        ["ingest", ".", "--max-bytes", "lots"],
        ["ingest", ".", "--workers", "-1"],
        ["ingest", ".", "--batch", "0"],
        ["ingest", ".", "--batch", "9" * 30],
        ["ingest", ".", "--max-bytes", "9" * 400],
        ["status", "--collection", "../up"],
        ["export", "--format", "xml"],
        ["export", "--json"],
        ["search"],
        ["config"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(indexer, arguments):
    done = indexer(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["search", "sea", "-n"], "indexer search"),
        (["--debug", "collections", "list", "--store"], "indexer collections list"),
        (["nothing", "search", "-n"], "indexer"),
    ],
    ids=str,
)
def test_wrong_usage_names_the_help_of_its_command(indexer, arguments, command):
    assert f"type: {command} --help\n" in indexer(*arguments).stderr


@pytest.mark.parametrize("url", ["https://host/a.jpg", "-file:///a/b.png^2"])
def test_a_url_in_a_query_is_not_called_a_missing_file(library, url):
    done = library("search", "red", url)
    assert done.returncode == 1
    assert "is a URL; to search with its image, download it first" in done.stderr


def test_an_export_without_hits_says_why(library):
    done = library("export", "--where", "kind=Image")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Nothing was found. No item has kind=Image; did you mean kind=image?\n"
    assert library("export", "--search", " ").returncode == 2


def test_wrong_usage_with_json(indexer):
    done = indexer("status", "--foo", "--json")
    assert done.returncode == 2
    assert "--foo" in json.loads(done.stdout)["error"]


def test_a_wrong_setting_outside_the_flags_is_a_failure(indexer):
    done = indexer("status", POLYLENS_BATCH="many")
    assert done.returncode == 1
    assert "batch" in done.stderr
    assert "environment" in done.stderr


def test_another_model_names_the_fix(indexed):
    done = indexed("ingest", "pictures", "--model", "colors", "--collection", "default")
    assert done.returncode == 0
    meta = indexed.folder / "store" / "default" / "collection.json"
    meta.write_text(meta.read_text().replace("colors-1", "colors-0"))
    for arguments in (["search", "red"], ["ingest", "pictures"]):
        done = indexed(*arguments)
        assert done.returncode == 1
        assert "indexer reindex --model colors --collection default" in done.stderr


@pytest.mark.parametrize("how", ["--debug", "POLYLENS_DEBUG"])
def test_the_traceback_is_shown_on_request(indexer, how):
    if how == "--debug":
        done = indexer("--debug", "status")
    else:
        done = indexer("status", POLYLENS_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "CollectionError" in done.stderr


def test_an_internal_error_is_short_and_names_debug(indexed):
    """A payload that this program never writes."""
    from indexer.collections.collection import OpenCollection
    from indexer.config import load_config

    with OpenCollection.open(load_config({"store": str(indexed.folder / "store")})) as opened:
        record = opened.store.scroll(limit=1, vectors=True)[0][0]
        record.payload["captions"] = [1]
        opened.store.upsert([record])
    done = indexed("search", "red", "white")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "--debug" in done.stderr


def test_gcsfs_does_not_log_what_it_raises(indexer):
    indexer("--version")
    assert not logging.getLogger("gcsfs.retry").isEnabledFor(logging.ERROR)


def test_a_closed_pipe_is_not_an_error(library):
    process = library.start("export")
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == ""


def test_a_file_that_cannot_be_written(library):
    done = library("export", "-o", "no/such/folder/out.jsonl")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_output_that_is_not_unicode(indexed, pictures, photo):
    photo(pictures / "café.png", "white")
    assert indexed("ingest", pictures).returncode == 0
    done = indexed("search", "white", "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert any(hit["path"].endswith("café.png") for hit in json.loads(done.stdout)["hits"])
    assert "caf\\xe9.png" in indexed("search", "white", PYTHONIOENCODING="ascii").stdout


def test_python_m_is_the_same_program(indexer):
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "indexer", "status", "--collection", "none"],
        env=indexer.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "'none'" in done.stderr
