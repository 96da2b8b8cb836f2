"""`indexer search` and `indexer similar`: the best points for a query."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperCommand, TyperOption

from embedder.cli.console import (
    Command,
    inject,
    pluralize,
    print_note,
    print_row,
    write_json,
)
from embedder.escaping import replace_unprintable
from indexer.cli import _options
from indexer.config import Config
from indexer.types import SortOrder

if TYPE_CHECKING:
    from indexer.types import Hit, Part, QueryTerm, SearchResults

app = typer.Typer()

BAR_WIDTH = 8  # characters of a score's bar
QUERY_MATCHES = {"same": "what you searched with", "copy": "a copy of what you searched with"}
FILTER_LIKE_PATTERN = re.compile(
    r"(kind|format|folder|name|path|tag|language|camera|year|taken|added|width|height)"
    r"(:|[!<>]?=|[<>])(\S+)"
)

Where = Annotated[
    list[str] | None,
    Option(
        metavar="KEY=VALUE",
        help="A filter: kind=image, kind!=text, tag=a,b, year=2019.., 'width>=800', "
        "'folder=\"a, b\"'. May be repeated.",
    ),
]

SEARCH_EXAMPLES = """
Examples:

  indexer search a blue bicycle
  indexer search lake -people sunset^2 --limit 5
  indexer search castle -"old people" "blue sky"^2
  indexer search photo.jpg but at night --where year=2020..
  indexer search beach --sort newest --where taken=2019-07..2019-08
  indexer search a dog on a red sofa --rerank qwen3-vl-reranker-2b
  indexer search -- -v              a word that is spelled like an option
  echo "a quiet forest" | indexer search -

Words without a sign or a weight form one text. -people is what not to find,
sunset^2 weighs twice as much, quotation marks hold words together,
photo.jpg is an image, id:ID is a point, and a backslash makes a word text:
'\\-nature'.
"""
SIMILAR_EXAMPLES = """
Examples:

  indexer similar ~/Pictures/cat.jpg
  indexer similar 7c0e1f6e-6f61-5c1b-8d4e-0f6a1f7a2b3c --limit 50 --json
"""


class SignedArgumentsCommand(TyperCommand):
    """A command whose arguments may begin with `-`: `indexer search beach -people --limit 5`.

    A word with one dash is an option if it is spelled exactly like one (`-v`, `-n 5`, `-n5`), else
    a term of the query, as is all that follows `--`. A mistyped long option is still an error.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not ctx.resilient_parsing:
            options = [p for p in self.get_params(ctx) if isinstance(p, TyperOption)]
            flags = {name for o in options if o.is_flag for name in (*o.opts, *o.secondary_opts)}
            valued = {name for o in options if not o.is_flag for name in o.opts}
            args = put_options_first(args, flags, valued)
        return super().parse_args(ctx, args)


def put_options_first(args: Sequence[str], flags: set[str], valued: set[str]) -> list[str]:
    """`args` with the options in front, then `--`, then the parts, each in its order."""
    options: list[str] = []
    parts: list[str] = []
    remaining = iter(args)
    for arg in remaining:
        if arg == "--":
            parts += remaining
        elif arg in valued:
            value = next(remaining, None)
            if value is None:  # the parser reports the missing value
                return [*options, arg]
            options += [arg, value]
        elif arg in flags or arg.startswith("--") or (arg[:2] in valued and arg[2:].isdecimal()):
            options.append(arg)
        else:
            parts.append(arg)
    return [*options, "--", *parts]


def takes_page_options(command: Command) -> Command:
    """A decorator: the command gets `page`, keywords of `Collection.search`."""
    return inject("page", _build_page_options)(command)


def _build_page_options(
    limit: Annotated[int, Option("--limit", "-n", min=1, help="How many hits.")] = 20,
    offset: Annotated[int, Option(min=0, help="How many of the best hits to skip.")] = 0,
    where: Where = None,
    diversity: Annotated[
        float, Option(min=0, max=1, help="0: the best hits; 1: as different as possible.")
    ] = 0.0,
    fold: Annotated[
        bool, Option("--fold/--no-fold", help="Hide near-duplicates behind the best of them.")
    ] = True,
    min_strength: Annotated[
        float,
        Option(min=0, max=1, help="Leave out weaker hits; from 0.8 on, hits are likely right."),
    ] = 0.0,
    sort: Annotated[
        SortOrder,
        Option(
            metavar="ORDER",
            help="strength, newest or oldest (by the date taken), added (the last first), or name. "
            "Of a query, this sorts the hits that are likely right, or that stand out.",
        ),
    ] = "strength",
    rerank: Annotated[
        str | None,
        Option(
            metavar="NAME|FOLDER",
            help="A model that reads the query with each of the best hits, and orders them.",
        ),
    ] = None,
    no_rerank: Annotated[
        bool, Option("--no-rerank", help="Do without the reranker of the settings.")
    ] = False,
) -> dict[str, Any]:
    from indexer.search.filter_syntax import parse_filters

    return {
        "limit": limit,
        "offset": offset,
        "filters": parse_filters(where or []),
        "diversity": diversity,
        "group_duplicates": fold,
        "min_strength": min_strength,
        "sort": sort,
        "rerank": False if no_rerank else rerank,
    }


@app.command(cls=SignedArgumentsCommand, epilog=SEARCH_EXAMPLES)
@_options.takes_config(*_options.SHARED, *_options.RERANKING)
@takes_page_options
def search(
    config: Config,
    page: dict[str, Any],
    query: Annotated[
        list[str] | None,
        Argument(
            help="Words, images and points: lake -people sunset^2 photo.jpg id:ID. "
            "A - at the end reads from stdin."
        ),
    ] = None,
    image: Annotated[
        list[Path] | None, Option(metavar="PATH", help="An image; may be repeated.")
    ] = None,
    instruction: Annotated[
        str | None,
        Option(metavar="TEXT", help="What to look for, for models that follow instructions."),
    ] = None,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Find images and texts by text in any language, by images, or by both together."""
    from indexer.api import Collection
    from indexer.cli._paths import match_path
    from indexer.paths import display_path
    from indexer.search.query_syntax import load_term, parse_arguments
    from indexer.types import QueryTerm

    arguments = query or []
    if arguments[-1:] == ["-"]:
        arguments = [*arguments[:-1], sys.stdin.read()]
    terms = parse_arguments(arguments)
    if not (terms or image or page["filters"] or page["sort"] != "strength"):
        raise typer.BadParameter("say what to look for: text, an image, --where or --sort")
    words = " ".join(term.text or "" for term in terms)
    if words != display_path(words):
        raise typer.BadParameter(f"this text is not UTF-8: {display_path(words)}")
    for word in words.split():
        if match := FILTER_LIKE_PATTERN.fullmatch(word):
            key, operator, value = match.groups()
            operator = operator.replace(":", "=")
            quoted = shlex.quote(f"{key}{operator}{value}")
            print_note(f"{word} was read as text; a filter is: --where {quoted}")
    terms = tuple(replace(t, image=match_path(t.image)) if t.image else t for t in terms)
    image = [Path(match_path(str(path))) for path in image or []]
    with Collection(config.for_reading()) as collection:
        side = collection.card.image_side
        parts: list[Part | Path] = [*(load_term(term, side) for term in terms), *image]
        results = collection.search(parts, instruction=instruction, **page)
    terms += tuple(QueryTerm(image=str(path)) for path in image)
    print_results(terms, page, results, as_json=as_json, verbose=verbose)


@app.command(cls=SignedArgumentsCommand, epilog=SIMILAR_EXAMPLES)
@_options.takes_config(*_options.SHARED, *_options.RERANKING)
@takes_page_options
def similar(
    config: Config,
    page: dict[str, Any],
    what: Annotated[
        str, Argument(metavar="ID_OR_PATH", help="A point's id, or the path of any image.")
    ],
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Find what is similar to an image or a text: one of the collection, or any image on disk."""
    from indexer.api import Collection
    from indexer.cli._paths import match_path
    from indexer.search.query_syntax import parse_id
    from indexer.types import QueryTerm

    id = parse_id(what)
    what = match_path(what) if id is None else what
    with Collection(config.for_reading()) as collection:
        results = collection.similar(what, **page)
    term = QueryTerm(image=what) if id is None else QueryTerm(id=id)
    print_results([term], page, results, as_json=as_json, verbose=verbose)


def print_results(
    terms: Sequence[QueryTerm],
    page: Mapping[str, Any],
    results: SearchResults,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Print the hits of a query.

    A table on a terminal; elsewhere a line per hit: its score, or the date that it is sorted by;
    its path and its caption, between tabs.
    """
    from indexer.search.explanation import format_reranking
    from indexer.search.query_syntax import format_terms

    if as_json:
        write_json(results_to_json(terms, page, results))
        return
    _print_notes(terms, page, results)
    # a reranker may put weak hits alone on a page
    has_tail = results.matches and (results.num_leading or not results.reranking)
    if not sys.stdout.isatty():
        for hit in results.hits:
            measure = _format_date(hit, page["sort"])
            if measure is None:
                measure = str(hit.score) if terms else ""  # no query, no score
            print_row((measure, _format_path(hit), _format_caption(hit)))
        if results.reranking and results.reranking.seen:
            reranked = format_reranking(results.reranking, with_model=True)
            print_note(f"{reranked[0].upper()}{reranked[1:]}.")
        if has_tail and (num_weak := len(results) - results.num_leading):
            print_note(
                f"The last {num_weak} are less likely."
                if num_weak > 1
                else "The last one is less likely."
            )
        return
    first_weak = page["offset"] + results.num_leading + 1 if has_tail else 0
    _print_table(results, page["offset"], page["sort"], first_weak=first_weak, verbose=verbose)
    more = f"; next page: --offset {page['offset'] + page['limit']}" if results.has_more else ""
    query = f" for {format_terms(terms)}" if len(terms) > 1 else ""
    reranked = (
        f"; {format_reranking(results.reranking, with_model=True)}"
        if results.reranking and results.reranking.seen
        else ""
    )
    print_note(f"{len(results.hits)} hits{query} in {results.took_ms:.0f} ms{reranked}{more}")


def _print_notes(
    terms: Sequence[QueryTerm], page: Mapping[str, Any], results: SearchResults
) -> None:
    """Say what is special about the results."""
    from indexer.search.explanation import format_removed

    if not results.hits:
        asked = terms or page["filters"]
        weaker = page["min_strength"] and not results.matches
        found = "Nothing as strong as that was found." if weaker else "Nothing was found."
        print_note(found if asked else "The collection is empty.")
    elif terms and all(term.weight < 0 for term in terms):
        print_note("The query says only what not to find; this is what remains:")
    elif results.matches is False:
        print_note("Nothing here matches well; closest:")
    elif terms and results.matches is None and page["min_strength"]:
        print_note("How strong these matches are is not known; none was left out.")
    if terms and results.total is not None:
        print_note(_describe_sorted(results))
    if results.hint:
        print_note(results.hint)
    if results.reranking and results.reranking.note:
        print_note(results.reranking.note)
    if results.hits and (removed := format_removed(results.hits[0].explanation)):
        print_note(removed)


def results_to_json(
    terms: Sequence[QueryTerm], page: Mapping[str, Any], results: SearchResults
) -> dict[str, Any]:
    """The object that `search --json` prints."""
    from indexer.search.query_syntax import format_term

    return {
        "query": {
            "parts": list(map(format_term, terms)),
            "where": {key: wanted.to_value() for key, wanted in page["filters"].items()},
            "limit": page["limit"],
            "offset": page["offset"],
            "sort": page["sort"],
        },
        "took_ms": results.took_ms,
        "matches": results.matches,
        "more": results.has_more,
        "total": results.total,
        "num_strong": results.num_strong,
        "hint": results.hint or None,
        "reranking": asdict(results.reranking) if results.reranking else None,
        "hits": [hit_to_json(hit) for hit in results.hits],
    }


def hit_to_json(hit: Hit) -> dict[str, Any]:
    paths = hit.payload.get("paths", [])
    return {
        "id": hit.id,
        "score": hit.score,
        "strength": hit.strength,
        "match": hit.match,
        "path": paths[0] if paths else None,
        "paths": paths,
        "payload": hit.payload,
        "explanation": asdict(hit.explanation),
        "why": hit.why,
        "folded": list(hit.duplicates),
        "query_match": hit.query_match,
    }


def _describe_sorted(results: SearchResults) -> str:
    """Say which hits were sorted."""
    hits = pluralize(results.total or 0, "likely hit" if results.matches else "hit")
    best = "" if results.matches else "the best "
    return f"Sorted: {best}{hits}. Weaker ones are left out."


def _print_table(
    results: SearchResults, offset: int, sort: SortOrder, *, first_weak: int = 0, verbose: bool
) -> None:
    """`first_weak` is the number of the hit from which on all are weak; 0: there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", style="dim")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    best = max((hit.score for hit in results.hits), default=1.0)
    for number, hit in enumerate(results.hits, offset + 1):
        if number == first_weak:
            table.add_row("", "", "", Text("less likely", style="dim"))
        text = Text(_format_path(hit), style="bold")
        for line in _detail_lines(hit, verbose):
            text.append(f"\n{line}", style="dim not bold")
        date = _format_date(hit, sort)
        measure = format_bar(hit.score, best) if date is None else date[:10]
        table.add_row(str(number), measure, hit.match or "", text)
    Console(highlight=False, emoji=False, markup=False).print(table)


def format_bar(score: float, best: float) -> str:
    """`score` as a bar that is full for the best hit; "" where nothing has a score."""
    if best <= 0:
        return ""
    filled = round(BAR_WIDTH * max(0.0, min(1.0, score / best)))
    return "█" * filled + "░" * (BAR_WIDTH - filled)


def _detail_lines(hit: Hit, verbose: bool) -> list[str]:
    from indexer.search.explanation import format_explanation

    lines = [QUERY_MATCHES[hit.query_match]] if hit.query_match else []
    lines += [caption] if (caption := _format_caption(hit)) else []
    if hit.duplicates:
        verb = "looks" if len(hit.duplicates) == 1 else "look"
        lines.append(f"and {len(hit.duplicates)} that {verb} the same")
    if verbose:
        lines.append(f"id {hit.id}")
        lines += [replace_unprintable(path) for path in hit.payload.get("paths", [])[1:]]
        lines += map(replace_unprintable, format_explanation(hit.explanation))
    return lines


def _format_date(hit: Hit, sort: SortOrder) -> str | None:
    """The date that hits are sorted by, as exact as it is known, "" for an undated one; None where
    they are sorted by something else."""
    from indexer.ingest.time_and_place import get_date
    from indexer.search.sorting import DATE_ORDERS

    return get_date(hit.payload, DATE_ORDERS[sort][0]) if sort in DATE_ORDERS else None


def _format_path(hit: Hit) -> str:
    paths = hit.payload.get("paths") or [hit.id]
    return replace_unprintable(paths[0])


def _format_caption(hit: Hit) -> str:
    """The caption that has words of the query, else the first one."""
    found = (r.text for p in hit.explanation.parts for r in p.reasons if r.kind == "caption")
    captions = [c["text"] for c in hit.payload.get("captions") or []]
    text = next(filter(None, found), None) or next(iter(captions), hit.payload.get("text", ""))
    return replace_unprintable(" ".join(text.split()))[:200]
