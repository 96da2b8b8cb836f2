"""`finetune pairs`: the pairs that a model is trained and evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    PeriodicNotes,
    pluralize,
    print_list,
    print_note,
    print_table,
    write_json,
)
from finetune.cli._options import DatasetSplit, Images, Out, check_output_path, print_chosen_split
from finetune.errors import DataError
from indexer.cli import _options

if TYPE_CHECKING:
    from finetune.data.files import MergedPairs
    from finetune.data.pairs import Pair, SourcePairs
    from finetune.data.split import TrainTestSplit
    from indexer.config import Config

app = typer.Typer()

MAX_PATHS_SHOWN = 5
SPLIT_NAMES = ("train", "test")
EXAMPLES = """
Examples:

  finetune pairs --from-collection --out pairs.jsonl --split 0.2
  finetune pairs --from-collection --from-feedback --out pairs.jsonl
  finetune pairs shop.csv more.parquet --images ~/shop --out pairs.jsonl
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config("store", "collection")
def pairs(
    config: Config,
    out: Out,
    files: Annotated[
        list[Path] | None, Argument(metavar="FILES", help="Tables of pairs, or folders of tables.")
    ] = None,
    captions: Annotated[
        bool, Option("--from-collection", help="Use the collection's captions.")
    ] = False,
    feedback: Annotated[bool, Option("--from-feedback", help="Use the votes in the app.")] = False,
    both_ways: Annotated[
        bool, Option("--both-ways", help="Add pairs from picture to caption.")
    ] = False,
    texts: Annotated[
        bool, Option("--texts", help="Pair the captions of one picture, without the picture.")
    ] = False,
    images: Images = None,
    dataset_split: DatasetSplit = None,
    split: Annotated[
        float | None,
        Option(
            min=0.01,
            max=0.99,
            metavar="SHARE",
            help="Hold out this share in FILE.test.jsonl; the rest goes to FILE.train.jsonl.",
        ),
    ] = None,
    seed: Annotated[int, Option(metavar="N", help="Another seed gives another split.")] = 0,
    check: Annotated[
        bool, Option("--check/--no-check", help="Open each picture to find damaged ones.")
    ] = True,
    as_json: _options.Json = False,
) -> None:
    """Collect pairs from tables, captions and votes, and hold some out for evaluation."""
    if not (files or captions or feedback):
        raise typer.BadParameter("name tables, or pass --from-collection or --from-feedback")
    if (both_ways or texts) and not captions:
        raise typer.BadParameter("--both-ways and --texts need --from-collection")
    if both_ways and texts:
        raise typer.BadParameter("--both-ways needs pictures, and --texts leaves them out")
    check_output_path(out)

    from finetune.data.collection_pairs import from_collection, from_feedback
    from finetune.data.files import iter_pairs, merge_pairs, write_pairs
    from finetune.data.pairs import ContentKeys, SourcePairs
    from finetune.data.split import hold_out
    from indexer.collections.collection import OpenCollection

    sources = {}
    for file in files or []:
        print_chosen_split(file, dataset_split or "")
        sources[str(file)] = SourcePairs(list(iter_pairs(file, images, dataset_split or "")))
    if captions or feedback:
        with OpenCollection.open(config) as collection:
            if captions:
                found = from_collection(collection, both_ways=both_ways, texts=texts)
                sources[f"captions of {collection.name}"] = found
            if feedback:
                sources[f"feedback on {collection.name}"] = from_feedback(collection)
    content_keys, print_progress = ContentKeys(), PeriodicNotes()
    merged = merge_pairs(
        sources.values(),
        content_keys,
        check=check,
        on_progress=lambda done, total: print_progress(f"checking pictures: {done} of {total}"),
    )
    if not merged.pairs:
        raise _no_pairs_error(merged)
    halves = hold_out(merged.pairs, split, seed, content_keys, merged.hashes) if split else None
    write_pairs(out, merged.pairs)
    for _, path, part, _ in _list_parts(out, halves):
        write_pairs(path, part)
    if as_json:
        write_json(_to_json(out, sources, merged, halves))
    else:
        _print_result(out, sources, merged, halves)


def _no_pairs_error(merged: MergedPairs) -> DataError:
    from finetune.data.files import describe_missing

    if merged.missing:
        missing = describe_missing(merged.missing)
        return DataError(
            f"no pair can be used: {missing}; pass the folder that their paths start from with "
            "--images FOLDER"
        )
    if merged.damaged:
        path, error = next(iter(merged.damaged.items()))
        return DataError(
            f"no pair can be used: {len(merged.damaged)} damaged pictures, such as {path}: {error}"
        )
    return DataError("there are no pairs: the tables are empty")


def _list_parts(
    out: Path, halves: TrainTestSplit | None
) -> Iterator[tuple[str, Path, list[Pair], int]]:
    """Yield name, file, pairs and number of groups: pairs.train.jsonl, pairs.test.jsonl."""
    if halves:
        parts = zip(SPLIT_NAMES, (halves.train, halves.test), halves.groups, strict=True)
        for name, part, groups in parts:
            yield name, out.with_suffix(f".{name}{out.suffix}"), part, groups


def _to_json(
    out: Path,
    sources: Mapping[str, SourcePairs],
    merged: MergedPairs,
    halves: TrainTestSplit | None,
) -> dict[str, Any]:
    parts = {
        name: {
            "out": str(path),
            "pairs": len(part),
            "groups": groups,
            "counts": _counts_to_json(part),
        }
        for name, path, part, groups in _list_parts(out, halves)
    }
    return {
        "out": str(out),
        "pairs": len(merged.pairs),
        "counts": _counts_to_json(merged.pairs),
        "split": parts or None,
        "sources": [
            {"name": name, "pairs": len(source.pairs), "left_out": +source.left_out}
            for name, source in sources.items()
        ],
        "repeated": merged.duplicates,
        "missing": merged.missing,
        "inexact": [dict(zip(("path", "file", "how"), f, strict=True)) for f in merged.inexact],
        "damaged": merged.damaged,
    }


def _counts_to_json(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {"direction": direction, "language": language or None, "pairs": count}
        for (direction, language), count in sorted(_count_pairs(pairs).items())
    ]


def _print_result(
    out: Path,
    sources: Mapping[str, SourcePairs],
    merged: MergedPairs,
    halves: TrainTestSplit | None,
) -> None:
    """Print counts by direction and language to stdout, the rest to stderr."""
    from indexer.captions.matching import describe_matches

    parts = list(_list_parts(out, halves))
    counts = [_count_pairs(part) for part in (merged.pairs, *(part for _, _, part, _ in parts))]
    rows = [
        [direction, language or "-", *(str(count[direction, language]) for count in counts)]
        for direction, language in sorted(counts[0])
    ]
    print_table(["direction", "language", "pairs", *(name for name, *_ in parts)], rows)
    for name, source in sources.items():
        for reason, count in (+source.left_out).items():
            print_note(f"{name}: left out {count} x {reason}")
    for problem, paths in (("missing", merged.missing), ("damaged", list(merged.damaged))):
        title = f"left out the pairs of {len(paths)} x picture that is {problem}:"
        print_list(title, paths, MAX_PATHS_SHOWN, "--json lists them all")
    for text in describe_matches(merged.inexact):
        print_note(text)
    if merged.duplicates:
        print_note(f"left out {merged.duplicates} x duplicate pair")
    written = pluralize(len(merged.pairs), "pair")
    print_note(f"{written} written to {out}")
    for _, path, part, groups in parts:
        about = f"{len(part)} of them, about {pluralize(groups, 'item')}"
        print_note(f"{about}, to {path}")


def _count_pairs(pairs: Sequence[Pair]) -> Counter[tuple[str, str]]:
    """Count pairs by direction and language; "" is an unknown language."""
    return Counter((pair.direction, pair.language or "") for pair in pairs)
