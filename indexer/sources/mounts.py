"""Whether the time of a file's last change (ctime) can be relied on: on file systems of this
machine, not on network shares, FUSE and folders of other machines that a container sees."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from indexer.paths import is_within

MOUNTS_FILE = Path("/proc/self/mountinfo")  # of Linux: man 5 proc
LOCAL_TYPES = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "nilfs2", "bcachefs"),
        *("reiserfs", "tmpfs", "overlay"),
    }
)
MAX_FOLDERS = 4096
ESCAPE_PATTERN = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mounted file system; `root` is the folder in it that is mounted."""

    point: str
    root: str
    type: str
    options: str

    @property
    def keeps_ctime(self) -> bool:
        """Whether it is a file system of this machine, mounted whole: else it may be a bind mount
        of a virtual machine. Subvolumes of btrfs count as whole."""
        is_whole = self.root == "/" or f"subvol={self.root}" in self.options.split(",")
        return self.type in LOCAL_TYPES and is_whole


class MountTable:
    """The mounts of this machine as they are now; without Linux there are none."""

    def __init__(self, text: str | None = None) -> None:
        if text is None:
            text = MOUNTS_FILE.read_text("utf-8", "replace") if MOUNTS_FILE.exists() else ""
        mounts = (_parse_mount(line) for line in text.splitlines())
        self._by_point = {mount.point: mount for mount in mounts if mount}  # the last one counts
        self.keeps_ctime = lru_cache(maxsize=MAX_FOLDERS)(self._keeps_ctime)

    def _keeps_ctime(self, folder: str) -> bool:
        """Whether the file system of a folder, by its real path, keeps the ctime of its files."""
        points = (point for point in self._by_point if is_within(folder, point))
        point = max(points, key=len, default="")
        return bool(point) and self._by_point[point].keeps_ctime


def _parse_mount(line: str) -> Mount | None:
    fields = [_unescape(field) for field in line.split(" ")]
    try:
        end = fields.index("-")
        return Mount(fields[4], fields[3], fields[end + 1], fields[end + 3])
    except (ValueError, IndexError):
        return None


def _unescape(field: str) -> str:
    """Replace octal escapes: a blank in the name of a mount point is `\\040`."""
    return ESCAPE_PATTERN.sub(lambda match: chr(int(match[1], 8)), field)
