"""Tables as people and programs write them: read as they are meant, or a word says that not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.captions import delimited, manifest
from indexer.captions.delimited import MAX_ROW_LINES, iterate_delimited
from indexer.captions.manifest import parse_manifest
from indexer.captions.matching import NameIndex
from indexer.captions.resolver import CaptionResolver


def read(text: str, name: str = "captions.csv") -> tuple[dict[str, str], list[str]]:
    table = parse_manifest(name, text.encode())
    rows = {file: str(rows[0]["caption"]) for file, rows in table.rows.items()}
    return rows, list(table.notes)


@pytest.mark.parametrize(
    ("text", "captions", "note"),
    [
        (
            'file,caption\na.jpg,"A cat\nb.jpg,A dog\nc.jpg,"A bird, flying"\nd.jpg,A cow\n',
            {"a.jpg": '"A cat', "b.jpg": "A dog", "c.jpg": "A bird, flying", "d.jpg": "A cow"},
            "line 2: a quotation mark without its other half is read as text",
        ),
        ('file,caption\na.jpg,"A cat\n', {"a.jpg": '"A cat'}, "line 2"),
        ('file,caption\na.jpg,"A cat" on a roof\n', {"a.jpg": '"A cat" on a roof'}, "line 2"),
        ('file,caption\na.jpg,A 5" pipe\nb.jpg,x\n', {"a.jpg": 'A 5" pipe', "b.jpg": "x"}, ""),
        ('file,caption\na.jpg,"on\ntwo lines"\n', {"a.jpg": "on\ntwo lines"}, ""),
        (
            "file,caption\na.jpg,A cat, a dog and a cow\nb.jpg,x\n",
            {"a.jpg": "A cat, a dog and a cow", "b.jpg": "x"},
            "line 2: 3 cells under 2 columns; the text was put together: "
            "write a text with a delimiter in quotation marks",
        ),
        ("file,caption,tags\na.jpg,A cat, a dog,pet\n", {"a.jpg": "A cat, a dog"}, "line 2"),
        (
            "file,caption,title\na.jpg,A cat, a dog,Pets\n",
            {"a.jpg": "A cat"},
            "line 2: 4 cells under 3 columns; the last ones were left out",
        ),
        ("file,caption\na.jpg,A cat,,\n", {"a.jpg": "A cat"}, ""),
        ("sep=;\nfile;caption\na.jpg;A cat, a dog\n", {"a.jpg": "A cat, a dog"}, ""),
        ("\n \nfile,caption\na.jpg,A cat\n", {"a.jpg": "A cat"}, ""),
        ("file|caption\na.jpg|A cat\n", {"a.jpg": "A cat"}, ""),
        ("file,caption\na.jpg,A cat\nb.jpg,\0\n", {"a.jpg": "A cat", "b.jpg": "\0"}, ""),
    ],
)
def test_tables_that_are_not_well_formed(text, captions, note):
    found, notes = read(text)
    assert found == captions
    assert len(notes) == bool(note)
    assert all(text.startswith(note) for text in notes)


def test_an_open_quotation_mark_does_not_swallow_a_long_table():
    lines = [f"{i}.jpg,caption {i}" for i in range(3 * MAX_ROW_LINES)]
    lines[1] = '1.jpg,"caption 1'
    lines[-1] = '9.jpg,"the end"'
    found, notes = read("file,caption\n" + "\n".join(lines))
    assert found["2.jpg"] == "caption 2"
    assert len(found) == 3 * MAX_ROW_LINES - 1
    assert notes == ["line 3: a quotation mark without its other half is read as text"]


def test_a_cell_of_as_many_lines_as_are_allowed(monkeypatch):
    monkeypatch.setattr(delimited, "MAX_ROW_LINES", 3)
    table = 'a\n"1\n2\n3\n4"\n'
    assert list(iterate_delimited(table, "csv"))[1:] == [(2, ["1\n2\n3\n4"])]
    assert list(iterate_delimited(table.replace("4", "4\n5"), "csv"))[1] == (2, ['"1'])


def test_tabs_lines_of_windows_and_nothing():
    assert read("file\tcaption\na.jpg\tA, b, c and d\n", "x.tsv")[0] == {"a.jpg": "A, b, c and d"}
    found, notes = read('file,caption\r\na.jpg,"on\r\ntwo"\r\nb.jpg,x\r\n')
    assert found == {"a.jpg": "on\r\ntwo", "b.jpg": "x"} and notes == []
    assert list(iterate_delimited("a,b\r1,2\r", "csv")) == [(1, ["a", "b"]), (2, ["1", "2"])]
    assert list(iterate_delimited(" \n", "csv")) == [(1, [" "])]
    assert list(iterate_delimited("", "csv")) == [] == list(iterate_delimited("", "tsv"))
    assert list(iterate_delimited("a,b\n\n1,2\n", "csv")) == [
        (1, ["a", "b"]), (2, []), (3, ["1", "2"]),
    ]  # fmt: skip
    assert list(iterate_delimited('a\n"x\n"y ""z"" w",1\n', "csv"))[1:] == [
        (2, ['"x']), (3, ['y "z" w', "1"]),
    ]  # fmt: skip


def test_a_line_with_an_open_quotation_mark_keeps_its_whole_cells():
    lines = list(iterate_delimited('a,b,c\n"x ""y""","z",w"\n1,"2\n', "csv"))
    assert lines == [(1, ["a", "b", "c"]), (2, ['x "y"', "z", 'w"']), (3, ["1", '"2'])]
    assert list(iterate_delimited('a,b\n"x",2\n"1","2\n', "csv"))[2] == (3, ["1", '"2'])
    assert list(iterate_delimited('a,b\n"x ""y""","z\n', "csv"))[1] == (2, ['x "y"', '"z'])


def test_the_delimiter_is_that_of_the_format_also_in_broken_lines():
    lines = list(iterate_delimited("file\tcaption, in short, of it\na.jpg\tx\n", "tsv"))
    assert lines[1] == (2, ["a.jpg", "x"])
    assert list(iterate_delimited('a;b\n1;"2\n', "csv"))[1] == (2, ["1", '"2'])


def test_the_extension_of_a_table_tells_its_format():
    row = b'{"file": "a.jpg", "caption": "A cat"}'
    assert list(parse_manifest("my.table.jsonl", row).rows) == ["a.jpg"]
    assert list(parse_manifest("table.txt", b"file,caption\na.jpg,A cat\n").rows) == ["a.jpg"]
    text = "file\tcaption\tthis, that, and more\na.jpg\tA cat\tx\n"
    assert read(text, "captions.tsv")[0] == {"a.jpg": "A cat"}


def test_cells_that_are_missing_are_empty_and_tags_stay_texts():
    table = parse_manifest("captions.csv", b"file,tags,year,brand\na.jpg,2019,2019\n")
    assert table.rows == {"a.jpg": [{"tags": "2019", "year": 2019, "brand": ""}]}


def test_the_best_of_several_names_counts():
    table = manifest.Manifest({"X.jpg": [{}], "a/x.jpg": [{}]})
    assert table.find(["x.jpg"], "/p/a").names == ("X.jpg",)
    assert table.find(["x.jpg"], "/p/a").how == "case"
    assert table.find(["y.jpg"], "/p/a").names == ()


def test_the_order_of_columns_changes_no_row():
    rows = {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}
    one, same, other = (manifest.hash_rows([row]) for row in rows)
    assert one == same != other


def test_a_cell_that_is_too_long_names_its_line(monkeypatch):
    monkeypatch.setattr(delimited, "MAX_CELL_CHARACTERS", 10)
    with pytest.raises(ValueError, match=r"^line 3: field larger"):
        list(iterate_delimited("a,b\n1,2\n" + "x" * 11 + ",2\n", "csv"))


def test_what_a_table_must_have(monkeypatch):
    row = b'{"file": null, "caption": "x"}\n{"file": "a.jpg", "caption": "A cat"}'
    assert list(parse_manifest("captions.jsonl", row).rows) == ["a.jpg"]
    rows = b'{"file": "a.jpg", "caption": "A cat"}\n{"path": "b.jpg", "caption": "A dog"}'
    assert list(parse_manifest("captions.jsonl", rows).rows) == ["a.jpg", "b.jpg"]
    with pytest.raises(ValueError, match=r"no column names the files; .* file_name, file, "):
        parse_manifest("captions.csv", b"caption\nA cat\n")
    table = b"file,caption\na.jpg," + b"x" * (1 << 20)
    monkeypatch.setattr(manifest, "MAX_BYTES", len(table))
    assert list(parse_manifest("captions.csv", table).rows) == ["a.jpg"]
    with pytest.raises(ValueError, match=r"^a manifest of more than 1 MB"):
        parse_manifest("captions.csv", table + b"x")


# which file a row is about


@pytest.fixture
def resolve(tmp_path):
    """`resolve(files, rows)`: the captions of files beside a table, and the notes about it."""

    def run(files: list[str], rows: dict[str, str], table: str = "captions.jsonl"):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        lines = [json.dumps({"file": name, "caption": text}) for name, text in rows.items()]
        (tmp_path / table).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / table).write_text("\n".join(lines), "utf-8")
        resolver = CaptionResolver([tmp_path])
        texts = {name: resolver.load_captions(str(tmp_path / name)).captions for name in files}
        notes = [(Path(note.path).name, note.text) for note in resolver.list_notes()]
        return {name: [c.text for c in found] for name, found in texts.items() if found}, notes

    return run


@pytest.mark.parametrize(
    ("file", "row", "note"),
    [
        ("x.jpg", "x.jpg", None),
        ("a/x.jpg", "a\\x.jpg", None),
        ("a/x.jpg", "./a/x.jpg", None),
        ("caf\u00e9.jpg", "cafe\u0301.jpg", "Unicode"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg", "Unicode"),
        ("10.15.30\u202fAM.png", "10.15.30 AM.png", "blanks"),
        ("IMG_1.JPG", "img_1.jpg", "letter case"),
        ("Ü.jpg", "ü.jpg", "letter case"),
    ],
)
def test_names_that_are_not_exact(resolve, file, row, note):
    texts, notes = resolve([file], {row: "a cat"})
    assert texts == {file: ["a cat"]}
    assert len(notes) == bool(note)
    for _, text in notes:
        assert text.startswith("1 name is") and note in text
        assert text.endswith(f"such as {row!r} for {Path(file).name!r}")


@pytest.mark.parametrize("row", ["Rome/x.jpg", "2019/Rome/x.jpg", "C:\\Users\\a\\rome\\x.jpg"])
def test_names_given_from_a_folder_above(resolve, row):
    texts, notes = resolve(["2019/Rome/x.jpg"], {row: "a cat"}, "2019/Rome/captions.jsonl")
    assert texts == {"2019/Rome/x.jpg": ["a cat"]}
    assert ["given from a folder above" in text for _, text in notes] == [True]


def test_a_name_in_another_folder_is_not_meant(resolve):
    texts, notes = resolve(["2019/x.jpg"], {"2018/x.jpg": "a cat"}, "2019/captions.jsonl")
    assert texts == {}
    assert notes == [("captions.jsonl", "1 name fits no file, such as '2018/x.jpg'")]


def test_more_than_one_candidate_means_none(resolve):
    texts, notes = resolve(["x.jpg"], {"X.jpg": "a cat", "x.JPG": "a dog"})
    assert texts == {}
    assert notes == [
        ("captions.jsonl", "'x.jpg' fits 'X.jpg', 'x.JPG' equally well, and counts for none")
    ]


def test_two_files_that_differ_in_case_have_their_own_rows(resolve):
    texts, notes = resolve(["x.jpg", "X.jpg", "y.jpg", "Y.jpg"], {"x.jpg": "a", "Y.JPG": "b"})
    assert texts == {"x.jpg": ["a"]}
    assert notes == [("captions.jsonl", "1 name fits no file, such as 'Y.JPG'")]


def test_two_files_that_differ_in_the_form_of_unicode_do_not_share_a_row(resolve):
    composed, decomposed = "caf\u00e9.jpg", "cafe\u0301.jpg"
    assert resolve([composed, decomposed], {composed: "a"}) == ({composed: ["a"]}, [])
    texts, _ = resolve([composed, decomposed], {decomposed: "a"})
    assert texts == {decomposed: ["a"]}


def test_rows_that_fit_no_file_get_a_word(resolve):
    rows = {"x.jpg": "a cat", "y.jpg": "a dog", "film.mp4": "a film", "z.jpg": "a cow"}
    texts, notes = resolve(["x.jpg", "film.mp4"], rows)
    assert texts["x.jpg"] == ["a cat"]
    assert notes == [("captions.jsonl", "2 names fit no file, such as 'y.jpg', 'z.jpg'")]


def test_sidecars_whose_names_are_not_exact(tmp_path):
    for name in ("x.jpg", "X.TXT", "y.jpg", "Y.jpg", "y.TXT"):
        (tmp_path / name).write_text("a cat")
    resolver = CaptionResolver([tmp_path])
    assert resolver.load_captions(str(tmp_path / "x.jpg")).captions
    assert resolver.load_captions(str(tmp_path / "y.jpg")).captions
    assert not resolver.load_captions(str(tmp_path / "Y.jpg")).captions
    (note,) = resolver.list_notes()
    assert note.text == "1 name is in other letter case, such as 'X.TXT' for 'x.jpg'"


def test_a_sidecar_that_fits_two_images_is_named_with_them(tmp_path):
    for name in ("Za.jpg", "ZA.jpg", "za.txt"):
        (tmp_path / name).write_text("a cat")
    resolver = CaptionResolver([tmp_path])
    assert not resolver.load_captions(str(tmp_path / "Za.jpg")).captions
    (note,) = resolver.list_notes()
    assert note.text.startswith("'za.txt' fits 'Z")
    assert "'Za'" in note.text and "'ZA'" in note.text


def test_a_nul_in_a_name_is_left_out(tmp_path):
    (tmp_path / "x.jpg").touch()
    assert CaptionResolver([tmp_path]).exists(str(tmp_path), "x\0.jpg")


def test_a_bare_name_in_a_named_table_must_be_that_of_one_file(tmp_path):
    for name in ("pics/a/x.jpg", "pics/b/x.jpg", "pics/b/y.jpg", "pics/.trash/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = tmp_path / "table.csv"
    table.write_text("file,caption\nx.jpg,which one?\ny.jpg,this one\n")
    resolver = CaptionResolver([tmp_path / "pics"], manifest=table)
    paths = [tmp_path / "pics" / name for name in ("a/x.jpg", "b/x.jpg", "b/y.jpg")]
    found = [resolver.load_captions(str(path)).captions for path in paths]
    assert [[caption.text for caption in captions] for captions in found] == [[], [], ["this one"]]
    (note,) = resolver.list_notes()
    assert "'x.jpg' fits 'several files of this name'" in note.text


def test_names_are_found_exactly_before_anything_else():
    index = NameIndex(["x.jpg", "X.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg"])
    assert (index.find("x.jpg").name, index.find("x.jpg").how) == ("x.jpg", "exact")
    assert index.find("X.JPG").name is None
    assert index.find("CAFÉ.jpg").names == ("caf\u00e9.jpg", "cafe\u0301.jpg")
    assert index.find("y.jpg").names == ()
