"""`pairs` and `mine`: what a model is trained and measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.console import write_json
from finetune.cli import mining
from finetune.cli.gathered import show, sides, told
from finetune.cli.working import Counted, Images, Out, check_out
from indexer.cli import options

if TYPE_CHECKING:
    from finetune.data.assembling import Assembled
    from finetune.data.gathered import Gathered
    from finetune.errors import DataError
    from indexer.collection import Collection

app = typer.Typer()

PAIRS_EXAMPLES = """
Examples:

  finetune pairs --from-collection --out pairs.jsonl --split 0.2
  finetune pairs --from-collection --from-feedback --out pairs.jsonl
  finetune pairs shop.csv more.parquet --images ~/shop --out pairs.jsonl
"""


@app.command(epilog=PAIRS_EXAMPLES)
def pairs(
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
    store: options.Store = None,
    collection: options.Collection = None,
    as_json: options.Json = False,
) -> None:
    """Gather pairs from tables, captions and feedback, and hold some out for measuring."""
    if not (files or captions or feedback):
        raise typer.BadParameter("name tables, or give --from-collection or --from-feedback")
    if (both_ways or texts) and not captions:
        raise typer.BadParameter("--both-ways and --texts are about captions: --from-collection")
    if both_ways and texts:
        raise typer.BadParameter("--texts leaves pictures out, and --both-ways is about them")
    check_out(out)

    from finetune.data.assembling import assemble
    from finetune.data.files import write_pairs
    from finetune.data.identity import Identities
    from finetune.data.splitting import divide
    from indexer.collection import Collection

    sources = dict(_tables(files or [], images))
    if captions or feedback:
        with Collection.open(options.settings(store=store, collection=collection)) as opened:
            sources |= dict(_told_in(opened, captions, feedback, both_ways=both_ways, texts=texts))
    known = Identities()
    looking = Counted("looking at pictures")
    made = assemble(sources.values(), known, check=check, on_progress=looking)
    if not made.pairs:
        raise _nothing(made)
    done = divide(made.pairs, split, seed, known, made.seen) if split else None
    write_pairs(out, made.pairs)
    for path, held in zip(sides(out), (done.train, done.test) if done else (), strict=False):
        write_pairs(path, held)
    if as_json:
        write_json(told(out, sources, made, done))
    else:
        show(out, sources, made, done)


app.add_typer(mining.app)


def _tables(files: Sequence[Path], images: Path | None) -> Iterator[tuple[str, Gathered]]:
    from finetune.data.files import parsed
    from finetune.data.gathered import Gathered

    for file in files:
        yield str(file), Gathered(list(parsed(file, images)))


def _told_in(
    opened: Collection, captions: bool, feedback: bool, *, both_ways: bool, texts: bool
) -> Iterator[tuple[str, Gathered]]:
    from finetune.data.collection import from_collection
    from finetune.data.feedback import from_feedback

    if captions:
        made = from_collection(opened, both_ways=both_ways, texts=texts)
        yield f"captions of {opened.name}", made
    if feedback:
        yield f"feedback on {opened.name}", from_feedback(opened)


def _nothing(made: Assembled) -> DataError:
    """Why there are no pairs."""
    from finetune.data.absent import explain
    from finetune.errors import DataError

    if made.missing:
        return DataError(
            f"no pair can be used: {explain(made.missing)}; name the folder that their paths are "
            "told from: --images FOLDER"
        )
    if made.damaged:
        path, why = next(iter(made.damaged.items()))
        return DataError(
            f"no pair can be used: {len(made.damaged)} damaged pictures, such as {path}: {why}"
        )
    return DataError("there are no pairs in what was named; its tables are empty")
