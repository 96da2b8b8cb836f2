"""Pairs from tables of every format, and errors of invalid ones."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from finetune.data import tables
from finetune.data.files import iter_pairs, read_pairs, write_pairs
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError

MMEB = {
    "qry": "<|image_1|>\nRepresent the given image for classification.\n",
    "qry_image_path": "images/cat.png",
    "pos_text": "cat",
    "pos_image_path": "",
    "neg_text": ["dog", "cow"],
    "neg_image_path": ["", ""],
}


@pytest.fixture
def folder(tmp_path, photo):
    for name in ("cat", "dog"):
        photo(tmp_path / "images" / f"{name}.png", name == "cat")
    return tmp_path


def table(folder, name: str, text: str, encoding: str = "utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def seen(folder, name: str) -> Side:
    return Side(image=str(folder / "images" / f"{name}.png"))


def test_written_pairs_are_read_back(folder):
    cat, dog = seen(folder, "cat"), seen(folder, "dog")
    both = Side("darker", cat.image, "Find the same, changed:")
    pairs = [
        Pair(
            Side("eine Katze"),
            cat,
            (dog, Side("words")),
            language="de",
            item="item 1",
            dataset="captions",
        ),
        Pair(both, Side("猫\n犬"), language=None, item="", dataset=""),
    ]
    assert write_pairs(folder / "new" / "pairs.jsonl", iter(pairs)) == 2
    assert read_pairs(folder / "new" / "pairs.jsonl") == pairs
    assert [p.name for p in (folder / "new").iterdir()] == ["pairs.jsonl"]


def test_a_failed_write_leaves_the_old_file(folder):
    path = folder / "pairs.jsonl"
    write_pairs(path, [Pair(Side("a"), Side("b"))])

    def broken():
        yield Pair(Side("c"), Side("d"))
        raise DataError("no more")

    with pytest.raises(DataError):
        write_pairs(path, broken())
    assert [pair.query.text for pair in read_pairs(path)] == ["a"]
    assert list(folder.glob(".pairs*")) == []


def as_jsonl(folder):
    return table(folder, "set.jsonl", json.dumps(MMEB) + "\n\n")


def as_parquet(folder):
    parquet.write_table(pa.Table.from_pylist([MMEB]), folder / "set-00000-of-00001.parquet")
    return folder / "set-00000-of-00001.parquet"


def as_dataset(folder):
    Dataset.from_list([MMEB]).save_to_disk(folder / "saved")
    return folder / "saved"


def as_only_split(folder):
    DatasetDict(train=Dataset.from_list([MMEB])).save_to_disk(folder / "splits")
    return folder / "splits"


@pytest.mark.parametrize("form", [as_jsonl, as_parquet, as_dataset, as_only_split])
def test_mmeb_rows_from_every_file_format(folder, form):
    (pair,) = read_pairs(form(folder), folder)
    assert pair.query == Side(
        image=str(folder / "images/cat.png"),
        instruction="Represent the given image for classification.",
        prompt=MMEB["qry"],
    )
    assert pair.positive == Side("cat")
    assert pair.negatives == (Side("dog"), Side("cow"))
    assert (pair.direction, pair.language, pair.item) == ("i2t", None, "")


@pytest.mark.parametrize(
    ("negatives", "found"),
    [
        ({"neg_text": "", "neg_image_path": ""}, ()),
        ({}, ()),
        ({"neg_text": "a cow", "neg_image_path": ""}, (Side("a cow"),)),
        ({"neg_text": None, "neg_image_path": ["images/dog.png"]}, ("dog",)),
    ],
)
def test_negatives_are_one_many_or_none(folder, negatives, found):
    row = {"qry": "cat", "pos_text": "", "pos_image_path": "images/cat.png", **negatives}
    (pair,) = read_pairs(table(folder, "set.jsonl", json.dumps(row)))
    assert pair.negatives == tuple(seen(folder, s) if isinstance(s, str) else s for s in found)


def test_a_negative_has_the_instruction_of_a_positive_of_its_kind(folder):
    row = {
        "qry": "cat",
        "pos_image_path": "images/cat.png",
        "pos_text": "<|image_1|>\nRepresent the given image.\n",
        "neg_text": ["", "a cow"],
        "neg_image_path": ["images/dog.png", ""],
    }
    (pair,) = read_pairs(table(folder, "set.jsonl", json.dumps(row)))
    dog = Side(
        None, seen(folder, "dog").image, "Represent the given image.", prompt=row["pos_text"]
    )
    assert pair.negatives == (dog, Side("a cow"))
    write_pairs(folder / "again.jsonl", [pair])
    assert read_pairs(folder / "again.jsonl") == [pair]


def test_a_data_set_is_named_after_its_file_or_folder(folder):
    line = json.dumps({"qry": "a", "pos_text": "b"})
    assert read_pairs(table(folder, "nli.jsonl", line))[0].dataset == "nli"
    for subset in ("CIRR", "OVEN"):
        (folder / "MMEB" / subset).mkdir(parents=True)
        rows = pa.Table.from_pylist([{"qry": subset, "pos_text": "b"}])
        parquet.write_table(rows, folder / "MMEB" / subset / "original-00000-of-00001.parquet")
    found = [(pair.query.text, pair.dataset) for pair in read_pairs(folder / "MMEB")]
    assert found == [("CIRR", "CIRR"), ("OVEN", "OVEN")]


def test_one_of_several_splits_must_be_chosen(folder):
    rows = Dataset.from_list([{"qry": "a", "pos_text": "b"}])
    DatasetDict(easy=rows, hard=rows).save_to_disk(folder / "set")
    with pytest.raises(DataError, match=r"several splits; choose one with .*split: easy, hard"):
        read_pairs(folder / "set")
    assert len(read_pairs(folder / "set", split="hard")) == 1
    assert len(read_pairs(folder / "set" / "easy")) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": []}', '{"splits": 5}'])
def test_a_damaged_list_of_splits_is_named(folder, content):
    (folder / "saved").mkdir()
    (folder / "saved" / "dataset_dict.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset_dict\.json is damaged"):
        read_pairs(folder / "saved")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_triplets(folder, encoding, delimiter):
    lines = [
        ["Query", "positive", "negative", "language", "item"],
        ["Käse", '"cheese; old, and ""good"""', "bread", "EN-us", "7"],
    ]
    text = "\r\n".join(delimiter.join(line) for line in lines)
    (pair,) = read_pairs(table(folder, "t.csv", text, encoding))
    assert pair == Pair(
        Side("Käse"),
        Side('cheese; old, and "good"'),
        (Side("bread"),),
        language="en-us",
        item="7",
        dataset="t",
    )


def test_e5vs_triplets_and_anchors(folder):
    text = "sent0,sent1,hard_neg\na man walks,a person moves,a man sleeps\n"
    (pair,) = read_pairs(table(folder, "nli.csv", text))
    walks, moves, sleeps = Side("a man walks"), Side("a person moves"), Side("a man sleeps")
    assert (pair.query, pair.positive, pair.negatives) == (walks, moves, (sleeps,))
    text = "anchor\tpositive\tnegative_1\tnegative_2\na\tb\tc\td\n"
    (pair,) = read_pairs(table(folder, "t.tsv", text))
    assert (pair.query, pair.negatives) == (Side("a"), (Side("c"), Side("d")))


def test_csv_with_pictures(folder):
    text = (
        "query,query_image,positive_image,negative,negative_image,instruction\n"
        "a dog,images/cat.png,images/dog.png,,images/cat.png,Change it:\n"
    )
    (pair,) = read_pairs(table(folder, "t.csv", text))
    cat = seen(folder, "cat")
    assert pair.query == Side("a dog", cat.image, "Change it:")
    assert pair.positive == seen(folder, "dog")
    assert pair.negatives == (cat,)
    assert pair.direction == "it2i"


def test_each_caption_gives_a_pair(folder):
    text = (
        "image,caption,caption_de,language\n"
        "images/cat.png,a cat,eine Katze,en\n"
        "images/dog.png,,ein Hund,\n"
    )
    pairs = read_pairs(table(folder, "t.csv", text))
    assert [(p.query.text, p.language, p.positive) for p in pairs] == [
        ("a cat", "en", seen(folder, "cat")),
        ("eine Katze", "de", seen(folder, "cat")),
        ("ein Hund", "de", seen(folder, "dog")),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "query,positive\na,b\nc,\n", "t.csv, line 3: the positive has neither"),
        ("t.csv", 'query,positive\n"a\nb",c\nd,\n', "t.csv, line 4: the positive"),
        ("t.csv", "query,positive\na,b,c\n", "line 2: 3 cells under 2 columns"),
        ("t.csv", "query,positive,language\na,b,klingon\n", "line 2: 'klingon' in language is not"),
        ("t.csv", "one,two\na,b\n", r"are not those of pairs \(one, two\); name them query"),
        ("t.csv", "query,positive\n", "there are no pairs in"),
        ("t.jsonl", '{"qry": "a", "pos_text": "b"}\n{"qry"\n', "t.jsonl: line 2: broken JSON"),
        ("t.jsonl", "[1]\n", "line 1: not an object"),
        (
            "t.jsonl",
            '{"qry": ["a"], "pos_text": "b"}\n',
            r"line 1: qry must be a text, not \['a'\]",
        ),
        ("t.jsonl", '{"qry": "a", "pos_text": " "}', "the positive .* has neither"),
        ("t.parquet", "no table", "not a complete Parquet file"),
        ("t.xlsx", "", r"t.xlsx has no supported format \(.jsonl"),
    ],
)
def test_errors_name_their_place(folder, name, text, message):
    with pytest.raises(DataError, match=message):
        read_pairs(table(folder, name, text))


def test_image_data_in_a_table_is_refused_with_advice(folder):
    rows = [{"image": {"bytes": b"\x89PNG", "path": "a.png"}, "caption": "a cat"}]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    with pytest.raises(DataError, match=r"row 1: image holds image data.*save the images"):
        read_pairs(folder / "t.parquet")


def test_a_table_that_holds_images_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    path, sizes, iterate = tmp_path / "t.parquet", [], parquet.ParquetFile.iter_batches
    images = [bytes([number]) * 1000 for number in range(20)]
    parquet.write_table(pa.table({"image": images}), path)

    def count(self, size):
        sizes.append(size)
        return iterate(self, size)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", count)
    for most in (tables.MAX_BATCH_BYTES, 5000, 10):
        monkeypatch.setattr(tables, "MAX_BATCH_BYTES", most)
        assert [row["image"] for _, row in tables.read_rows(path)] == images
    assert sizes == [tables.ROW_BATCH, 4, 1]


def test_a_text_that_is_not_utf_8_is_refused(folder):
    path = table(folder, "t.jsonl", '{"qry": "K\xe4se", "pos_text": "b"}', "latin-1")
    with pytest.raises(DataError, match=r"line 1: 'K.*se' is not UTF-8"):
        read_pairs(path)


def test_missing_pictures_are_named_and_not_used(folder):
    text = "query,positive_image\na,images/cat.png\nb,images/lost.png\n"
    path = table(folder, "t.csv", text)
    with pytest.raises(DataError, match=r"1 picture is missing, such as .*lost\.png; .*--images"):
        read_pairs(path)
    assert len(list(iter_pairs(path))) == 2


def test_relative_paths_start_from_the_given_folder(folder):
    (folder / "tables").mkdir()
    path = table(folder / "tables", "t.csv", "query,positive_image\na,cat.png\n")
    (pair,) = read_pairs(path, folder / "images")
    assert pair.positive == seen(folder, "cat")


def test_half_a_surrogate_does_not_stop_the_reading(tmp_path):
    (tmp_path / "x.jpg").touch()
    table = tmp_path / "pairs.jsonl"
    table.write_text('{"file": "x.jpg", "caption": "a \\ud83d cat"}\n', "utf-8")
    assert [pair.query.text for pair in read_pairs(table)] == ["a \ufffd cat"]
    assert write_pairs(tmp_path / "out.jsonl", read_pairs(table)) == 1


def test_images_are_found_by_names_that_are_not_exact(tmp_path):
    folder = tmp_path / "Photos"
    folder.mkdir()
    for name in ("caf\u00e9.jpg", "IMG_1.JPG", "x.jpg", "two.jpg", "Two.jpg"):
        (folder / name).touch()
    rows = {
        "cafe\u0301.jpg": "form",
        "img_1.jpg": "case",
        "photos\\x.jpg": "folder",
        "C:\\Users\\ann\\Photos\\x.jpg": "folder",
        "x.jpg": None,
    }
    lines = [json.dumps({"file": name, "caption": name}) for name in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    found = {pair.query.text: Path(pair.positive.image).name for pair in read_pairs(folder)}
    names = ["caf\u00e9.jpg", "IMG_1.JPG", "x.jpg", "x.jpg", "x.jpg"]
    assert found == dict(zip(rows, names, strict=True))
    with (folder / "pairs.jsonl").open("a") as file:
        file.write('\n{"file": "TWO.jpg", "caption": "which?"}')
    with pytest.raises(DataError, match=r"1 picture is missing, such as .*TWO\.jpg"):
        read_pairs(folder)


def test_an_image_in_the_table_itself_is_missing(folder):
    uri = "data:image/png;base64," + "A" * 5400
    path = table(folder, "t.csv", f'file,caption\n"{uri}",a cat\n')
    with pytest.raises(DataError, match=r"1 picture is missing") as caught:
        read_pairs(path)
    assert len(str(caught.value)) < 600
