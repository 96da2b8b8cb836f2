"""Files appear complete or not at all, and what has been replaced is on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from embedder.files import replace_file, sync_tree, write_file


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The names of the files and folders that were synced, and of what was renamed, in order."""
    calls: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def log_fsync(descriptor):
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def log_rename(path, target):
        calls.append(f"rename to {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(Path, "replace", log_rename)
    return calls


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path, synced
):
    (tmp_path / "folder").mkdir()
    write_file(tmp_path / "folder" / "a.json", "ä", mode=0o600)
    temporary, *rest = synced
    assert temporary.startswith("sync .a.json.")
    assert rest == ["rename to a.json", "sync folder"]
    assert (tmp_path / "folder" / "a.json").read_bytes() == "ä".encode()
    assert (tmp_path / "folder" / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_old_file_and_is_reported_with_its_name(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as failure:
        write_file(path, "new")
    assert failure.value.filename == str(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_block_that_raises_replaces_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replace_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_tree_is_synced_with_its_names(tmp_path, synced):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "weights").write_bytes(b"1")
    sync_tree(tmp_path / "model")
    assert set(synced) == {f"sync {n}" for n in ("weights", "deep", "model", tmp_path.name)}
