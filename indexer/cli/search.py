"""`search` and `similar`: the best points for a query."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import print_note, write_json
from indexer.cli import _options
from indexer.cli._signed_arguments import SignedArgumentsCommand

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.types import Part, Query

app = typer.Typer()

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many hits.")]
Offset = Annotated[int, typer.Option(min=0, help="How many of the best to leave out.")]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Only what fits: kind=image, year=2019..2022, tags=a,b. May be given again.",
    ),
]
Diversity = Annotated[
    float, typer.Option(min=0, max=1, help="0: the best; 1: as different as can be.")
]
Fold = Annotated[
    bool, typer.Option("--fold/--no-fold", help="Hide near-duplicates behind the best of them.")
]

SEARCH_EXAMPLES = """
Examples:

  indexer search "a red bicycle"
  indexer search beach -people 2:sunset --limit 5
  indexer search photo.jpg "but at night" --where year=2020..
  indexer search -- -v              what begins like an option
  echo "a quiet harbour" | indexer search -
"""
SIMILAR_EXAMPLES = """
Examples:

  indexer similar ~/Pictures/cat.jpg
  indexer similar 7c0e1f6e-6f61-5c1b-8d4e-0f6a1f7a2b3c --limit 50 --json
"""


@app.command(cls=SignedArgumentsCommand, epilog=SEARCH_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def search(
    config: Config,
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Words, a picture's path or id:ID, with a sign and a weight where you like: "
            "-people, 2:sunset, -0.5:photo.jpg. A lone - reads words from stdin."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="A picture; may be given again.")
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
    where: FilterOption = None,
    diversity: Diversity = 0.0,
    fold: Fold = True,
    instruction: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What to look for, told to a model that listens."),
    ] = None,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Find pictures and texts by words in any language, by pictures, or by both together."""
    from indexer.cli._open import read_collection_card
    from indexer.search.query_syntax import parse_filters, parse_parts, read_query_image
    from indexer.types import Part, Query

    written = [sys.stdin.read().strip() if part == "-" else part for part in parts or []]
    if not (any(map(str.strip, written)) or image or where):
        raise typer.BadParameter("say what to look for: words, a picture, or --where")
    side = read_collection_card(config).image_side
    pictures = [Part(image=read_query_image(path, side), label=path.name) for path in image or []]
    said = (*parse_parts(written, side), *pictures)
    narrowed = parse_filters(where or [])
    query = Query(said, narrowed, limit, offset, diversity, fold, instruction)
    run_query(config, query, [*written, *map(str, image or [])], as_json=as_json, verbose=verbose)


@app.command(epilog=SIMILAR_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def similar(
    config: Config,
    what: Annotated[
        str,
        typer.Argument(metavar="ID_OR_PATH", help="A point's id, or the path of any picture."),
    ],
    limit: Limit = 20,
    offset: Offset = 0,
    where: FilterOption = None,
    diversity: Diversity = 0.0,
    fold: Fold = True,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Find what is like a picture or a text: one of the collection, or any picture on disk."""
    from indexer.search.query_syntax import parse_filters
    from indexer.types import Query

    query = Query(
        (resolve_example(config, what),), parse_filters(where or []), limit, offset, diversity, fold
    )
    run_query(config, query, [what], as_json=as_json, verbose=verbose)


def run_query(
    config: Config, query: Query, written: Sequence[str], *, as_json: bool, verbose: bool
) -> None:
    """Search, and print the hits."""
    from indexer.cli._open import open_with_model
    from indexer.cli._search_output import print_hits, results_to_json
    from indexer.search.searcher import Searcher

    needs_model = any(part.id is None for part in query.parts)
    opened, model = open_with_model(config, needs_model=needs_model)
    with opened:
        results = Searcher(opened, model).search(query)
    if as_json:
        write_json(results_to_json(written, query, results))
        return
    if not results.hits:
        print_note("Nothing is here." if not query.parts else "Nothing was found.")
    elif not results.is_significant:
        print_note("Nothing here matches well; closest:")
    print_hits(query, results, verbose=verbose)


def resolve_example(config: Config, what: str) -> Part:
    """The point that `what` names or whose content lies there; else the picture at that path."""
    from indexer.cli._points import find_point
    from indexer.collection import Collection
    from indexer.search.query_syntax import read_query_image
    from indexer.types import Part

    with Collection.open(config) as opened:
        id, side = find_point(opened, what), opened.card.image_side
    if id is not None:
        return Part(id=id, label=what)
    return Part(image=read_query_image(Path(what).expanduser(), side), label=Path(what).name)
