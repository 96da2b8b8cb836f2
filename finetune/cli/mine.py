"""`finetune mine`: hard negatives for pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import PeriodicNotes, pluralize, print_note, write_json
from embedder.families.registry import DEFAULT_MODEL
from finetune.cli._options import Images, Out, check_output_path
from indexer.cli import _options

if TYPE_CHECKING:
    from embedder.types import Embedder, Role, Vectors
    from finetune.data.hard_negatives import CandidateIndex, EmbedSides
    from finetune.data.pairs import ContentKeys, Side
    from indexer.config import Config

app = typer.Typer()

EXAMPLES = """
Examples:

  finetune mine pairs.train.jsonl --from-collection --out hard.jsonl
  finetune mine pairs.train.jsonl --never pairs.test.jsonl --out hard.jsonl
  finetune mine pairs.jsonl --among shop.csv --model runs/first --out hard.jsonl
"""
MODEL_FLAGS = ("model", "device", "dtype", "trust_remote_code", "allow_model_hosts")
KEY_FLAGS = ("model_api_key", "model_api_key_url")


@app.command(epilog=EXAMPLES)
@_options.takes_flags(*MODEL_FLAGS, *KEY_FLAGS, "store", "collection")
def mine(
    flags: dict[str, Any],
    file: Annotated[Path, Argument(metavar="PAIRS", help="A table of pairs.")],
    out: Out,
    in_collection: Annotated[
        bool, Option("--from-collection", help="Search the collection, too.")
    ] = False,
    among: Annotated[
        Path | None, Option(metavar="FILE", help="Search this table of pairs, too.")
    ] = None,
    never: Annotated[
        Path | None, Option(metavar="FILE", help="Pairs that give no negatives (held out).")
    ] = None,
    per_query: Annotated[int, Option(min=1, metavar="N", help="Negatives a pair.")] = 1,
    rank_from: Annotated[int, Option(min=1, metavar="N", help="The best rank of a negative.")] = 1,
    rank_to: Annotated[int, Option(min=1, metavar="N", help="The lowest rank of a negative.")] = 50,
    ceiling: Annotated[
        float,
        Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="A negative scores at most this share of the positive's score.",
        ),
    ] = 0.95,
    images: Images = None,
    as_json: _options.Json = False,
) -> None:
    """Find hard negatives: documents that a model scores high and that are wrong."""
    if rank_to < rank_from:
        raise typer.BadParameter("--rank-to is less than --rank-from")
    if (flags["store"] or flags["collection"]) and not in_collection:
        raise typer.BadParameter("--store and --collection need --from-collection")
    check_output_path(out)

    from finetune.data.files import read_pairs, write_pairs
    from finetune.data.hard_negatives import NegativeSelection, mine_hard_negatives
    from finetune.data.pairs import ContentKeys

    config = _options.resolve_flags(**flags)
    pairs, content_keys = read_pairs(file, images), ContentKeys()
    documents = [side for pair in pairs for side in (pair.positive, *pair.negatives)]
    if in_collection:  # images come from the collection; it has no vector for each caption
        documents = [side for side in documents if not side.image]
    if among:
        documents += [pair.positive for pair in read_pairs(among, images)]
    held_out = read_pairs(never, images) if never else []
    selection = NegativeSelection(
        first_rank=rank_from, last_rank=rank_to, max_positive_ratio=ceiling, per_pair=per_query
    )
    print_progress = PeriodicNotes()
    with _open_indexes(config, documents, content_keys, in_collection) as (indexes, embed):
        mined = mine_hard_negatives(
            pairs,
            embed,
            indexes,
            selection,
            content_keys,
            excluded=[side for pair in held_out for side in (pair.query, pair.positive)],
            on_progress=lambda done, total: print_progress(f"mining: {done} of {total}"),
        )
    write_pairs(out, mined.pairs)
    if as_json:
        counts = {"pairs": len(mined.pairs), "negatives": mined.found}
        write_json({"out": str(out), **counts, "without": dict(mined.without_negatives)})
        return
    for reason, count in mined.without_negatives.items():
        print_note(f"{count} of {pluralize(len(mined.pairs), 'pair')} got no negatives: {reason}")
    negatives = pluralize(mined.found, "negative")
    print_note(f"{negatives} added to {pluralize(len(mined.pairs), 'pair')} in {out}")
    if not mined.found:
        print_note("pass more documents with --among FILE, or a higher --ceiling")


@contextmanager
def _open_indexes(
    config: Config, documents: Sequence[Side], content_keys: ContentKeys, in_collection: bool
) -> Iterator[tuple[list[CandidateIndex], EmbedSides]]:
    """Open the indexes to search and the model that embeds."""
    from finetune.data.hard_negatives import CollectionIndex, DocumentIndex

    if not in_collection:
        import embedder
        from indexer.collections.model import make_settings

        embed = _make_embed(embedder.load(config.model or DEFAULT_MODEL, make_settings(config)))
        yield [DocumentIndex(documents, embed, content_keys)], embed
        return
    from indexer.api import Collection

    with Collection(config) as collection:
        embed = _make_embed(collection.load_model())
        index = CollectionIndex(collection.opened.store, content_keys)
        yield [index, DocumentIndex(documents, embed, content_keys)], embed


def _make_embed(model: Embedder) -> EmbedSides:
    from finetune.evaluation.embedding import embed_sides

    print_progress = PeriodicNotes()

    def embed(sides: Sequence[Side], role: Role) -> Vectors:
        noun = "documents" if role == "document" else "queries"
        return embed_sides(model, sides, role, print_progress, noun)

    return embed
