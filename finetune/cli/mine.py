"""`mine`: hard negatives for pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedder.cli.console import print_note, replace_unprintable, write_json
from embedder.families.registry import DEFAULT_MODEL
from finetune.cli._options import Images, Out, ProgressPrinter, check_output_path
from indexer.cli import _options

if TYPE_CHECKING:
    from embedder.types import Embedder, Role, Vectors
    from finetune.data.hard_negatives import CandidateIndex, EmbedSides
    from finetune.data.pairs import ContentKeys
    from finetune.data.hard_negatives import MinedPairs
    from finetune.data.pairs import Side
    from indexer.config import Config

app = typer.Typer()

MINE_EXAMPLES = """
Examples:

  finetune mine pairs.train.jsonl --from-collection --out hard.jsonl
  finetune mine pairs.train.jsonl --never pairs.test.jsonl --out hard.jsonl
  finetune mine pairs.jsonl --among shop.csv --model runs/first --out hard.jsonl
"""


@app.command(epilog=MINE_EXAMPLES)
@_options.takes_flags(
    *("model", "device", "dtype", "trust_remote_code", "model_api_key", "store", "collection")
)
def mine(
    flags: dict[str, Any],
    file: Annotated[Path, typer.Argument(metavar="PAIRS", help="A table of pairs.")],
    out: Out,
    in_collection: Annotated[
        bool,
        typer.Option("--from-collection", help="Among the collection's pictures and passages."),
    ] = False,
    among: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Among the documents of this table of pairs as well."),
    ] = None,
    never: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Nothing that stands in these pairs, as those held out."),
    ] = None,
    per_query: Annotated[int, typer.Option(min=1, metavar="N", help="Negatives a pair.")] = 1,
    rank_from: Annotated[
        int, typer.Option(min=1, metavar="N", help="The best rank of a negative.")
    ] = 1,
    rank_to: Annotated[
        int, typer.Option(min=1, metavar="N", help="The lowest rank of a negative.")
    ] = 50,
    ceiling: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="A negative scores at most this share of the positive's score.",
        ),
    ] = 0.95,
    images: Images = None,
    as_json: _options.Json = False,
) -> None:
    """Find hard negatives: what a model takes for right and what is not known to be."""
    if rank_to < rank_from:
        raise typer.BadParameter("--rank-to is less than --rank-from")
    if (flags["store"] or flags["collection"]) and not in_collection:
        raise typer.BadParameter("--store and --collection need --from-collection")
    check_output_path(out)

    from finetune.data.pairs import ContentKeys
    from finetune.data.files import read_pairs, write_pairs
    from finetune.data.hard_negatives import NegativeSelection
    from finetune.data.hard_negatives import mine_hard_negatives as find

    config = _options.resolve_flags(**flags)
    pairs, content_keys = read_pairs(file, images), ContentKeys()
    documents = [side for pair in pairs for side in (pair.positive, *pair.negatives)]
    extra_documents = [pair.positive for pair in read_pairs(among, images)] if among else []
    excluded = (
        [s for p in read_pairs(never, images) for s in (p.query, p.positive)] if never else []
    )
    open_index = _collection_index if in_collection else _pair_documents_index
    with open_index(config, documents, extra_documents, content_keys) as (pools, embed):
        selection, progress = (
            NegativeSelection(rank_from, rank_to, ceiling, per_query),
            ProgressPrinter("looking"),
        )
        mined = find(pairs, embed, pools, selection, content_keys, excluded, progress)
    write_pairs(out, mined.pairs)
    if as_json:
        counts = {
            "pairs": len(mined.pairs),
            "negatives": mined.found,
            "without": dict(mined.without_negatives),
        }
        write_json({"out": str(out), **counts})
    else:
        _print_result(out, mined)


@contextmanager
def _pair_documents_index(
    config: Config,
    documents: Sequence[Side],
    extra_documents: Sequence[Side],
    content_keys: ContentKeys,
) -> Iterator[tuple[list[CandidateIndex], EmbedSides]]:
    """The documents of the pairs, and what embeds."""
    import embedder
    from finetune.data.hard_negatives import DocumentIndex
    from indexer.collections.model import make_settings

    embed = _make_embed(embedder.load(config.model or DEFAULT_MODEL, make_settings(config)))
    yield [DocumentIndex([*documents, *extra_documents], embed, content_keys)], embed


@contextmanager
def _collection_index(
    config: Config,
    documents: Sequence[Side],
    extra_documents: Sequence[Side],
    content_keys: ContentKeys,
) -> Iterator[tuple[list[CandidateIndex], EmbedSides]]:
    """The collection's pictures and passages. Captions are looked for among those of the pairs:
    the store has one vector for all captions of a picture."""
    from finetune.data.hard_negatives import CollectionIndex, DocumentIndex
    from indexer.cli._open import open_with_model

    index_collection, load_embedder = open_with_model(config, needs_model=True)
    with index_collection:
        embed = _make_embed(load_embedder())
        text_documents = [side for side in documents if not side.image]
        yield (
            [
                CollectionIndex(index_collection.store, content_keys),
                DocumentIndex([*text_documents, *extra_documents], embed, content_keys),
            ],
            embed,
        )


def _make_embed(model: Embedder) -> EmbedSides:
    from finetune.evaluation.embedding import embed_sides

    on_progress = ProgressPrinter().print_line

    def embed(sides: Sequence[Side], role: Role) -> Vectors:
        what = "documents" if role == "document" else "queries"
        return embed_sides(model, sides, role, on_progress, what)

    return embed


def _print_result(out: Path, mined: MinedPairs) -> None:
    for reason, count in mined.without_negatives.items():
        print_note(f"{count} of {len(mined.pairs)} pairs got none: {reason}")
    print_note(
        f"{mined.found} negatives added to {len(mined.pairs)} pairs in {replace_unprintable(str(out))}"
    )
    if not mined.found:
        print_note("give --among FILE with more documents, or a higher --ceiling")
