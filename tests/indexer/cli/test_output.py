"""What every command prints: one JSON object, and with --quiet results and errors only."""

from __future__ import annotations

import io
import json
import sys

import pytest

from embedder.cli.console import print_table
from tests.indexer.cli.test_help import COMMANDS, names
from tests.programs import run_program

JSON_COMMANDS = {
    ("ingest",): ["pictures"],
    ("search",): ["red"],
    ("similar",): ["pictures/red.png"],
    ("tag",): ["warm", "--where", "kind=image"],
    ("status",): [],
    ("prune",): [],
    ("reindex",): ["--model", "colors"],
    ("migrate",): ["store", "elsewhere"],
    ("snapshot",): ["--output", "copy.tar"],
    ("restore",): ["copy.tar", "--collection", "restored"],
    ("collections", "list"): [],
    ("collections", "create"): ["another"],
    ("collections", "delete"): ["another", "--yes"],
    ("plan",): ["--images", "1M"],
    ("models",): [],
    ("doctor",): [],
    ("export",): ["--output", "all.jsonl"],
    ("config", "show"): [],
}
"""In an order in which each finds what it needs; the folder has a collection."""


def test_every_command_prints_one_json_object(indexed):
    assert set(JSON_COMMANDS) == set(COMMANDS)
    for name, arguments in JSON_COMMANDS.items():
        printed = indexed.json(*name, *arguments)
        assert isinstance(printed, dict), name
    assert isinstance(indexed.json("status", "--collection", "none", code=1)["error"], str)


@pytest.mark.parametrize("arguments", [["models"], ["info"], ["embed", "red"]])
def test_every_command_of_the_embedder_prints_one_json_object(arguments):
    done = run_program("embedder", *arguments, "--json")
    assert isinstance(json.loads(done.stdout), dict), done.stderr


def test_the_list_of_collections_is_an_object(library):
    answer = library.json("collections", "list")
    assert answer["store"] == str(library.folder / "store")
    assert [one["collection"] for one in answer["collections"]] == ["default"]


def test_quiet_commands_print_results_alone(indexed):
    """Also after a setting of an old name, which is worth a note."""
    quiet = {name for name, command in COMMANDS.items() if "--quiet" in names(command)}
    lines = {
        ("ingest",): ["pictures"],
        ("reindex",): ["--model", "shades"],
        ("migrate",): ["store", "elsewhere"],
        ("snapshot",): ["--output", "copy.tar"],
        ("restore",): ["copy.tar", "--collection", "restored"],
    }
    assert set(lines) == quiet
    for name, arguments in lines.items():
        env = {"POLYLENS_MODEL": "", "POLYLENS_QDRANT_STREAMS": "2"}
        done = indexed(*name, *arguments, "-q", **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_quiet_commands_print_errors(indexer, pictures):
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    done = indexer("ingest", pictures, "-q")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "broken.jpg" in line
    assert indexer("ingest", "nowhere", "-q").stderr.startswith("error: ")
    assert "in all threads: " in indexer("ingest", pictures).stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LONG = "TIGER-Lab/VLM2Vec-Qwen2VL-2B-with-a-long-name-that-is-not-broken"


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, [f"model  size  license name  {LONG}  2.2B  Apache-2.0  second"]),
        (80, [f"model  size {LONG}  2.2B", "a wider terminal also shows: license, name"]),
        (60, [f"model    {LONG}", "size     2.2B"]),
    ],
)
def test_no_terminal_breaks_a_name(width, shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    monkeypatch.setattr(sys, "stderr", out)
    columns = ("model", "size", "license", "name")
    print_table(columns, [(LONG, "2.2B", "Apache-2.0", "second")], optional=2)
    text = " ".join(line.strip() for line in out.getvalue().splitlines())
    assert LONG in text
    for part in shown:
        for word in part.split():
            assert word in text
    assert ("license" in text.partition("a wider")[0]) is (width != 80)


def test_a_pipe_gets_whole_names_and_all_columns():
    done = run_program("embedder", "models", env={"COLUMNS": "20"})
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["google/siglip2-base-patch16-256", "siglip2", "768"] in [row[:3] for row in rows]
    assert {len(row) for row in rows} == {9}
