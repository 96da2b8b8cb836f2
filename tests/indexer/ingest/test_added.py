"""`added` says when a content came into the collection, whatever happens to its file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from indexer.collections.collection import OpenCollection
from indexer.collections.schema import ADDED
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.pipeline import ingest
from indexer.ingest.prune import prune
from indexer.reindex import reindex
from indexer.stores.base import iterate_records

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def folder(tmp_path, photo):
    for number, name in enumerate(["a.jpg", "b.jpg", "deep/c.jpg"]):
        photo(tmp_path / "pictures" / name, number)
    (tmp_path / "pictures" / "note.md").write_text("Snow on the hill.\n")
    return tmp_path / "pictures"


@pytest.fixture
def collection(config, colors):
    with OpenCollection.open_or_create(config, colors.card) as opened:
        yield opened


@pytest.fixture
def run(collection, colors, folder):
    """Ingest the folder, and return file name -> `added` of its point."""

    def call() -> dict[str, str | None]:
        call.report = ingest([folder], collection, colors)
        return read_dates(collection)

    return call


def read_dates(collection) -> dict[str, str | None]:
    found = iterate_records(collection.store)
    return {record.payload["name"]: record.payload.get(ADDED) for record in found}


def forget_dates(collection) -> None:
    """Make it one of a version that kept no dates."""
    records = [*iterate_records(collection.store)]
    for record in records:
        del record.payload[ADDED]
    collection.store.patch(records)
    with closing(Catalog(collection.index_dir / CATALOG_FILE)) as catalog:
        for content in catalog.iter_contents():
            for base in content.base_payloads:
                del base[ADDED]
            catalog.put_content(content)
        catalog.commit()


def test_a_date_is_that_of_the_first_ingest(run, photo, folder):
    start = datetime.now(UTC)
    first = run()
    assert len(set(first.values())) == 4, "no two are the same, so that pages have one order"
    assert all(
        start <= datetime.fromisoformat(date) <= datetime.now(UTC) for date in first.values()
    )
    photo(folder / "d.jpg", 3)
    second = run()
    assert second.pop("d.jpg") > max(first.values())
    assert (second, run.report.unchanged) == (first, 4)


def test_it_stays_when_a_file_is_moved_copied_captioned_or_edited(run, folder, photo):
    dates = run()
    (folder / "a.jpg").rename(folder / "moved.jpg")
    (folder / "b.txt").write_text("a green wall")
    photo(folder / "deep" / "c.jpg", "white")
    (folder / "note.md").write_text("Snow and ice. " * 400)  # now of several chunks
    (folder / "z.jpg").write_bytes((folder / "b.jpg").read_bytes())
    assert run() == {
        "moved.jpg": dates["a.jpg"],
        "b.jpg": dates["b.jpg"],
        "c.jpg": dates["c.jpg"],
        "note.md": dates["note.md"],
    }


def test_it_stays_when_the_catalog_or_points_are_lost(run, collection, folder):
    dates = run()
    for file in collection.index_dir.glob(f"{CATALOG_FILE}*"):
        file.unlink()
    assert run() == dates
    ids = [record.id for record in iterate_records(collection.store)]
    collection.store.delete(ids[:2])
    assert (run(), run.report.recovered) == (dates, 2)


def test_what_left_and_comes_back_is_new(run, collection, colors, folder, photo):
    dates = run()
    (folder / "a.jpg").unlink()
    prune(collection, lambda: colors)
    photo(folder / "a.jpg", 0)
    assert run()["a.jpg"] > max(dates.values())


def test_points_of_an_earlier_version_have_no_date(run, collection, folder, photo):
    """Not that of the ingest that would give it."""
    run()
    forget_dates(collection)
    photo(folder / "a.jpg", "white")  # its content is new, and the file is not
    photo(folder / "d.jpg", 3)
    collection.store.delete([next(iterate_records(collection.store)).id])
    dates = run()
    assert [name for name, date in dates.items() if date] == ["d.jpg"]
    assert len(dates) == 5


def test_a_new_index_has_the_dates_of_the_former_one(
    run, collection, config, colors, folder, photo
):
    dates = run()
    collection.close()
    photo(folder / "deep" / "c.jpg", "white")  # since the last ingest
    other = replace(colors.card, name="other", fingerprint="other-1")
    colors.card = other
    assert reindex(config, colors).switched
    with OpenCollection.open(config) as new:
        assert (read_dates(new), new.card) == (dates, other)


@pytest.mark.server
def test_of_two_machines_the_first_one_counts(http_store, config, colors, folder, monkeypatch):
    shared, seen = replace(config, **http_store), []
    for machine in ("one", "two", "one"):
        monkeypatch.setenv("XDG_DATA_HOME", str(folder.parent / machine))
        with OpenCollection.open_or_create(shared, colors.card) as opened:
            ingest([folder], opened, colors)
            seen.append(read_dates(opened))
    assert seen[0] == seen[1] == seen[2]
    assert None not in seen[0].values()
