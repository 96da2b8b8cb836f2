"""Tells what `pairs` has gathered: a table and notes for people, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.cli.console import print_note, replace_unprintable
from embedder.cli.output import print_table

if TYPE_CHECKING:
    from finetune.data.merge_pairs import MergedPairs
    from finetune.data.pairs import Pair, SourcePairs
    from finetune.data.split import TrainTestSplit

MAX_PATHS_SHOWN = 5  # paths of pictures that cannot be used
SPLIT_NAMES = ("train", "test")


def split_paths(out: Path) -> tuple[Path, Path]:
    """pairs.jsonl -> pairs.train.jsonl, pairs.test.jsonl"""
    train, test = (out.with_suffix(f".{side}{out.suffix}") for side in SPLIT_NAMES)
    return train, test


def pairs_to_json(
    out: Path, sources: Mapping[str, SourcePairs], merged: MergedPairs, split: TrainTestSplit | None
) -> dict[str, Any]:
    """All of it as one JSON object."""
    return {
        "out": str(out),
        "pairs": len(merged.pairs),
        "counts": _counts_to_json(merged.pairs),
        "split": _split_to_json(out, split) if split else None,
        "sources": [
            {"name": name, "pairs": len(source.pairs), "left_out": +source.left_out}
            for name, source in sources.items()
        ],
        "repeated": merged.duplicates,
        "missing": merged.missing,
        "damaged": merged.damaged,
    }


def print_pairs(
    out: Path, sources: Mapping[str, SourcePairs], merged: MergedPairs, split: TrainTestSplit | None
) -> None:
    """A table of directions and languages on stdout, the rest on stderr."""
    _print_counts([merged.pairs, *([split.train, split.test] if split else [])])
    for name, source in sources.items():
        for reason, count in (+source.left_out).items():
            print_note(f"{replace_unprintable(name)}: left out {count} x {reason}")
    _print_unusable_paths("missing", merged.missing)
    _print_unusable_paths("damaged", list(merged.damaged))
    if merged.duplicates:
        print_note(f"left out {merged.duplicates} x pair that stands there twice")
    print_note(
        f"{_pluralize(len(merged.pairs), 'pair')} written to {replace_unprintable(str(out))}"
    )
    if split:
        parts = zip((split.train, split.test), split.groups, split_paths(out), strict=True)
        for part_pairs, groups, path in parts:
            group_count = _pluralize(groups, "thing")
            print_note(
                f"{len(part_pairs)} of them, about {group_count}, to {replace_unprintable(str(path))}"
            )


def _pluralize(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _print_counts(columns: Sequence[Sequence[Pair]]) -> None:
    from finetune.data.merge_pairs import count_pairs

    tallies = [count_pairs(pairs) for pairs in columns]
    rows = [
        [direction, language or "-", *(str(counts[direction, language]) for counts in tallies)]
        for direction, language in sorted(tallies[0])
    ]
    print_table(["direction", "language", "pairs", *SPLIT_NAMES][: len(columns) + 2], rows)


def _print_unusable_paths(problem: str, paths: Sequence[str]) -> None:
    if paths:
        print_note(f"left out the pairs of {len(paths)} x picture that is {problem}:")
    for path in paths[:MAX_PATHS_SHOWN]:
        print_note(f"  {replace_unprintable(path)}")
    if len(paths) > MAX_PATHS_SHOWN:
        print_note(f"  and {len(paths) - MAX_PATHS_SHOWN} more; --json lists them all")


def _split_to_json(out: Path, split: TrainTestSplit) -> dict[str, Any]:
    parts = zip(SPLIT_NAMES, split_paths(out), (split.train, split.test), split.groups, strict=True)
    return {
        side: {
            "out": str(path),
            "pairs": len(pairs),
            "groups": groups,
            "counts": _counts_to_json(pairs),
        }
        for side, path, pairs, groups in parts
    }


def _counts_to_json(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    from finetune.data.merge_pairs import count_pairs

    return [
        {"direction": direction, "language": language or None, "pairs": count}
        for (direction, language), count in sorted(count_pairs(pairs).items())
    ]
