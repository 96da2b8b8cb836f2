"""Private copies of shards that this account cannot write to: the engine opens its files for
writing, so it cannot open them on a read-only disk."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from embedder.files import make_private_dir
from indexer.errors import StoreBusyError, StoreError
from indexer.stores.base import MIN_FREE_BYTES, check_disk_space
from indexer.stores.edge.state import LOCK_FILE, STATE_FILE, describe_lock_holder, lock_file

COPY_DIR = "copy"
LOCK_TIMEOUT = 20.0  # seconds to wait for a process that has the original open for writing
BUFFER_BYTES = 1 << 20


def copy_shard(source: Path, target: Path, location: Path) -> None:
    """Copy the shard of the folder `source`, called `location` in messages, to `target`.

    Raises `StoreBusyError` where another process has it open for writing, `DiskFullError`, and
    `StoreError`.
    """
    shutil.rmtree(target, ignore_errors=True)  # of a server process that was killed
    make_private_dir(target)
    try:
        with ExitStack() as stack:
            with suppress(FileNotFoundError):
                _lock_shared(stack, source / LOCK_FILE, location)
            copy_files(source / "shard", target / "shard")
            with suppress(FileNotFoundError):
                shutil.copyfile(source / STATE_FILE, target / STATE_FILE)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StoreError(
            f"{location} is read-only for this account, and could not be copied to {target} to be "
            f"searched there: {error.strerror or error} ({error.filename})"
        ) from error


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of the folder `source` to a new folder `target`, without their holes.

    Raises `OSError`, and `DiskFullError` before anything is copied.
    """
    make_private_dir(target)
    files = [file for file in source.rglob("*") if file.is_file()]
    needed = sum(file.stat().st_blocks * 512 for file in files)
    check_disk_space(target, MIN_FREE_BYTES + needed)
    for file in files:
        copy = target / file.relative_to(source)
        make_private_dir(copy.parent)
        _copy_sparse(file, copy)


def delete_stale_copies(folder: Path) -> None:
    """Delete what killed server processes of read-only folders left in the private `folder`."""
    for server_dir in folder.glob("read-only-*"):
        with suppress(OSError), (server_dir / LOCK_FILE).open("rb") as lock:
            if lock_file(lock):
                shutil.rmtree(server_dir / COPY_DIR, ignore_errors=True)


def _lock_shared(stack: ExitStack, file: Path, location: Path) -> None:
    """Keep the original from being opened for writing while it is copied."""
    lock = stack.enter_context(file.open("rb"))
    if not lock_file(lock, shared=True, seconds=LOCK_TIMEOUT):
        raise StoreBusyError(
            f"{location} is read-only for this account, and {describe_lock_holder(file)} "
            "has it open for writing; wait until that has ended, then run the command again"
        )


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file without its holes: the engine's files consist mostly of them."""
    with source.open("rb") as file, target.open("wb") as copy:
        size, offset = os.fstat(file.fileno()).st_size, 0
        copy.truncate(size)
        while offset < size:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data after it
                    return
                raise
            end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            copy.seek(offset)
            file.seek(offset)
            while offset < end and (data := file.read(min(end - offset, BUFFER_BYTES))):
                copy.write(data)
                offset += len(data)
