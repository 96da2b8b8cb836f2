"""Small file systems of a test's own: images that are mounted, copied and filled."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

SYNC_FILE_RANGE = 7  # write, and wait for it


def _write_some_pages(file: Path, choice: Random) -> None:
    """Let the kernel write a random range of a file's pages, as far as they were changed."""
    size = file.stat().st_size
    start, end = sorted(choice.randrange(size + 1) for _ in range(2))
    descriptor = os.open(file, os.O_RDONLY)
    try:
        offsets = ctypes.c_int64(start), ctypes.c_int64(end - start)
        ctypes.CDLL(None).sync_file_range(descriptor, *offsets, SYNC_FILE_RANGE)
    finally:
        os.close(descriptor)


def run_tool(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)


def make_ext4(image: Path, megabytes: int) -> Path:
    """An empty ext4 file system in a sparse file; skips the test where that is not possible."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4")
    run_tool("truncate", "-s", f"{megabytes}M", image)
    run_tool("mkfs.ext4", "-q", image)
    return image


@contextmanager
def mount(image: Path | None, folder: Path, options: str) -> Iterator[Path]:
    """Mount `image`, or a tmpfs; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    kind = ["-t", "tmpfs"] if image is None else []
    try:
        run_tool("mount", *kind, "-o", options, image or "tmpfs", folder)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"cannot mount: {getattr(error, 'stderr', error)!r}")
    try:
        yield folder
    finally:
        for _ in range(50):  # what was killed may not have ended yet
            signal_processes(folder, "KILL")
            if not subprocess.run(["umount", folder], check=False, capture_output=True).returncode:
                break
            time.sleep(0.1)
        else:
            run_tool("umount", "-l", folder)


def signal_processes(folder: Path, name: str) -> list[int]:
    """Send a signal to every process that names `folder` on its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(os.fsencode(f"{folder}/")) for word in words):
                found.append(int(process.name))
    for pid in found:
        with suppress(ProcessLookupError, subprocess.CalledProcessError):
            run_tool("kill", f"-{name}", pid)
    return found


def copy_as_after_a_power_cut(image: Path, folder: Path, copy: Path, choice: Random) -> None:
    """Copy a mounted image as it is, without what the file system holds in memory.

    The processes that use it are stopped, so that all of the copy is of one moment: between two
    of their calls. Before that, as a kernel may do at any time, some pages of some files are
    written, in no order, and perhaps the journal.
    """
    device = subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", str(folder)], text=True)
    statistics = Path("/sys/block", Path(device.strip()).name, "stat")
    signal_processes(folder, "STOP")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if choice.random() < 0.5:
            _write_some_pages(file, choice)
    if choice.random() < 0.3:
        run_tool("sync", folder / "lost+found")  # commits the journal, and no data
    while True:
        signal_processes(folder, "STOP")
        before = None
        while before != (before := statistics.read_text()):
            time.sleep(0.02)
        run_tool("cp", "--sparse=always", image, copy)
        if statistics.read_text() == before:
            return
