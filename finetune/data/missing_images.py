"""Pictures that pairs name and that cannot be used: their files are missing, or no pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from finetune.data.pairs import Pair

MAX_PATHS_SHOWN = 3  # paths in a message


def drop_missing(pairs: Iterable[Pair]) -> tuple[list[Pair], list[str]]:
    """The pairs whose pictures are there, and the paths of those that are missing, sorted."""
    is_file = cache(lambda path: Path(path).is_file())
    missing: set[str] = set()

    def usable(path: str) -> bool:
        if not is_file(path):
            missing.add(path)
        return is_file(path)

    return keep_usable(pairs, usable), sorted(missing)


def keep_usable(pairs: Iterable[Pair], is_usable: Callable[[str], bool]) -> list[Pair]:
    """The pairs whose own pictures are usable, with those of their negatives that are."""
    kept_pairs = []
    for pair in pairs:
        sides = (pair.query, pair.positive, *pair.negatives)
        first, second, *rest = [not side.image or is_usable(side.image) for side in sides]
        if first and second:
            negatives = zip(pair.negatives, rest, strict=True)
            kept_pairs.append(
                replace(pair, negatives=tuple(side for side, good in negatives if good))
            )
    return kept_pairs


def describe_missing(missing: Sequence[str]) -> str:
    """12 pictures are missing, such as a.jpg, b.jpg, c.jpg."""
    count = "1 picture is" if len(missing) == 1 else f"{len(missing)} pictures are"
    return f"{count} missing, such as {', '.join(missing[:MAX_PATHS_SHOWN])}"
