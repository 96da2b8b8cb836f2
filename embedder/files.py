"""Files and folders that appear complete or not at all, stay after a power cut, and can be private.

Private is what only its owner can read and write, whatever the umask. Where the owner has shared a
folder with a group by its setgid bit (`chmod g+s`), what is created in it is as accessible to that
group as the folder. Standard library only.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PRIVATE = 0o600  # the mode of a private file
PART_SUFFIX = ".part"
PART_PATTERN = re.compile(r"\..+\.\d+\.\d+\.part", re.DOTALL)  # process and thread


@contextmanager
def replace_file(
    path: Path, *, mode: int = 0o666, part_dir: Path | None = None, sync: bool = True
) -> Iterator[IO[bytes]]:
    """Write a file that takes the place of `path` when the block ends, unless it raises.

    The new file is on the disk before it has the name, and the name before this returns: after a
    power cut, `path` is the old file or the complete new one.

    Args:
        path: The file; its folder must exist.
        mode: The permissions of a new file, less the umask; `PRIVATE` for one in private.
        part_dir: The folder, on the same disk, where the file is until then; that of `path` if
            None. `delete_stale_parts` deletes there what a killed process left.
        sync: False for a file that may be lost in a power cut.

    Raises:
        OSError: The file cannot be written; `path` is as it was. It is named in the error.
    """
    with open_part(path, mode=mode, part_dir=part_dir) as file:
        yield file
        file.flush()
        if sync:
            os.fsync(file.fileno())
        if os.name == "nt":  # which renames no open file, and has no locks
            file.close()
        Path(file.name).replace(path)
    if sync:
        sync_folder(path.parent)


def write_file(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Replace `path` durably by `content`; text is written as UTF-8. See `replace_file`."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with replace_file(path, mode=mode) as file:
        file.write(data)


@contextmanager
def open_part(
    path: Path, *, mode: int = 0o666, part_dir: Path | None = None
) -> Iterator[IO[bytes]]:
    """Open a temporary file that belongs to `path`; it is deleted at the end unless it was moved.

    It is locked until then, by which others tell it from what a killed process left. Arguments and
    errors are those of `replace_file`.
    """
    name = f".{path.name}.{os.getpid()}.{threading.get_ident()}{PART_SUFFIX}"
    part = (part_dir or path.parent) / name
    try:
        while True:
            part.unlink(missing_ok=True)  # of a process that had our number
            file = open_private(part, "xb") if mode == PRIVATE else _open_new(part, mode)
            _lock(file, wait=True)
            if os.fstat(file.fileno()).st_nlink:  # nobody took it for stale before the lock
                break
            file.close()
        with file:
            yield file
    except OSError as error:
        if error.errno and error.filename in (None, str(part), part):
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def delete_stale_parts(folder: Path, pattern: str = "*") -> None:
    """Delete the temporary files that killed processes left in `folder`, not in its subfolders.

    Args:
        folder: The folder; it need not exist.
        pattern: The names of the files that they belong to, as in `glob`.
    """
    for part in folder.glob(f".{pattern}{PART_SUFFIX}"):
        if PART_PATTERN.fullmatch(part.name):  # other programs have such names too
            with suppress(OSError), part.open("rb") as file:
                if _lock(file, wait=False):
                    part.unlink()


def make_private_dir(path: Path, *, parents: bool = True) -> None:
    """Create the private folder `path`, and its missing parents unless told otherwise.

    Existing folders stay as they are. Raises `FileNotFoundError` for a parent that is not created.
    """
    if path.is_dir():
        return
    if parents and path.parent != path:
        make_private_dir(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(0o700 | _shared_bits(path.parent, stat.S_IRWXG | stat.S_ISGID))


def make_umask(folder: Path) -> int:
    """The umask with which another program creates private files in `folder`."""
    return 0o077 & ~_shared_bits(folder, stat.S_IRWXG)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file as `open(path, mode)` does in a binary mode; a new one is private.

    A symbolic link is refused: in a folder that somebody gave us, it would lead to another file.
    """

    def open_file(name: str, flags: int) -> int:
        with suppress(FileExistsError):
            descriptor = os.open(name, flags | os.O_EXCL, PRIVATE)
            Path(name).chmod(PRIVATE | _shared_bits(path.parent, 0o060))  # whatever the umask
            return descriptor
        if path.is_symlink():
            raise OSError(errno.ELOOP, "this is a symbolic link, and none is followed here", name)
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), PRIVATE)

    return open(path, mode, opener=open_file)


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


def _open_new(path: Path, mode: int) -> IO[bytes]:
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    """Lock an open file until it is closed; whether that was possible."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows, another process has it, a disk without locks
        return False
    return True


def _shared_bits(folder: Path, bits: int) -> int:
    mode = folder.stat().st_mode
    return mode & bits if mode & stat.S_ISGID else 0
