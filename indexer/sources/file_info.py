"""When a file of a remote file system changed, told by what its file system calls it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MTIME_KEYS = (
    "LastModified", "last_modified", "last-modified", "mtime", "updated", "modified", "created",
)  # fmt: skip
ETAG_KEYS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "checksum", "sha256", "oid")


def parse_mtime_ns(info: Mapping[str, Any]) -> int:
    """Nanoseconds since 1970; 0 where it is not told."""
    for name in MTIME_KEYS:
        value = info.get(name)
        if isinstance(value, str):
            value = _parse_datetime(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return int(value * 1_000_000_000)
    return 0


def build_etag(info: Mapping[str, Any]) -> str:
    """What changes when the file does: its tag, beside its size and time."""
    tags = " ".join(str(info[name]) for name in ETAG_KEYS if info.get(name))
    return f"{info.get('size')} {parse_mtime_ns(info)} {tags}".strip()


def _parse_datetime(when: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(when)
        except ValueError:
            continue
    return None
