"""Files that appear complete or not at all, and stay after a power cut. Standard library only."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replace_file(path: Path, *, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Write a file that takes the place of `path` when the block ends, unless it raises.

    The new file is on the disk before it has the name, and the name before this returns: after a
    power cut, `path` is the old file or the complete new one.

    Args:
        path: The file; its folder must exist.
        mode: The permissions of a new file, less the umask.

    Raises:
        OSError: The file cannot be written; `path` is as it was. It is named in the error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            yield file
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary), temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_file(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Replace `path` durably by `content`; text is written as UTF-8. See `replace_file`."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with replace_file(path, mode=mode) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: of files that were created, renamed or deleted."""
    with suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make everything in `folder` durable, and its own name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)
    sync_folder(folder.parent)
