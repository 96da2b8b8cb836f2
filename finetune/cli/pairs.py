"""`pairs` and `mine`: what a model is trained and measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import write_json
from finetune.cli import mine
from finetune.cli._options import Images, Out, ProgressPrinter, check_output_path
from finetune.cli.pairs_output import pairs_to_json, print_pairs, split_paths
from indexer.cli import _options

if TYPE_CHECKING:
    from finetune.data.merge_pairs import MergedPairs
    from finetune.data.pairs import SourcePairs
    from finetune.errors import DataError
    from indexer.collections.collection import OpenCollection
    from indexer.config import Config

app = typer.Typer()

PAIRS_EXAMPLES = """
Examples:

  finetune pairs --from-collection --out pairs.jsonl --split 0.2
  finetune pairs --from-collection --from-feedback --out pairs.jsonl
  finetune pairs shop.csv more.parquet --images ~/shop --out pairs.jsonl
"""


@app.command(epilog=PAIRS_EXAMPLES)
@_options.takes_config("store", "collection")
def pairs(
    config: Config,
    out: Out,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Tables of pairs, or folders of tables."),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--from-collection", help="From the collection's captions.")
    ] = False,
    feedback: Annotated[
        bool, typer.Option("--from-feedback", help="From the thumbs up and down in the app.")
    ] = False,
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="Captions are looked for with pictures, too.")
    ] = False,
    texts: Annotated[
        bool,
        typer.Option("--texts", help="Captions of one picture with each other: no pictures."),
    ] = False,
    images: Images = None,
    split: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            metavar="SHARE",
            help="Hold out this share, in FILE.test.jsonl; the rest is in FILE.train.jsonl.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed is another split.")] = 0,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Open each picture to see that it is whole.")
    ] = True,
    as_json: _options.Json = False,
) -> None:
    """Gather pairs from tables, captions and feedback, and hold some out for measuring."""
    if not (files or captions or feedback):
        raise typer.BadParameter("name tables, or give --from-collection or --from-feedback")
    if (both_ways or texts) and not captions:
        raise typer.BadParameter("--both-ways and --texts are about captions: --from-collection")
    if both_ways and texts:
        raise typer.BadParameter("--texts leaves pictures out, and --both-ways is about them")
    check_output_path(out)

    from finetune.data.files import write_pairs
    from finetune.data.merge_pairs import merge_pairs
    from finetune.data.pairs import ContentKeys
    from finetune.data.split import hold_out
    from indexer.collections.collection import OpenCollection

    sources = dict(_read_tables(files or [], images))
    if captions or feedback:
        with OpenCollection.open(config) as opened:
            sources |= dict(
                _read_collection(opened, captions, feedback, both_ways=both_ways, texts=texts)
            )
    content_keys = ContentKeys()
    progress = ProgressPrinter("looking at pictures")
    merged = merge_pairs(sources.values(), content_keys, check=check, on_progress=progress)
    if not merged.pairs:
        raise _no_pairs_error(merged)
    split_result = (
        hold_out(merged.pairs, split, seed, content_keys, merged.hashes) if split else None
    )
    write_pairs(out, merged.pairs)
    for path, part_pairs in zip(
        split_paths(out),
        (split_result.train, split_result.test) if split_result else (),
        strict=False,
    ):
        write_pairs(path, part_pairs)
    if as_json:
        write_json(pairs_to_json(out, sources, merged, split_result))
    else:
        print_pairs(out, sources, merged, split_result)


app.add_typer(mine.app)


def _read_tables(files: Sequence[Path], images: Path | None) -> Iterator[tuple[str, SourcePairs]]:
    from finetune.data.files import iter_pairs
    from finetune.data.pairs import SourcePairs

    for file in files:
        yield str(file), SourcePairs(list(iter_pairs(file, images)))


def _read_collection(
    index_collection: OpenCollection,
    captions: bool,
    feedback: bool,
    *,
    both_ways: bool,
    texts: bool,
) -> Iterator[tuple[str, SourcePairs]]:
    from finetune.data.collection_pairs import from_collection, from_feedback

    if captions:
        source_pairs = from_collection(index_collection, both_ways=both_ways, texts=texts)
        yield f"captions of {index_collection.name}", source_pairs
    if feedback:
        yield f"feedback on {index_collection.name}", from_feedback(index_collection)


def _no_pairs_error(merged: MergedPairs) -> DataError:
    """Why there are no pairs."""
    from finetune.data.merge_pairs import describe_missing
    from finetune.errors import DataError

    if merged.missing:
        return DataError(
            f"no pair can be used: {describe_missing(merged.missing)}; name the folder that their paths are "
            "told from: --images FOLDER"
        )
    if merged.damaged:
        path, why = next(iter(merged.damaged.items()))
        return DataError(
            f"no pair can be used: {len(merged.damaged)} damaged pictures, such as {path}: {why}"
        )
    return DataError("there are no pairs in what was named; its tables are empty")
