"""A disk that is full: each command says which one and what to do, leaves nothing half made, and
finishes when there is space again."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.filesystems import mount
from tests.indexer.cli.conftest import Program

MEGABYTES = 480  # a store refuses to write with less than 200 free
NUM_PICTURES = 6


@pytest.fixture
def disk(tmp_path):
    with mount(None, tmp_path / "disk", f"size={MEGABYTES}m") as folder:
        yield folder


@pytest.fixture
def program(tmp_path, photo):
    (tmp_path / "home").mkdir()
    for number in range(NUM_PICTURES):
        photo(tmp_path / "home" / "pictures" / f"{number}.png", number, size=(40, 30))
    return Program(tmp_path / "home")


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass
    return filler


def list_files(folder: Path) -> set[str]:
    """All but locks and logs, and what the server process of a store needs while it runs."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {n for n in names if not n.endswith((".lock", ".log", "keeper.json", "-wal", "-shm"))}


PLACES = {
    "a new store": (["ingest", "pictures", "--store", "{disk}/new"], "{disk}/new"),
    "the store": (["ingest", "pictures"], "{disk}/store"),
    "a new index": (["reindex", "--model", "shades"], "{disk}/store"),
    "the snapshot": (["snapshot", "-o", "{disk}/family.tar"], "{disk}"),
    "the restored store": (["restore", "{home}/kept.tar", "--store", "{disk}/again"], "{disk}"),
    "the copy": (["migrate", "{home}/store", "{disk}/copy"], "{disk}/copy"),
    "the export": (["export", "-o", "{disk}/points.jsonl"], "{disk}/points.jsonl"),
    "the temporary folder": (["export", "--format", "npz", "-o", "{home}/points.npz"], ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_full_disk_is_named_and_the_command_finishes_later(program, disk, place, monkeypatch):
    (disk / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(disk / "tmp"))
    if place != "the copy":
        program.environment["POLYLENS_STORE"] = str(disk / "store")
    command, where = PLACES[place]
    places = {"disk": disk, "home": program.folder}
    command, where = [word.format(**places) for word in command], where.format(**places)
    if place != "a new store":
        assert program("ingest", "pictures").returncode == 0
        assert program("snapshot", "-o", program.folder / "kept.tar").returncode == 0
        (program.folder / "pictures" / "0.png").rename(program.folder / "pictures" / "moved.png")
    filler = fill(disk)
    before = list_files(disk), list_files(program.folder)
    done = program(*command)
    assert done.returncode == 1
    message = done.stderr.partition("error: ")[2]
    assert where in message and "free some space" in message, done.stderr
    assert "a fault of" not in message
    assert (list_files(disk), list_files(program.folder)) == before, "nothing half made"
    if place != "a new store":
        assert program("search", "red").returncode == 0, "what is there is found all the same"
    filler.unlink()
    done = program(*command)
    assert done.returncode == 0, done.stderr
    if command[0] == "ingest":
        answer = program.json(*command)
        assert (answer["unchanged"], answer["lost"]) == (NUM_PICTURES, [])


def test_a_disk_that_fills_up_during_an_ingest(program, disk):
    """The files of a shard are mapped: its server process dies where the disk is full at once."""
    program.environment["POLYLENS_STORE"] = str(disk / "store")
    process = program.start("ingest", "pictures", "--batch", "2", pause=0.3)
    while not list(disk.glob("store/*/catalogue.db")):
        assert process.poll() is None, process.communicate()
    filler = fill(disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(disk / "store") in err and "free some space" in err
    filler.unlink()
    answer = program.json("ingest", "pictures")
    assert answer["added"] + answer["unchanged"] == NUM_PICTURES and not answer["lost"]
    assert program.json("ingest", "pictures")["unchanged"] == NUM_PICTURES


@contextmanager
def limited_file_size(size: int):
    """The same without a file system of its own: files cannot grow beyond `size`."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("command", "size"),
    [
        (["ingest", "pictures"], 8192),  # the catalog
        pytest.param(["snapshot", "-o", "family.tar"], 1000, marks=pytest.mark.slow),
        pytest.param(["export", "-o", "points.jsonl"], 1000, marks=pytest.mark.slow),
        (["reindex", "--model", "shades"], 0),  # the collection.json of the build
    ],
)
def test_a_file_that_cannot_be_written_to_its_end(program, command, size):
    assert program("ingest", "pictures").returncode == 0
    (program.folder / "pictures" / "0.png").rename(program.folder / "pictures" / "moved.png")
    before = list_files(program.folder)
    with limited_file_size(size):
        done = program(*command)
    assert done.returncode == 1 and "a fault of" not in done.stderr, done.stderr
    assert list_files(program.folder) == before
    assert program(*command).returncode == 0


LEAVING = {
    "delete": ["collections", "delete", "default", "--yes"],
    "move": ["migrate", "{disk}/store", "{home}/copy"],
    "back up": ["snapshot", "-o", "{home}/kept.tar"],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", LEAVING)
def test_ways_to_free_space_work_on_a_full_disk(program, disk, way):
    program.environment["POLYLENS_STORE"] = str(disk / "store")
    assert program("ingest", "pictures").returncode == 0
    fill(disk)
    command = [word.format(disk=disk, home=program.folder) for word in LEAVING[way]]
    done = program(*command)
    assert done.returncode == 0, done.stderr
