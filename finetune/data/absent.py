"""Pictures that pairs name and that cannot be used: their files are missing, or no pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from finetune.data.pairs import Pair

SHOWN = 3  # paths in a message


def without_absent(pairs: Iterable[Pair]) -> tuple[list[Pair], list[str]]:
    """The pairs whose pictures are there, and the paths of those that are missing, sorted."""
    there = cache(lambda path: Path(path).is_file())
    absent: set[str] = set()

    def usable(path: str) -> bool:
        if not there(path):
            absent.add(path)
        return there(path)

    return kept(pairs, usable), sorted(absent)


def kept(pairs: Iterable[Pair], usable: Callable[[str], bool]) -> list[Pair]:
    """The pairs whose own pictures are usable, with those of their negatives that are."""
    found = []
    for pair in pairs:
        sides = (pair.query, pair.positive, *pair.negatives)
        first, second, *rest = [not side.image or usable(side.image) for side in sides]
        if first and second:
            chosen = zip(pair.negatives, rest, strict=True)
            found.append(replace(pair, negatives=tuple(side for side, good in chosen if good)))
    return found


def explain(absent: Sequence[str]) -> str:
    """12 pictures are missing, such as a.jpg, b.jpg, c.jpg."""
    count = "1 picture is" if len(absent) == 1 else f"{len(absent)} pictures are"
    return f"{count} missing, such as {', '.join(absent[:SHOWN])}"
