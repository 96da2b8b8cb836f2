"""A damaged catalog ends in an error that says what to do, wherever the damage is."""

from __future__ import annotations

import random
from contextlib import closing, suppress
from pathlib import Path

import pytest

from indexer.captions.normalize import FileCaptions
from indexer.errors import DamagedError, StoreError
from indexer.ingest.catalog import Catalog
from indexer.ingest.types import CatalogContent, CatalogFile
from indexer.paths import hash_content
from indexer.types import Caption

PAGE = 4096


def fill(path: Path, num_files: int = 60) -> None:
    with closing(Catalog(path)) as catalog:
        catalog.add_root("/pictures")
        for number in range(num_files):
            id = hash_content(b"%d" % number)
            facts = {"kind": "image", "content": id, "captions": [], "tags": []}
            captions = FileCaptions((Caption(f"picture {number}"),), ("tag",), {}, "stamp")
            catalog.put_content(CatalogContent(id, 0, [facts]))
            catalog.put_file(CatalogFile(f"/pictures/{number}.jpg", 9, 9, id, captions))
        catalog.commit()


def read_everything(path: Path) -> None:
    with closing(Catalog(path)) as catalog:
        catalog.check_integrity()
        catalog.list_roots()
        catalog.list_hosts()
        catalog.mark_seen_under("/pictures")
        catalog.list_unseen("/")
        catalog.count_outcomes()
        catalog.count_points()
        for name in catalog.iter_paths():
            file = catalog.get_file(name)
            if file is not None:
                catalog.get_content(file.content_id)
                catalog.find_files(file.content_id)
                catalog.put_file(file)
        catalog.commit()


def test_each_damaged_page_raises_an_error_with_a_remedy(tmp_path):
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    fill(good)
    read_everything(good)
    data, rng, found = good.read_bytes(), random.Random(0), 0
    for start in range(0, len(data), PAGE):
        for page in (bytes(PAGE), rng.randbytes(PAGE)):
            bad.write_bytes(data[:start] + page + data[start + PAGE :])
            for suffix in ("-wal", "-shm"):
                Path(f"{bad}{suffix}").unlink(missing_ok=True)
            with pytest.raises(DamagedError, match="Type: indexer doctor --repair"):
                read_everything(bad)
            found += 1
    assert found >= 20


def test_each_changed_byte_raises_an_error_in_words_or_none(tmp_path):
    good, bad = tmp_path / "good.db", tmp_path / "bad.db"
    fill(good, 8)
    data, rng = bytearray(good.read_bytes()), random.Random(0)
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] = rng.randrange(256)
        bad.write_bytes(changed)
        with suppress(DamagedError):  # anything else fails the test
            read_everything(bad)


def test_a_catalog_in_use_is_not_called_damaged(tmp_path):
    path = tmp_path / "catalogue.db"
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be read or written"):
        Catalog(path)
