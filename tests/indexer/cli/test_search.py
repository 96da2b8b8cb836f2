"""`indexer search` and `similar` as a user sees them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from indexer.cli.search import _print_table, format_bar
from indexer.types import Hit, SearchResults


def file_names(answer: dict) -> list[str]:
    return [Path(hit["path"]).name for hit in answer["hits"]]


def test_the_shape_of_the_answer(library):
    answer = library.json("search", "red", "--limit", "2")
    assert set(answer) == {
        *("query", "took_ms", "matches", "more", "total", "num_strong", "hint", "reranking", "hits")
    }
    assert answer["query"]["parts"] == ["red"]
    assert answer["more"] is True
    assert len(answer["hits"]) == 2
    hit = answer["hits"][0]
    assert set(hit) == {
        *("id", "score", "strength", "match", "path", "paths", "payload"),
        *("explanation", "why", "folded", "query_match"),
    }
    assert hit["path"] == str(library.folder / "pictures" / "red.png")
    assert hit["paths"] == [hit["path"]]
    assert hit["payload"]["kind"] == "image"
    assert hit["why"]["parts"][0]["label"] == "red"


def test_an_image_as_a_part_and_as_an_option(library, tmp_path, photo):
    query = photo(tmp_path / "query.png", (0, 0, 250))
    assert file_names(library.json("search", query))[0] == "blue.png"
    assert file_names(library.json("search", "--image", query))[0] == "blue.png"
    assert "blue.png" not in file_names(library.json("search", f"-{query}"))


def test_pages(library):
    everything = file_names(library.json("search", "red", "--no-fold"))
    page = ("search", "red", "-n", "2", "--offset")
    pages = [file_names(library.json(*page, offset)) for offset in ("0", "2")]
    assert [*pages[0], *pages[1]] == everything


def test_orders(library):
    found = library.json("search", "--sort", "name")
    assert file_names(found) == ["blue.png", "green.png", "note.md", "red.png"]
    assert (found["query"]["sort"], found["total"]) == ("name", None)
    added = [hit["payload"]["added"] for hit in library.json("search", "--sort", "added")["hits"]]
    assert added == sorted(added, reverse=True)
    rows = [line.split("\t") for line in library("search", "--sort", "added").stdout.splitlines()]
    assert [row[0] for row in rows] == added, "a pipe gets the date, not a score"
    rows = [line.split("\t") for line in library("search", "--sort", "name").stdout.splitlines()]
    assert [row[0] for row in rows] == [""] * 4, "nothing has a score"
    sorted_hits = library.json("search", "red", "--sort", "name")
    assert file_names(sorted_hits)[0] == "red.png"
    assert sorted_hits["total"] == len(sorted_hits["hits"]) < 4
    assert "Weaker ones are left out." in library("search", "red", "--sort", "oldest").stderr
    assert library("search", "red", "--sort", "size").returncode == 2
    done = library("search", "red", "--sort", "name", "--diversity", "0.5")
    assert "leave one of them out" in done.stderr


def test_a_date_is_shown_as_exactly_as_it_is_known(capsys):
    payload = {"paths": ["/old.jpg"], "taken": "1962-01-01", "taken_precision": "year"}
    found = SearchResults((Hit("x", 0.0, payload, {}),), 0.0, matches=None, has_more=False)
    _print_table(found, 0, "newest", verbose=False)
    assert capsys.readouterr().out.split() == ["1", "1962", "/old.jpg"]


def test_filters(library):
    assert file_names(library.json("search", "white", "--where", "kind=text")) == ["note.md"]
    browse = library.json("search", "--where", "name=red.png,blue.png")
    assert sorted(file_names(browse)) == ["blue.png", "red.png"]
    browse = library.json("search", "--where", "kind!=text", "--where", "name!=red.png,blue.png")
    assert file_names(browse) == ["green.png"]
    assert browse["query"]["where"]["kind"] == {"not": ["text"]}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("kind", "write key=value"),
        ("wdith=5", "no item has the key 'wdith'; did you mean 'width'?"),
        ("wdith!=5", "no item has the key 'wdith'; did you mean 'width'?"),
    ],
)
@pytest.mark.parametrize("command", [("search", "white"), ("search",), ("export",)])
def test_what_is_not_a_filter(library, where, message, command):
    done = library(*command, "--where", where)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_a_filter_that_excludes_everything(library):
    done = library("search", "--where", "kind=Image")
    assert done.returncode == 0
    assert "Nothing was found." in done.stderr
    assert "No item has kind=Image; did you mean kind=image?" in done.stderr
    assert library.json("search", "--where", "kind=Image")["hint"].startswith("No item has")
    contradiction = library.json("search", "--where", "kind=text", "--where", "kind!=text")
    assert (contradiction["hits"], contradiction["hint"]) == ([], None)


def test_columns_and_folders_of_any_name(indexer, photo):
    folder = indexer.folder / "trips" / "Rome, 2019 [best]"
    for name, width in (("a.png", 1), ("b.png", 2)):
        photo(folder / name, width)
    (folder / "captions.csv").write_text(
        'file,caption,date taken,EXIF:Make,Width (cm),"say ""hi""",a.b,größe,year,tags\n'
        'a.png,one,2019,Canon,30,x,1,S,1850,"old town;x, y"\n'
        'b.png,two,2020,"Nikon, Japan",40,y,2,M,1900,x\n',
        "utf-8",
    )
    done = indexer("ingest", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    for where in (
        *("date taken=2019", '"date taken"=2019', "date taken<2020", "date taken!=2020"),
        *("EXIF:Make=Canon", 'EXIF:Make!="Nikon, Japan"', "Width (cm)=20..35", 'say "hi"=x'),
        *("a.b=1", "größe=S", "gro\u0308ße=S", "meta.year=1850", "meta.year<1900"),
        *('tag="x, y"', "tag!=x"),
    ):
        (found,) = file_names(indexer.json("search", "--where", where, "--where", "kind=image"))
        assert found == "a.png", where
    inside = indexer.json("search", "--where", f'folder="{folder}"')
    assert sorted(file_names(inside)) == ["a.png", "b.png"]
    done = indexer("search", "--where", "year=1850")
    assert "your own column is 'meta.year'" in done.stderr
    exported = indexer("export", "--format", "csv", "--where", "date taken=2019").stdout
    (row,) = csv.DictReader(io.StringIO(exported))
    assert json.loads(row["meta"])["Width (cm)"] == 30


def test_text_from_stdin(library):
    answer = library.json("search", "-", stdin="red\n")
    assert answer["query"]["parts"] == ["red"]
    assert file_names(answer)[0] == "red.png"
    answer = library.json("search", "a", "-", stdin="red wall -blue\n")
    assert answer["query"]["parts"] == ["a red wall", "-blue"]


def test_without_a_terminal_a_hit_is_a_line(library):
    done = library("search", "red")
    score, path, caption = done.stdout.splitlines()[0].split("\t")
    assert float(score) > 0
    assert path == str(library.folder / "pictures" / "red.png")
    assert caption == "a red wall"


def test_nothing_matches_the_filter(library):
    done = library("search", "red", "--where", "kind=none")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing" in done.stderr


def test_nothing_matches_well(indexer, tmp_path, photo):
    """The nearest of forty unrelated images is not a match."""
    for i in range(40):
        photo(tmp_path / "pictures" / f"{i}.png", i)
    assert indexer("ingest", tmp_path / "pictures").returncode == 0
    answer = indexer.json("search", "qwertz uiop")
    assert answer["matches"] is False
    done = indexer("search", "qwertz uiop")
    assert "Nothing here matches well" in done.stderr
    assert done.stdout


def test_similar_by_id_by_path_and_by_content(indexed, pictures, tmp_path):
    id = indexed.json("search", "red")["hits"][0]["id"]
    by_id = indexed.json("similar", id)
    assert file_names(by_id)[0] == "red.png"
    assert [hit["query_match"] for hit in by_id["hits"][:2]] == ["same", None]
    assert by_id["matches"]
    assert file_names(indexed.json("similar", f"id:{id}")) == file_names(by_id)
    assert file_names(indexed.json("similar", "pictures/red.png")) == file_names(by_id)
    shutil.copy(pictures / "red.png", tmp_path / "copy.png")
    assert file_names(indexed.json("similar", "copy.png")) == file_names(by_id)
    (pictures / "red.png").unlink()
    assert file_names(indexed.json("similar", pictures / "red.png")) == file_names(by_id)


def test_similar_to_an_image_that_is_not_indexed(library, tmp_path, photo):
    other = photo(tmp_path / "other.png", (0, 0, 240))
    assert file_names(library.json("similar", other))[0] == "blue.png"


@pytest.mark.parametrize(
    ("word", "filter"),
    [("kind=image", "kind=image"), ("kind:image", "kind=image"), ("width>=2", "'width>=2'")],
)
def test_what_looks_like_a_filter_is_pointed_out(library, word, filter):
    done = library("search", "red", word)
    assert done.stderr.startswith(f"{word} was read as text; a filter is: --where {filter}\n")
    for text in ("E=mc", "kind:", "the kind of red", "title:red"):
        assert "was read as text" not in library("search", text).stderr


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing.jpg", "neither a point's id nor a file"),
        ("", "'' is neither a point's id nor a file"),
        ("00000000-0000-5000-8000-000000000000", "no point"),
        ("notes.bin", "cannot be searched with"),
    ],
)
def test_similar_to_nothing(library, tmp_path, what, message):
    (tmp_path / "notes.bin").write_bytes(b"\0\1\2")
    done = library("similar", tmp_path / what if "." in what else what)
    assert done.returncode == 1
    assert message in done.stderr


def on_a_terminal(indexed, *arguments: object, **environment: str) -> str:
    """What the program prints on a terminal of 120 columns."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        indexed.command(*arguments),
        env={**indexed.environment, "TERM": "xterm-256color", **environment},
        cwd=indexed.folder,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    printed = b""
    try:
        while part := os.read(main, 65536):
            printed += part
    except OSError:  # the other end is closed
        pass
    os.close(main)
    assert process.wait(timeout=60) == 0
    return printed.decode()


def test_on_a_terminal_hits_are_a_table(library):
    printed = on_a_terminal(library, "search", "red", "--verbose")
    assert "████████" in printed
    assert "red.png" in printed
    assert "a red wall" in printed
    assert "\x1b[" in printed
    assert "\x1b[3" not in on_a_terminal(library, "search", "red", NO_COLOR="1")


def test_bars():
    bars = [format_bar(score, 0.5) for score in (0.5, 0.25, -0.1)]
    assert bars == ["████████", "████░░░░", "░░░░░░░░"]
    assert format_bar(0.0, 0.0) == "", "what remains without the unwanted has no scores"


def test_the_query_image_is_marked_in_the_table(indexed, pictures, photo):
    photo(pictures / "smaller.jpg", 5, (60, 45))
    photo(pictures / "larger.png", 5, (240, 180))
    assert indexed("ingest", pictures).returncode == 0
    printed = on_a_terminal(indexed, "similar", pictures / "larger.png", "--no-fold", NO_COLOR="1")
    larger, smaller = printed.index("larger.png"), printed.index("smaller.jpg")
    assert larger < printed.index("what you searched with") < smaller
    upload = photo(pictures.parent / "upload.png", 5, (200, 150))
    hits = indexed.json("search", "--image", upload, "--no-fold")["hits"]
    assert [hit["query_match"] for hit in hits[:3]] == ["copy", "copy", None]


def test_a_name_cannot_control_the_terminal(indexed, pictures, photo):
    photo(pictures / "evil\x1b]0;title\x07.png", "white")
    assert indexed("ingest", pictures).returncode == 0
    printed = on_a_terminal(indexed, "search", "white", NO_COLOR="1")
    assert "evil" in printed
    assert "\x1b]0" not in printed
    assert "\x1b]0" not in indexed("search", "white").stdout


def test_progress_on_a_terminal(indexer, pictures):
    printed = on_a_terminal(indexer, "ingest", pictures)
    assert "looking for files" in printed or "indexing" in printed
    assert "4 added" in printed
