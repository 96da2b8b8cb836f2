"""What a model found for single queries, from the queries.jsonl of its evaluation."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.results import Report, stamp
from app.runs import DamagedError, lines

HARDEST = 20  # queries


@dataclass(frozen=True, slots=True)
class Ref:
    """A document or a query: words, and the path of a picture."""

    text: str
    image: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for a query; `rank` is the place of the first right document, from 1."""

    id: str
    direction: str
    language: str
    query: Ref
    relevant: tuple[Ref, ...]
    found: tuple[Ref, ...]
    rank: int | None


def answers(report: Report, ids: tuple[str, ...]) -> dict[str, Answer]:
    """The answers to the queries `ids`; raises `DamagedError`."""
    return _answers(report.queries, stamp(report.queries), ids)


def hardest(report: Report) -> tuple[str, ...]:
    """The queries whose first right answer stands furthest down; raises `DamagedError`."""
    return _hardest(report.queries, stamp(report.queries))


@lru_cache(maxsize=8)
def _answers(path: Path, changed: tuple[int, int], ids: tuple[str, ...]) -> dict[str, Answer]:
    wanted, found = set(ids), {}
    try:
        for line in lines(path):
            if str(line.get("id")) in wanted:
                found[str(line["id"])] = _answer(line)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"{path} is damaged ({error})") from error
    return found


@lru_cache(maxsize=8)
def _hardest(path: Path, changed: tuple[int, int]) -> tuple[str, ...]:
    ranked = ((line.get("rank"), str(line.get("id"))) for line in lines(path))
    below = ((rank, id) for rank, id in ranked if isinstance(rank, int) and rank > 1)
    return tuple(id for _, id in heapq.nlargest(HARDEST, below))


def _answer(line: Mapping[str, Any]) -> Answer:
    rank = line.get("rank")
    return Answer(
        id=str(line["id"]),
        direction=str(line.get("direction") or ""),
        language=str(line.get("language") or ""),
        query=_ref(line),
        relevant=tuple(map(_ref, line.get("relevant") or ())),
        found=tuple(map(_ref, line.get("found") or ())),
        rank=rank if isinstance(rank, int) else None,
    )


def _ref(told: Mapping[str, Any]) -> Ref:
    return Ref(str(told.get("text") or ""), str(told.get("image") or ""))
