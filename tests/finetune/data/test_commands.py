"""The commands `finetune pairs` and `finetune mine`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from embedder.errors import EmbedderError
from finetune.cli import app
from finetune.data.files import read_pairs
from finetune.errors import DataError, FinetuneError
from indexer.cli import app as indexer
from indexer.errors import IndexerError


def invoke(*arguments: object, program=app):
    """Return the JSON that a command prints; fails with its exit code and message."""
    done = CliRunner().invoke(program, [*map(str, arguments)])
    if isinstance(done.exception, FinetuneError | EmbedderError | IndexerError):
        raise done.exception
    return done


def invoke_json(*arguments: object, program=app) -> dict:
    done = invoke(*arguments, "--json", program=program)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def table(tmp_path, photo):
    """Ten pictures, each with a caption in two languages."""
    lines = ["image,caption_en,caption_de"]
    for i in range(10):
        photo(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png,picture number {i},Bild Nummer {i}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_tables_are_merged_and_split(tmp_path, table):
    out = tmp_path / "new" / "pairs.jsonl"
    again = table.with_name("again.csv")
    again.write_bytes(table.read_bytes())
    made = invoke_json("pairs", table, again, "--out", out, "--split", "0.2")
    assert made["pairs"] == 20
    assert made["repeated"] == 20
    assert [source["pairs"] for source in made["sources"]] == [20, 20]
    assert {pair.dataset for pair in read_pairs(out)} == {"table"}
    assert made["counts"] == [
        {"direction": "t2i", "language": "de", "pairs": 10},
        {"direction": "t2i", "language": "en", "pairs": 10},
    ]
    assert {side: made["split"][side]["pairs"] for side in ("train", "test")} == {
        "train": 16,
        "test": 4,
    }
    train, test = (read_pairs(out.with_name(f"pairs.{side}.jsonl")) for side in ("train", "test"))
    assert sorted(map(repr, train + test)) == sorted(map(repr, read_pairs(out)))
    assert {pair.item for pair in train}.isdisjoint(pair.item for pair in test)


def test_a_split_of_mmeb_train_is_chosen_and_named(tmp_path):
    for split in ("original", "diverse_instruction"):
        path = tmp_path / "MMEB-train" / "CIRR" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"qry": split, "pos_text": "b"}) + "\n")
    words = ("pairs", tmp_path / "MMEB-train", "--out", tmp_path / "pairs.jsonl")
    for options, name in ((), "original"), (("--dataset-split", "diverse_instruction"), None):
        done = invoke(*words, *options)
        (pair,) = read_pairs(tmp_path / "pairs.jsonl")
        assert (pair.query.text, pair.dataset) == (name or options[1], "CIRR")
        assert f"MMEB-train: the split {pair.query.text} of 1 data set (others: " in done.stderr


def test_plain_output(tmp_path, table):
    (tmp_path / "3.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no picture")
    out = tmp_path / "pairs.jsonl"
    done = invoke("pairs", table, "--out", out, "--split", "0.25")
    assert done.stdout == "t2i\tde\t8\t6\t2\nt2i\ten\t8\t6\t2\n"
    assert done.stderr.splitlines() == [
        "left out the pairs of 1 x picture that is missing:",
        f"  {tmp_path / '3.png'}",
        "left out the pairs of 1 x picture that is damaged:",
        f"  {tmp_path / '4.png'}",
        f"16 pairs written to {out}",
        f"12 of them, about 6 items, to {tmp_path / 'pairs.train.jsonl'}",
        f"4 of them, about 2 items, to {tmp_path / 'pairs.test.jsonl'}",
    ]


def test_no_check(tmp_path, table):
    (tmp_path / "4.png").write_bytes(b"no picture")
    assert invoke_json("pairs", table, "--out", tmp_path / "p.jsonl", "--no-check")["pairs"] == 20


def test_errors_write_nothing(tmp_path, table):
    out = tmp_path / "pairs.jsonl"
    with pytest.raises(DataError, match=r"10 pictures are missing, such as .*--images FOLDER"):
        invoke("pairs", table, "--images", tmp_path / "elsewhere", "--out", out)
    for i in range(10):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"10 damaged pictures, such as .*0\.png: its content"):
        invoke("pairs", table, "--out", out)
    with pytest.raises(IndexerError, match="there is no collection 'default'"):
        invoke("pairs", "--from-collection", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["pairs", "--out", "p.jsonl"],
        ["pairs", "t.csv", "--out", "p.csv"],
        ["pairs", "t.csv", "--out", "p.jsonl", "--split", "1.5"],
        ["pairs", "t.csv", "--out", "p.jsonl", "--both-ways"],
        ["mine", "t.csv", "--out", "p.jsonl", "--rank-from", "9", "--rank-to", "3"],
        ["mine", "t.csv", "--out", "p.jsonl", "--collection", "family"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments):
    assert invoke(*arguments).exit_code == 2


def test_from_a_collection_to_hard_negatives(tmp_path, photo, monkeypatch):
    """The whole workflow with the starter model."""
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        photo(tmp_path / "pictures" / f"{i}.png", i)
        (tmp_path / "pictures" / f"{i}.txt").write_text(f"en: noise {i}")
    store = ("--store", tmp_path / "store")
    invoke("ingest", tmp_path / "pictures", *store, program=indexer)
    made = invoke_json(
        "pairs", "--from-collection", *store, "--out", "pairs.jsonl", "--split", "0.34"
    )
    assert (made["pairs"], made["split"]["test"]["pairs"]) == (6, 2)

    held = ("--never", "pairs.test.jsonl", "--ceiling", "1")
    arguments = ("mine", "pairs.train.jsonl", *held, "--per-query", 9, "--out", "hard.jsonl")
    mined = invoke_json(*arguments, "--from-collection", *store)
    assert mined["pairs"] == 4
    hard = read_pairs(tmp_path / "hard.jsonl")
    assert sum(len(pair.negatives) for pair in hard) == mined["negatives"] > 0
    test = {pair.positive.image for pair in read_pairs(tmp_path / "pairs.test.jsonl")}
    for pair in hard:
        chosen = {side.image for side in pair.negatives}
        assert not chosen & {pair.positive.image, *test}

    among = invoke_json(*arguments)  # the same documents, embedded again
    assert among["negatives"] == mined["negatives"]
    assert read_pairs(tmp_path / "hard.jsonl") == hard
