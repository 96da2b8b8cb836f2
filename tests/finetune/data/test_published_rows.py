"""Rows of mmE5's data and of MMEB-train, in the files and folders that their authors publish."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from finetune.data import mmeb_rows
from finetune.data.files import read_pairs
from finetune.data.pairs import Side
from finetune.data.tables import describe_splits, find_tables
from finetune.errors import DataError

IMAGE = "<|image_1|>\n"
QUESTION = f"{IMAGE}Represent the given image with the following question: What is it?\n"
TARGET = f"{IMAGE}Represent the given image.\n"


def write_rows(folder, name: str, rows: list[dict]):
    """A table as Parquet or JSON lines, by the suffix of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder / name


def mme5_row(neg_text: str, neg_image_path: str, **changes: str) -> dict[str, str]:
    return {
        "qry": QUESTION,
        "qry_image_path": "images/OK-VQA/1.png",
        "pos_text": "a cat",
        "pos_image_path": "",
        "neg_text": neg_text,
        "neg_image_path": neg_image_path,
        **changes,
    }


@pytest.fixture
def root(tmp_path, photo):
    for number in range(4):
        photo(tmp_path / "images" / "OK-VQA" / f"{number}.png", number)
    return tmp_path


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "train.jsonl"])
def test_mme5s_negatives_are_lists_written_as_strings(root, name):
    rows = [
        mme5_row("['a dog', \"a cow's bell\", '\"no\"\\nat all']", "['', '', '']"),
        mme5_row("['a dog']", "['']"),
        mme5_row("[]", "[]"),
    ]
    write_rows(root / "OK-VQA", name, rows)
    first, second, third = read_pairs(root, root)
    assert [side.text for side in first.negatives] == ["a dog", "a cow's bell", '"no"\nat all']
    assert second.negatives == (Side("a dog"),)
    assert third.negatives == ()
    assert {first.dataset, second.dataset, third.dataset} == {"OK-VQA"}


def test_mme5s_negatives_that_are_images(root):
    """An image without a text has the positive's: the instruction of image targets."""
    paths = ["images/OK-VQA/2.png", "images/OK-VQA/3.png"]
    target = {"pos_text": TARGET, "pos_image_path": "images/OK-VQA/0.png"}
    row = mme5_row(repr(["", ""]), repr(paths), **target)
    (pair,) = read_pairs(write_rows(root, "set.jsonl", [row]))
    assert [side.image for side in pair.negatives] == [str(root / path) for path in paths]
    assert {side.instruction for side in pair.negatives} == {pair.positive.instruction}
    assert pair.positive.instruction
    row = mme5_row(repr(["", f"{TARGET[:-1]} a red bus"]), repr(paths), **target)
    (pair,) = read_pairs(write_rows(root, "set.jsonl", [row]))
    assert pair.negatives[0].text == pair.negatives[1].text


@pytest.mark.parametrize(
    "text",
    [
        "[UNK]",
        "[1] a footnote [2]",
        "[1, 2]",
        "[['a'], 'b']",
        "['a' 'b']",
        "['\\x']",
        "[__import__('os').getcwd()]",
        "[" * 5000 + "]" * 5000,
        "['a', 'b'",
    ],
)
def test_what_is_not_a_list_of_strings_is_a_text(root, text):
    (pair,) = read_pairs(write_rows(root, "set.jsonl", [mme5_row(text, "")]))
    assert [side.text for side in pair.negatives] == [text]


def test_lists_are_bounded(root, monkeypatch):
    monkeypatch.setattr(mmeb_rows, "MAX_LITERAL", 20)
    path = write_rows(root, "set.jsonl", [mme5_row(repr(["a cat"] * 5), "")])
    with pytest.raises(DataError, match=r"line 1: neg_text has a list of 45 characters; at most"):
        read_pairs(path)


@pytest.fixture
def mmeb_train(tmp_path):
    """Two folders of MMEB-train, each with its three splits, one of them in two shards."""
    for subset in ("CIRR", "NIGHTS"):
        for split, shards in (("original", 2), ("diverse_instruction", 1), ("train", 1)):
            for shard in range(shards):
                row = {"qry": f"{split} {shard}", "pos_text": subset, "qry_image_path": ""}
                name = f"{split}-{shard:05}-of-{shards:05}.parquet"
                write_rows(tmp_path / "MMEB-train" / subset, name, [row])
    return tmp_path / "MMEB-train"


def test_one_split_of_mmeb_train_is_read(mmeb_train):
    found = [(pair.dataset, pair.query.text) for pair in read_pairs(mmeb_train)]
    both = ("original 0", "original 1")
    assert found == [(name, text) for name in ("CIRR", "NIGHTS") for text in both]
    diverse = read_pairs(mmeb_train, split="diverse_instruction")
    assert [pair.query.text for pair in diverse] == ["diverse_instruction 0"] * 2
    assert describe_splits(find_tables(mmeb_train, "train")) == (
        "train of 2 data sets (others: original, diverse_instruction)"
    )
    with pytest.raises(DataError, match=r"CIRR has no split 'val'; choose one with --"):
        read_pairs(mmeb_train, split="val")


def test_a_folder_with_one_split_needs_no_choice(tmp_path):
    """mmE5's data has `train` alone, and is read whichever split another folder needs."""
    row = {"qry": "a", "pos_text": "b"}
    table = write_rows(tmp_path / "mmE5" / "VQA", "train-00000-of-00001.parquet", [row])
    for path in (tmp_path / "mmE5", table.parent, table):
        (pair,) = read_pairs(path, split="original")
        assert pair.dataset == "VQA"
        assert describe_splits(find_tables(path, "train")) == ""
    said = "train of VQA (without original)"  # of a partial download, for example
    assert describe_splits(find_tables(tmp_path / "mmE5", "original")) == said
