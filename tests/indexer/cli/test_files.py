"""What a store is made of is private, and killed processes leave nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from embedder.files import open_part
from indexer.feedback import Vote, VotedQuery, record_votes
from indexer.types import QueryTerm

PART_WRITER = """
import os, sys, time
from pathlib import Path
from embedder.files import make_private_dir, open_part

for path, folder in zip(sys.argv[2::2], sys.argv[3::2]):
    make_private_dir(Path(folder))
    part = open_part(Path(path), part_dir=Path(folder))
    part.__enter__().write(b"half")
    globals()[path] = part
print("ready", flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
sys.stdin.read()
"""


@pytest.fixture
def umask():
    """Set the umask of this process until the end of the test."""
    before = os.umask(0)
    yield os.umask
    os.umask(before)


def list_modes(folder: Path) -> dict[str, str]:
    """The modes of `folder` and everything in it, as `ls` shows them."""
    return {
        str(path.relative_to(folder.parent)): stat.filemode(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def make_collection(indexer, photo) -> None:
    photo(indexer.folder / "pictures" / "red.jpg", "red")
    photo(indexer.folder / "pictures" / "blue.jpg", "blue")
    (indexer.folder / "pictures" / "red.txt").write_text("a red card")
    (indexer.folder / "pictures" / "broken.jpg").write_bytes(b"")
    assert indexer("ingest", indexer.folder / "pictures").returncode == 3, "one is broken"
    found = indexer.json("search", "red")
    point, image = found["hits"][0]["id"], str(indexer.folder / "pictures" / "red.jpg")
    query = VotedQuery((QueryTerm(image=image),), {})
    record_votes(indexer.folder / "store" / "default", Vote(query, point, "", 1, image))


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_everything_in_a_store_is_private(indexer, photo, umask, mask):
    umask(mask)
    make_collection(indexer, photo)
    modes = list_modes(indexer.folder / "store")
    expected = {"catalogue.db", "collection.json", "keeper.lock", "shard", "thumbs", "feedback"}
    assert expected | {"errors.jsonl", "feedback.jsonl"} <= {Path(path).name for path in modes}
    assert set(modes.values()) <= {"-rw-------", "drwx------", "srwx------"}, modes
    snapshot, export = indexer.folder / "all.tar", indexer.folder / "all.jsonl"
    assert indexer("snapshot", "--output", snapshot).returncode == 0
    assert indexer("export", "--output", export).returncode == 0
    assert stat.filemode(snapshot.stat().st_mode) == "-rw-------"
    assert export.stat().st_mode & 0o777 == 0o666 & ~mask, "as of any program"
    assert indexer("restore", snapshot, "--collection", "again").returncode == 0
    modes = list_modes(indexer.folder / "store" / "again")
    assert set(modes.values()) <= {"-rw-------", "drwx------", "srwx------"}, modes


def test_a_folder_shared_with_a_group_stays_shared(indexer, photo, umask):
    umask(0o022)
    store = indexer.folder / "store"
    store.mkdir()
    store.chmod(0o2770)
    make_collection(indexer, photo)
    modes = list_modes(store)
    assert modes.pop("store/default/keeper.json", "-rw-------") == "-rw-------", "it has the key"
    assert set(modes.values()) == {"-rw-rw----", "drwxrws---"}, modes


def test_doctor_says_who_else_can_read_a_store(indexer, photo, umask):
    def check() -> tuple[str, str, str]:
        found = indexer.json("doctor")
        (privacy,) = [check for check in found["checks"] if check["name"] == "privacy"]
        return privacy["state"], privacy["detail"], privacy["advice"]

    umask(0o022)
    make_collection(indexer, photo)
    store = indexer.folder / "store"
    assert check() == ("ok", f"only this account can read {store}/default", "")
    (store / "default").chmod(0o755)
    assert check()[0] == "ok", "nobody gets that far"
    store.chmod(0o755)
    command = f"chmod -R go-rwx {store}/default"
    reason = f"can read {store}/default; unless that is on purpose, take it back"
    assert check() == ("note", f"everybody on this machine {reason}", command)
    (store / "default").chmod(0o2750)
    assert check() == ("note", f"a group {reason}", command)


def test_modes_that_the_user_has_set_stay(indexer, photo, umask):
    umask(0o022)
    make_collection(indexer, photo)
    catalog = indexer.folder / "store" / "default" / "catalogue.db"
    catalog.chmod(0o640)
    catalog.parent.chmod(0o755)
    assert indexer("ingest", indexer.folder / "pictures").returncode == 3, "one is broken"
    assert catalog.stat().st_mode & 0o777 == 0o640
    assert catalog.parent.stat().st_mode & 0o777 == 0o755


def test_what_killed_processes_leave_is_deleted_by_the_next_run(indexer, photo):
    make_collection(indexer, photo)
    default, tar = indexer.folder / "store" / "default", indexer.folder / "all.tar"
    parts = [
        (default / "collection.json", default),
        (default / "thumbs" / "ab" / "abc.jpg", default / "thumbs"),
        (default / "feedback" / "x.png", default / "feedback"),
        (tar, tar.parent),
        (tar.with_name("all.tar.catalogue.db"), tar.parent),
    ]
    arguments = [path for pair in parts for path in pair]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PART_WRITER, state, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for state in ("running", "killed")
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    running, killed = writers
    assert killed.wait() == -signal.SIGKILL
    assert len(list(indexer.folder.rglob("*.part"))) == 2 * len(parts)
    (default / ".other.part").touch()
    photo(indexer.folder / "pictures" / "green.jpg", "green")
    assert indexer("ingest", indexer.folder / "pictures").returncode == 3, "one is broken"
    assert indexer("snapshot", "--output", tar).returncode == 0
    (default / ".other.part").unlink()  # of another program
    left = [path.name for path in indexer.folder.rglob("*.part")]
    assert len(left) == len(parts)
    assert all(f".{running.pid}." in name for name in left)
    for writer in writers:
        writer.communicate()
        writer.stdout.close()
    with tarfile.open(tar) as archive:
        assert "local/catalogue.db" in archive.getnames()


def test_a_part_taken_for_stale_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    from embedder import files

    lock, taken = files._lock, []

    def take(file, *, wait):
        if not taken:
            taken.append(file.name)
            Path(file.name).unlink()
        return lock(file, wait=wait)

    monkeypatch.setattr(files, "_lock", take)
    with files.replace_file(tmp_path / "a") as file:
        file.write(b"all")
    assert taken
    assert (tmp_path / "a").read_bytes() == b"all"
    with open_part(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
