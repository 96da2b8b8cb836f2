"""Parquet files and the folders of `datasets`: one image per row."""

from __future__ import annotations

import pickle
import shutil
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError
from indexer.sources import SourceSet, open_source, read_original


@pytest.fixture
def parquet(folder, make_image):
    """Three rows of bytes, two per row group, the last without an image."""
    table = pa.table(
        {
            "image": [
                {"bytes": make_image(1), "path": "one.png"},
                {"bytes": make_image(2), "path": None},
                {"bytes": None, "path": None},
            ],
            "caption_en": ["one", "two", "three"],
            "captions": [["eins", "un"], [], None],
            "label": [0, 1, 1],
        }
    )
    pq.write_table(table, folder / "train.parquet", row_group_size=2)
    return folder / "train.parquet"


def test_rows_with_bytes(parquet, run, stored):
    result = run(str(parquet))
    assert result == {"added": 2, "skipped": [("train.parquet#00000002", "empty")]}
    one = stored()["train.parquet#00000000"]
    assert one["paths"] == [f"{parquet}#00000000"]
    assert one["folder"] == [str(parquet)]
    assert [c["text"] for c in one["captions"]] == ["one", "eins", "un"]
    assert one["meta"] == {"label": 0}


def test_columns_of_any_name_and_kind(folder, run, stored, make_image):
    columns = {
        "image": [make_image(1)],
        "date taken": [datetime(2019, 5, 4, 12, 30)],
        "EXIF:Make": ["Canon"],
        "a.b": [1],
        'Width "in"': [Decimal("1.5")],
        "year": [1850],
        "day": [date(2019, 5, 4)],
    }
    pq.write_table(pa.table(columns), folder / "a.parquet")
    assert run(f"{folder}/a.parquet") == {"added": 1}
    assert stored()["a.parquet#00000000"]["meta"] == {
        "date taken": "2019-05-04T12:30:00",
        "EXIF:Make": "Canon",
        "a.b": 1,
        "Width 'in'": 1.5,
        "year": 1850,
        "day": "2019-05-04",
    }


def test_an_unchanged_table_is_not_read_again(parquet, run, monkeypatch):
    pq.write_table(pq.read_table(parquet).slice(0, 2), parquet)
    assert run(parquet) == {"added": 2}
    monkeypatch.setattr("indexer.sources.parquet.ImageTable", None)
    assert run(parquet) == {"unchanged": 2}


def test_byte_columns_are_found_by_name_or_content(folder, run, make_image):
    pq.write_table(pa.table({"png": [make_image(1)]}), folder / "a.parquet")
    columns = {"x": [b"abc"], "scan": [make_image(2)]}
    pq.write_table(pa.table(columns), folder / "b.parquet")
    assert run(f"{folder}/*.parquet") == {"added": 2}


def test_an_empty_first_row_group(folder, run, make_image):
    table = pa.table({"scan": [make_image(1)]})
    with pq.ParquetWriter(folder / "a.parquet", table.schema) as writer:
        writer.write_table(table.slice(0, 0))
        writer.write_table(table)
    assert run(folder / "a.parquet") == {"added": 1}


def test_a_table_without_images(folder):
    pq.write_table(pa.table({"a": [1], "words": ["x"]}), folder / "a.parquet")
    with pytest.raises(IndexerError, match=r"a\.parquet: it has no image column, only a, words"):
        open_source(folder / "a.parquet").check_readable()
    (folder / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(IndexerError, match=r"b\.parquet: .*[Pp]arquet"):
        open_source(folder / "b.parquet").check_readable()


def test_rows_with_references(folder, tmp_path, site, run, make_image):
    (folder / "near.png").write_bytes(make_image(1))
    (tmp_path / "outside.png").write_bytes(make_image(2))
    site.pages["/far.png"] = make_image(3)
    where = ["near.png", "../outside.png", str(tmp_path / "outside.png"), f"{site.url}/far.png"]
    where += ["s3://bucket/x.png", "file:///etc/passwd", "http://["]
    pq.write_table(pa.table({"image": where}), folder / "t.parquet")
    result = run(folder / "t.parquet")
    assert result["added"] == 1
    reasons = [reason for _, reason in result["skipped"]]
    assert reasons == ["unreadable", "unreadable", "remote", "remote", "remote", "remote"]
    assert site.requests == []
    assert run(folder / "t.parquet", allowed_hosts=(site.host,))["added"] == 1


def test_a_folder_of_datasets(folder, run, stored, make_image):
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {
        "image": [{"bytes": make_image(i), "path": None} for i in range(3)],
        "text": ["a cat", "a dog", "more"],
        "label": [0, 1, 1],
    }
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(str(folder / "pets"))
    assert run(folder / "pets") == {"added": 3}
    point = stored()["data-00000-of-00001.arrow#00000001"]
    assert point["paths"] == [
        f"{folder}/pets/test/data-00000-of-00001.arrow#00000001",
        f"{folder}/pets/train/data-00000-of-00001.arrow#00000001",
    ]
    assert point["captions"][0]["text"] == "a dog"
    assert point["meta"] == {"label": "dog"}
    assert run(folder / "pets") == {"unchanged": 3}
    shutil.rmtree(folder / "pets" / "test")
    assert run(folder / "pets", prune=True) == {"unchanged": 3}
    (path,) = stored()["data-00000-of-00001.arrow#00000001"]["paths"]
    assert path == f"{folder}/pets/train/data-00000-of-00001.arrow#00000001"


def test_in_another_file_system_and_by_url(parquet, memory, site, run, make_image):
    memory.pipe("/t/train.parquet", parquet.read_bytes())
    assert run("memory://t/train.parquet")["added"] == 2
    site.pages["/train.parquet"] = parquet.read_bytes()
    result = run(f"{site.url}/train.parquet")
    assert (result["updated"], len(result["skipped"])) == (2, 1)


def test_read_again_from_elsewhere(parquet, make_image):
    path = f"{parquet}#00000001"
    assert read_original([str(parquet)], path, DecodeLimits()) == make_image(2)
    copy = pickle.loads(pickle.dumps(SourceSet.open([parquet])))
    assert copy.read(path, DecodeLimits()) == make_image(2)
    assert [c.text for c in copy.load_captions(path).captions] == ["two"]
