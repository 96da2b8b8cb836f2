"""Tells what `pairs` has gathered: a table and notes for people, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.console import note, shown
from embedder.tables import print_table

if TYPE_CHECKING:
    from finetune.data.assembling import Assembled
    from finetune.data.gathered import Gathered
    from finetune.data.pairs import Pair
    from finetune.data.splitting import Split

SHOWN = 5  # paths of pictures that cannot be used
SIDES = ("train", "test")


def sides(out: Path) -> tuple[Path, Path]:
    """pairs.jsonl -> pairs.train.jsonl, pairs.test.jsonl"""
    train, test = (out.with_suffix(f".{side}{out.suffix}") for side in SIDES)
    return train, test


def told(
    out: Path, sources: Mapping[str, Gathered], made: Assembled, done: Split | None
) -> dict[str, Any]:
    """All of it as one JSON object."""
    return {
        "out": str(out),
        "pairs": len(made.pairs),
        "counts": _counts(made.pairs),
        "split": _told_split(out, done) if done else None,
        "sources": [
            {"name": name, "pairs": len(source.pairs), "left_out": +source.left_out}
            for name, source in sources.items()
        ],
        "repeated": made.repeated,
        "missing": made.missing,
        "damaged": made.damaged,
    }


def show(out: Path, sources: Mapping[str, Gathered], made: Assembled, done: Split | None) -> None:
    """A table of directions and languages on stdout, the rest on stderr."""
    _table([made.pairs, *([done.train, done.test] if done else [])])
    for name, source in sources.items():
        for reason, count in (+source.left_out).items():
            note(f"{shown(name)}: left out {count} x {reason}")
    _left_out("missing", made.missing)
    _left_out("damaged", list(made.damaged))
    if made.repeated:
        note(f"left out {made.repeated} x pair that stands there twice")
    note(f"{_counted(len(made.pairs), 'pair')} written to {shown(str(out))}")
    if done:
        kinds = zip((done.train, done.test), done.groups, sides(out), strict=True)
        for held, groups, path in kinds:
            about = _counted(groups, "thing")
            note(f"{len(held)} of them, about {about}, to {shown(str(path))}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _table(columns: Sequence[Sequence[Pair]]) -> None:
    from finetune.data.assembling import tally

    tallies = [tally(pairs) for pairs in columns]
    rows = [
        [direction, language or "-", *(str(counts[direction, language]) for counts in tallies)]
        for direction, language in sorted(tallies[0])
    ]
    print_table(["direction", "language", "pairs", *SIDES][: len(columns) + 2], rows)


def _left_out(what: str, paths: Sequence[str]) -> None:
    if paths:
        note(f"left out the pairs of {len(paths)} x picture that is {what}:")
    for path in paths[:SHOWN]:
        note(f"  {shown(path)}")
    if len(paths) > SHOWN:
        note(f"  and {len(paths) - SHOWN} more; --json lists them all")


def _told_split(out: Path, done: Split) -> dict[str, Any]:
    columns = zip(SIDES, sides(out), (done.train, done.test), done.groups, strict=True)
    return {
        side: {"out": str(path), "pairs": len(pairs), "groups": groups, "counts": _counts(pairs)}
        for side, path, pairs, groups in columns
    }


def _counts(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    from finetune.data.assembling import tally

    return [
        {"direction": direction, "language": language or None, "pairs": count}
        for (direction, language), count in sorted(tally(pairs).items())
    ]
