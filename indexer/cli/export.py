"""`indexer export`: write points to a file or to stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from typer import Option

from embedder.cli.console import pluralize, print_note, write_json
from embedder.files import delete_stale_parts, replace_file
from indexer.cli import _options
from indexer.cli.search import Where
from indexer.errors import IndexerError

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

SEARCH_LIMIT, MAX_LIMIT = 100, 10**9
FORMATS = ("jsonl", "csv", "npz")
FORMAT_HELP = "The format. csv is for spreadsheets: an apostrophe stands before formulas."
EXAMPLES = """
Examples:

  indexer export > everything.jsonl
  indexer export --format npz --output vectors.npz
  indexer export --format csv --search "a blue bicycle -people" --limit 100 -o bicycles.csv
  indexer export --where kind=image --no-vectors | head
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config(*_options.SHARED)
def export(
    config: Config,
    form: Annotated[str, Option("--format", metavar="|".join(FORMATS), help=FORMAT_HELP)] = "jsonl",
    output: Annotated[
        Path | None, Option("--output", "-o", metavar="PATH", help="The file; stdout if not given.")
    ] = None,
    search: Annotated[
        list[str] | None,
        Option(metavar="QUERY", help="Only the hits of a search, as for indexer search."),
    ] = None,
    limit: Annotated[
        int | None,
        Option(
            "--limit",
            "-n",
            metavar="N",
            min=1,
            max=MAX_LIMIT,
            help="How many points.",
            show_default="100 of a search, else all",
        ),
    ] = None,
    where: Where = None,
    vectors: Annotated[bool, Option("--vectors/--no-vectors", help="With the vectors.")] = True,
    as_json: _options.Json = False,
) -> None:
    """Write points, their payloads and vectors, to a file or to stdout."""
    from indexer.api import Collection
    from indexer.export import export as write
    from indexer.export import iterate_all_rows, iterate_hit_rows
    from indexer.search.filter_checks import explain_filters
    from indexer.search.filter_syntax import parse_filters
    from indexer.search.query_syntax import load_term, parse_arguments

    if form not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}, not {form!r}")
    if as_json and output is None:
        raise typer.BadParameter("--json reports on a file; name it with --output")
    if form == "npz" and output is None and sys.stdout.isatty():
        raise typer.BadParameter("npz is no text for a terminal; name a file with --output")
    terms, filters = parse_arguments(search or []), parse_filters(where or [])
    if search and not terms:
        raise typer.BadParameter("--search says nothing to look for")
    with Collection(config) as collection:
        if terms:
            side = collection.card.image_side
            parts = [load_term(term, side) for term in terms]
            hits = collection.search(parts, filters=filters, limit=limit or SEARCH_LIMIT).hits
            rows = iterate_hit_rows(collection.opened.store, hits)
        else:
            rows = islice(iterate_all_rows(collection.opened.store, filters), limit)
        with _open_output(output) as out:
            count = write(rows, out, form, vectors=vectors)  # type: ignore[arg-type]
        hint = "" if count else explain_filters(collection.opened.store, filters, is_empty=True)
    if not count:
        print_note(f"Nothing was found. {hint}".rstrip())
    if as_json:
        write_json({"points": count, "format": form, "output": str(output)})
    elif output is not None:
        print_note(f"{pluralize(count, 'point')} written to {output}")


@contextmanager
def _open_output(output: Path | None) -> Iterator[IO[bytes]]:
    """stdout, or a file that appears complete or not at all."""
    if output is None:
        if sys.stdout.isatty():
            print_note("writing to the terminal; name a file with --output")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        delete_stale_parts(output.parent, f"{escape(output.name)}.*")
        with replace_file(output) as file:
            yield file
    except OSError as error:
        raise IndexerError(f"{output} cannot be written: {error.strerror or error}") from error
