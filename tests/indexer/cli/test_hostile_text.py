"""What comes from outside steers neither a terminal nor a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import warnings
from unittest.mock import patch

import pytest
from PIL import Image

from embedder.cli import console
from tests.indexer.cli.conftest import Program
from tests.programs import run_program

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x00\x7f\x9b31m\u202egpj\u2066\u2028x"
STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = '=HYPERLINK("http://example.org")'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A library whose names, captions, tags and own columns are hostile."""
    library = Program(tmp_path_factory.mktemp("hostile"))
    for name, color in ((HOSTILE.replace("\0", ""), "red"), ("plain", "blue")):
        path = library.folder / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), color).save(path)
        about = {"caption": HOSTILE + FORMULA, "tags": [HOSTILE, FORMULA], "note": HOSTILE}
        path.with_suffix(".json").write_text(json.dumps(about))
    broken = os.fsencode(library.folder / "pictures") + b"/\xff" + HOSTILE[:4].encode() + b".png"
    with open(broken, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n broken")
    assert library("ingest", "pictures").returncode == 3
    return library


def check(done) -> None:
    for text in (done.stdout.replace("\r\n", "\n"), done.stderr):  # CSV has such lines
        found = STEERING.search(text)
        assert not found, text[max(0, found.start() - 60) : found.end() + 20]
        text.encode()


COMMANDS = [
    ("ingest", "pictures", "--verbose"),
    ("search", "red", "--verbose"),
    ("search", HOSTILE.replace("\0", ""), "--where", f"note={HOSTILE}".replace("\0", "")),
    ("similar", HOSTILE.replace("\0", "")),
    ("status",),
    ("prune", "--dry-run"),
    ("export",),
    ("export", "--format", "csv"),
    ("ingest", f"none{HOSTILE}".replace("\0", "")),
    ("collections", "create", f"a{HOSTILE}".replace("\0", "")),
    ("collections", "delete", f"a{HOSTILE}".replace("\0", ""), "--yes"),
    (f"no-command{HOSTILE}".replace("\0", ""),),
    ("search", f"--no-option{HOSTILE}".replace("\0", "")),
    ("search", "red", "--limit", HOSTILE.replace("\0", "")),
    ("search", "red", "--where", f"kind={HOSTILE}".replace("\0", "")),
    ("status", "--store", f"ftp://{HOSTILE}".replace("\0", "")),
    ("restore", f"none{HOSTILE}".replace("\0", "")),
    ("--debug", "ingest", f"none{HOSTILE}".replace("\0", "")),
    ("search", "caf\udce9"),
    ("ingest", "caf\udce9"),
]


def test_no_command_passes_what_steers_a_terminal(hostile):
    for arguments in COMMANDS:
        check(hostile(*arguments))
        if arguments[0] not in {"export", "--debug"} and "no-" not in arguments[0]:
            done = hostile(*arguments, "--json")
            check(done)
            for line in done.stdout.splitlines():
                json.loads(line)


def test_json_has_every_value_as_it_is(hostile):
    found = hostile.json("search", "red", "--where", "name=plain.png")
    (caption,) = found["hits"][0]["payload"]["captions"]
    assert "\u202egpj\u2066" in caption["text"]


@pytest.mark.parametrize(
    ("program", "commands"),
    [("embedder", ["info", "embed"]), ("finetune", ["pairs"]), ("polylens", ["app", "search"])],
)
def test_the_other_programs_neither(program, commands, tmp_path):
    name = HOSTILE.replace("\0", "")
    for arguments in (
        [name],
        ["--" + name],
        *([command, name] for command in commands),
    ):
        check(run_program(program, *arguments, "--model", name, env={"POLYLENS_STORE": "none"}))
    (tmp_path / "pairs.jsonl").write_text(
        json.dumps({"query": name, "image": name + ".jpg"}) + "\n"
    )
    check(run_program("finetune", "pairs", tmp_path / "pairs.jsonl", "--out", tmp_path / "x.jsonl"))
    check(run_program("embedder", "embed", name, stdin=name))


def test_messages_of_libraries_neither():
    """Whatever logs or warns while a program runs."""
    import typer

    app = console.make_app("x", "")

    @app.command()
    def work() -> None:
        warnings.warn(HOSTILE, stacklevel=1)
        logging.getLogger("library").warning("opened %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("library").exception("failed")
        raise RuntimeError(HOSTILE)

    @app.command()
    def other() -> None:
        raise typer.Exit

    stderr = io.StringIO()
    handler = logging.StreamHandler(stderr)
    logging.getLogger("library").addHandler(handler)
    before = logging.getLogRecordFactory(), warnings.showwarning
    try:
        with (
            patch("sys.stderr", stderr),
            patch("sys.argv", ["x", "work"]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always")
            assert console.run_program(app, "x", ()) == console.FAILED
    finally:
        logging.getLogger("library").removeHandler(handler)
    text = stderr.getvalue()
    assert "UserWarning" in text and "opened" in text and "RuntimeError" in text
    assert "ValueError" in text
    assert not STEERING.search(text)
    assert before == (logging.getLogRecordFactory(), warnings.showwarning)


def test_an_exported_table_has_no_formula(hostile):
    done = hostile("export", "--format", "csv", "--search", "red")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) > 1
    for row in rows:
        assert not any(cell.lstrip().startswith(("=", "+", "@", "\t")) for cell in row.values())
        float(row["score"]), int(row["width"])
    lines = [json.loads(line) for line in hostile("export").stdout.splitlines()]
    assert any(FORMULA in line["payload"]["tags"] for line in lines), "exact in JSON lines"


def test_a_formula_in_a_caption_is_a_text_in_the_table(indexer, photo):
    path = photo(indexer.folder / "pictures" / "a.png", 1)
    path.with_suffix(".txt").write_text(FORMULA)
    photo(indexer.folder / "pictures" / "b.png", 2).with_suffix(".txt").write_text("-5")
    indexer("ingest", "pictures")
    rows = csv.DictReader(io.StringIO(indexer("export", "--format", "csv").stdout))
    captions = {row["path"].rpartition("/")[2]: row["caption"] for row in rows}
    assert captions["a.png"] == f"'{FORMULA}"
    assert captions["b.png"] == "-5"
