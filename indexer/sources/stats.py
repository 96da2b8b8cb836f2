"""When a file of a remote file system changed, told by what its file system calls it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

TIMES = (
    "LastModified", "last_modified", "last-modified", "mtime", "updated", "modified", "created",
)  # fmt: skip
MARKS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "checksum", "sha256", "oid")


def mtime_of(info: Mapping[str, Any]) -> int:
    """Nanoseconds since 1970; 0 where it is not told."""
    for name in TIMES:
        when = info.get(name)
        if isinstance(when, str):
            when = _parsed(when)
        if isinstance(when, datetime):
            when = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        if isinstance(when, int | float):
            return int(when * 1_000_000_000)
    return 0


def mark_of(info: Mapping[str, Any]) -> str:
    """What changes when the file does: its tag, beside its size and time."""
    tags = " ".join(str(info[name]) for name in MARKS if info.get(name))
    return f"{info.get('size')} {mtime_of(info)} {tags}".strip()


def _parsed(when: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(when)
        except ValueError:
            continue
    return None
