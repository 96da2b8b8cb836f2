"""Thumbs up and down on hits, kept with their collection on this machine: FOLDER/feedback.jsonl.

One JSON object a line, only ever appended to; of each query and point the last vote counts.
Pictures that were searched with are copied to FOLDER/feedback/, so that they can be trained on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexer.errors import StoreError
from indexer.identity import content_hash
from indexer.types import Where

FILE = "feedback.jsonl"
PICTURES = "feedback"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class AskedPart:
    """A part of a query: words, the path of a picture, or the id of a point."""

    text: str | None = None
    image: str | None = None
    id: str | None = None
    weight: float = 1.0  # negative: "less like this"


@dataclass(frozen=True, slots=True)
class Asked:
    """The query that a hit answered."""

    parts: tuple[AskedPart, ...]
    where: Where = field(default_factory=dict)

    @property
    def key(self) -> frozenset[AskedPart]:
        """What tells queries apart: their parts, in any order and under any filters."""
        return frozenset(self.parts)


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody thinks of one hit: 1 is good, -1 is bad, 0 takes an earlier vote back."""

    query: Asked
    id: str  # the point's
    content: str  # blake3 of the point's file
    vote: int
    path: str | None = None  # a picture's
    text: str | None = None  # a passage's
    time: str = field(default_factory=_now, compare=False)  # ISO 8601, UTC


def record(folder: Path, vote: Vote) -> None:
    """Append `vote` to those of the collection in `folder`; other processes may do the same.

    Raises `StoreError` where it cannot be kept; earlier votes stay.
    """
    try:
        with (folder / FILE).open("a+b", buffering=0) as file, _alone(file.fileno()):
            line = _line(folder, vote)
            file.write(line if _is_whole(file.fileno()) else b"\n" + line)
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"the vote was not kept ({error.strerror or error}): see that {folder} exists, may be "
            "written and has free space, then vote again"
        ) from error


def read(folder: Path) -> list[Vote]:
    """The votes that count: the last of each query and point, without those taken back.

    Pictures have absolute paths. A line that a crash left unfinished is passed over. Raises
    `StoreError` where the file is there and cannot be read.
    """
    last: dict[tuple[frozenset[AskedPart], str], Vote] = {}
    for vote in _votes(folder):
        key = (vote.query.key, vote.id)
        last.pop(key, None)  # so that the order is that of the last votes
        last[key] = vote
    return [vote for vote in last.values() if vote.vote]


def place(folder: Path, picture: Path) -> Path:
    """Where the collection in `folder` keeps its copy of `picture`; raises `OSError`."""
    return folder / PICTURES / f"{content_hash(picture.read_bytes())}{picture.suffix.lower()}"


def _votes(folder: Path) -> Iterator[Vote]:
    try:
        lines = (folder / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{folder / FILE} cannot be read ({error.strerror or error})") from error
    for line in lines:
        try:
            yield _vote(folder, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


def _vote(folder: Path, row: Mapping[str, Any]) -> Vote:
    """Raises `KeyError`, `TypeError`, `ValueError`, `AttributeError` for what is none."""
    parts = tuple(_part(folder, part) for part in row["query"]["parts"])
    where = {str(key): tuple(map(str, v)) for key, v in row["query"].get("where", {}).items()}
    return Vote(
        query=Asked(parts, where),
        id=str(row["id"]),
        content=str(row["content"]),
        vote=int(row["vote"]),
        path=row.get("path"),
        text=row.get("text"),
        time=str(row["time"]),
    )


def _part(folder: Path, row: Mapping[str, Any]) -> AskedPart:
    image = str(folder / row["image"]) if row.get("image") else None
    return AskedPart(row.get("text"), image, row.get("id"), float(row.get("weight", 1.0)))


def _line(folder: Path, vote: Vote) -> bytes:
    query = {
        "parts": [_told(folder, part) for part in vote.query.parts],
        "where": {key: list(values) for key, values in vote.query.where.items()},
    }
    point = {"id": vote.id, "content": vote.content, "path": vote.path, "text": vote.text}
    row = {"time": vote.time, "query": query, **point, "vote": vote.vote}
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _told(folder: Path, part: AskedPart) -> dict[str, object]:
    image = _kept(folder, Path(part.image)) if part.image else None
    return {k: v for k, v in asdict(replace(part, image=image)).items() if v is not None}


def _kept(folder: Path, picture: Path) -> str:
    """Keep a copy of `picture`, called by its content; returns its path from `folder` on."""
    copy = place(folder, picture)
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copyfile(picture, fresh)
        fresh.replace(copy)
    return f"{PICTURES}/{copy.name}"


def _is_whole(file: int) -> bool:
    """Whether the last line has ended; a crash may have cut it."""
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


@contextmanager
def _alone(file: int) -> Iterator[None]:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
