"""Votes on hits (thumbs up and down), stored with their collection: FOLDER/feedback.jsonl.

One JSON object per line, append-only; the last vote on a query and point counts. Images that were
used as queries are copied to FOLDER/feedback/, so that they can be trained on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder.files import PRIVATE, make_private_dir, open_private, replace_file
from indexer.errors import StoreError
from indexer.paths import hash_content
from indexer.types import FieldFilter, Filters, QueryTerm

VOTES_FILE = "feedback.jsonl"
IMAGES_FOLDER = "feedback"


@dataclass(frozen=True, slots=True)
class VotedQuery:
    """The query that found a hit."""

    parts: tuple[QueryTerm, ...]
    filters: Filters = field(default_factory=dict)

    @property
    def key(self) -> frozenset[QueryTerm]:
        """Identifies the query: its parts, in any order and under any filters."""
        return frozenset(self.parts)


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote on one hit: 1 is good, -1 is bad, 0 withdraws an earlier vote."""

    query: VotedQuery
    id: str  # the point's
    content: str  # blake3 of the point's file
    vote: int
    path: str | None = None  # an image's
    text: str | None = None  # a chunk's
    time: str = field(  # ISO 8601, UTC
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), compare=False
    )


def record_votes(folder: Path, *votes: Vote) -> None:
    """Append votes to those of the collection in `folder`; safe across processes.

    Raises `StoreError` if they cannot be saved; earlier votes stay.
    """
    import fcntl

    try:
        with open_private(folder / VOTES_FILE, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            lines = b"".join(_serialize_vote(folder, vote) for vote in votes)
            size = os.fstat(file.fileno()).st_size
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # cut by a crash
                lines = b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"the vote was not saved ({error.strerror or error}): check that {folder} exists, is "
            "writable and has free space, then vote again"
        ) from error


def read_votes(folder: Path) -> list[Vote]:
    """The votes that count: the last one of each query and point, without withdrawn ones.

    Images have absolute paths. A line that a crash left unfinished is ignored. Raises `StoreError`
    if the file exists but cannot be read.
    """
    last: dict[tuple[frozenset[QueryTerm], str], Vote] = {}
    for vote in _iterate_votes(folder):
        key = (vote.query.key, vote.id)
        last.pop(key, None)  # ordered by the last votes
        last[key] = vote
    return [vote for vote in last.values() if vote.vote]


def locate_image_copy(folder: Path, image: Path) -> Path:
    """The path of the copy, in the collection's `folder`, of `image`; raises `OSError`."""
    return folder / IMAGES_FOLDER / f"{hash_content(image.read_bytes())}{image.suffix.lower()}"


def split_votes(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """The lines of the votes in `folder` that can be read, and those that cannot."""
    good: list[bytes] = []
    bad: list[bytes] = []
    for line in _read_lines(folder):
        if line.strip():
            (bad if _parse_line(folder, line) is None else good).append(line)
    return good, bad


def _iterate_votes(folder: Path) -> Iterator[Vote]:
    votes = (_parse_line(folder, line) for line in _read_lines(folder))
    return (vote for vote in votes if vote is not None)


def _read_lines(folder: Path) -> list[bytes]:
    try:
        return (folder / VOTES_FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"{folder / VOTES_FILE} cannot be read ({error.strerror or error})"
        ) from error


def _parse_line(folder: Path, line: bytes) -> Vote | None:
    try:
        return _parse_vote(folder, json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _parse_vote(folder: Path, row: Mapping[str, Any]) -> Vote:
    """Raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` for an invalid row."""
    parts = tuple(
        QueryTerm(
            text=part.get("text"),
            image=str(folder / part["image"]) if part.get("image") else None,
            id=part.get("id"),
            weight=float(part.get("weight", 1.0)),
        )
        for part in row["query"]["parts"]
    )
    where = row["query"].get("where", {})
    filters = {str(key): FieldFilter.from_value(value) for key, value in where.items()}
    return Vote(
        query=VotedQuery(parts, filters),
        id=str(row["id"]),
        content=str(row["content"]),
        vote=int(row["vote"]),
        path=row.get("path"),
        text=row.get("text"),
        time=str(row["time"]),
    )


def _serialize_vote(folder: Path, vote: Vote) -> bytes:
    parts = [asdict(_copy_image(folder, part)) for part in vote.query.parts]
    query = {
        "parts": [{k: v for k, v in part.items() if v is not None} for part in parts],
        "where": {key: wanted.to_value() for key, wanted in vote.query.filters.items()},
    }
    point = {"id": vote.id, "content": vote.content, "path": vote.path, "text": vote.text}
    row = {"time": vote.time, "query": query, **point, "vote": vote.vote}
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _copy_image(folder: Path, part: QueryTerm) -> QueryTerm:
    """`part` with the collection's own copy of its image, as a path from `folder` on."""
    if not part.image:
        return part
    image = Path(part.image)
    copy = locate_image_copy(folder, image)
    if not copy.exists():
        make_private_dir(copy.parent)
        with image.open("rb") as source, replace_file(copy, mode=PRIVATE) as file:
            shutil.copyfileobj(source, file)
    return replace(part, image=f"{IMAGES_FOLDER}/{copy.name}")
