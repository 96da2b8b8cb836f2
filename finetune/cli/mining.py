"""`mine`: hard negatives for pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder import options as model_options
from embedder.console import note, shown, write_json
from embedder.registry import DEFAULT_MODEL
from finetune.cli.working import Counted, Images, Out, check_out
from indexer.cli import options

if TYPE_CHECKING:
    from embedder.types import Embedder, Role, Vectors
    from finetune.data.identity import Identities
    from finetune.data.mining import Mined
    from finetune.data.pairs import Side
    from finetune.data.pools import Embed, Pool
    from indexer.config import Config

app = typer.Typer()

MINE_EXAMPLES = """
Examples:

  finetune mine pairs.train.jsonl --from-collection --out hard.jsonl
  finetune mine pairs.train.jsonl --never pairs.test.jsonl --out hard.jsonl
  finetune mine pairs.jsonl --among shop.csv --model runs/first --out hard.jsonl
"""


@app.command(epilog=MINE_EXAMPLES)
def mine(
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
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER|URL",
            help="The model: a name, a folder, or a server's URL.",
            show_default="the collection's own, or starter",
            autocompletion=model_options.model_names,
            rich_help_panel=model_options.PANEL,
        ),
    ] = None,
    device: model_options.Device = None,
    dtype: model_options.Dtype = None,
    trust_remote_code: model_options.TrustRemoteCode = False,
    api_key: model_options.ApiKey = None,
    store: options.Store = None,
    collection: options.Collection = None,
    as_json: options.Json = False,
) -> None:
    """Find hard negatives: what a model takes for right and what is not known to be."""
    if rank_to < rank_from:
        raise typer.BadParameter("--rank-to is less than --rank-from")
    if (store or collection) and not in_collection:
        raise typer.BadParameter("--store and --collection need --from-collection")
    check_out(out)

    from finetune.data.files import read_pairs, write_pairs
    from finetune.data.identity import Identities
    from finetune.data.mining import Window
    from finetune.data.mining import mine as find

    config = options.settings(
        store=store,
        collection=collection,
        model=model,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code or None,
        model_api_key=api_key,
    )
    pairs, known = read_pairs(file, images), Identities()
    documents = [side for pair in pairs for side in (pair.positive, *pair.negatives)]
    more = [pair.positive for pair in read_pairs(among, images)] if among else []
    barred = [s for p in read_pairs(never, images) for s in (p.query, p.positive)] if never else []
    where = _in_collection if in_collection else _in_pairs
    with where(config, documents, more, known) as (pools, embed):
        window, count = Window(rank_from, rank_to, ceiling, per_query), Counted("looking")
        done = find(pairs, embed, pools, window, known, barred, count)
    write_pairs(out, done.pairs)
    if as_json:
        told = {"pairs": len(done.pairs), "negatives": done.found, "without": dict(done.without)}
        write_json({"out": str(out), **told})
    else:
        _show(out, done)


@contextmanager
def _in_pairs(
    config: Config, documents: Sequence[Side], more: Sequence[Side], known: Identities
) -> Iterator[tuple[list[Pool], Embed]]:
    """The documents of the pairs, and what embeds."""
    import embedder
    from finetune.data.pools import Documents
    from indexer.models import settings_for

    embed = _embed(embedder.load(config.model or DEFAULT_MODEL, settings_for(config)))
    yield [Documents([*documents, *more], embed, known)], embed


@contextmanager
def _in_collection(
    config: Config, documents: Sequence[Side], more: Sequence[Side], known: Identities
) -> Iterator[tuple[list[Pool], Embed]]:
    """The collection's pictures and passages. Captions are looked for among those of the pairs:
    the store has one vector for all captions of a picture."""
    from finetune.data.pools import Documents, Points
    from indexer.cli.opening import open_with_model

    opened, model = open_with_model(config, needs_model=True)
    with opened:
        embed = _embed(model())
        written = [side for side in documents if not side.image]
        yield [Points(opened.store, known), Documents([*written, *more], embed, known)], embed


def _embed(model: Embedder) -> Embed:
    from finetune.evaluation.embedding import embedded

    tell = Counted().tell

    def embed(sides: Sequence[Side], role: Role) -> Vectors:
        what = "documents" if role == "document" else "queries"
        return embedded(model, sides, role, tell, what)

    return embed


def _show(out: Path, done: Mined) -> None:
    for reason, count in done.without.items():
        note(f"{count} of {len(done.pairs)} pairs got none: {reason}")
    note(f"{done.found} negatives added to {len(done.pairs)} pairs in {shown(str(out))}")
    if not done.found:
        note("give --among FILE with more documents, or a higher --ceiling")
