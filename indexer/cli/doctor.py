"""`doctor` and `export`: look after a collection, and take it elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import FAILED, print_note, replace_unprintable, write_json
from indexer.cli import _options
from indexer.cli.search import FilterOption

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.doctor import Check
    from indexer.export import ExportRow
    from indexer.types import Query

app = typer.Typer()

STATE_MARKS = {"ok": "ok", "note": "--", "problem": "!!"}
FORMATS = ("jsonl", "csv", "npz")

DOCTOR_EXAMPLES = """
Examples:

  indexer doctor
  indexer doctor --collection family --repair
"""
EXPORT_EXAMPLES = """
Examples:

  indexer export > everything.jsonl
  indexer export --format npz --output vectors.npz
  indexer export --format csv --search "a red bicycle" --limit 100 -o bicycles.csv
  indexer export --where kind=image --no-vectors | head
"""


@app.command(epilog=DOCTOR_EXAMPLES)
@_options.takes_config("store", "collection", "model")
def doctor(
    config: Config,
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete what the next ingest makes anew, if broken.")
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Check the installation, the collection and the model, and say what to type where it hurts."""
    from indexer.doctor import run_checks

    checks = []
    for check in run_checks(config, repair=repair):
        checks.append(check)
        if not as_json:
            _print_check(check)
    well = not any(check.state == "problem" for check in checks)
    if as_json:
        write_json({"ok": well, "checks": [asdict(check) for check in checks]})
    if not well:
        raise typer.Exit(FAILED)


def _print_check(check: Check) -> None:
    print(f"{STATE_MARKS[check.state]}  {check.name:<11} {replace_unprintable(check.detail)}")
    if check.advice:
        print(f"    {'':<11} type: {replace_unprintable(check.advice)}")


@app.command(epilog=EXPORT_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def export(
    config: Config,
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="What to write.")
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="FilterOption to; stdout if not given."
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Only what a search finds; may be given again."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Of a search.")] = 100,
    where: FilterOption = None,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="With the vectors.")
    ] = True,
    as_json: _options.Json = False,
) -> None:
    """Write points, their payloads and vectors, to a file or to stdout."""
    from indexer.export import export as write
    from indexer.search.query_syntax import parse_filters, parse_parts
    from indexer.types import Query

    if form not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}, not {form!r}")
    if as_json and output is None:
        raise typer.BadParameter("--json tells of what was written to a file; name it: --output")
    query = Query(parse_parts(search or []), parse_filters(where or []), limit)
    with _open_rows(config, query) as rows, _open_output(output) as out:
        count = write(rows, out, form, vectors=vectors)  # type: ignore[arg-type]
    if as_json:
        write_json({"points": count, "format": form, "output": str(output)})
    elif output is not None:
        print_note(f"{count} points written to {replace_unprintable(str(output))}")


@contextmanager
def _open_rows(config: Config, query: Query) -> Iterator[Iterator[ExportRow]]:
    from indexer.cli._open import open_with_model
    from indexer.export import iterate_all_rows, iterate_hit_rows
    from indexer.search.searcher import Searcher

    needs_model = any(part.id is None for part in query.parts)
    opened, model = open_with_model(config, needs_model=needs_model)
    with opened:
        if query.parts:
            hits = Searcher(opened, model).search(query).hits
            yield iterate_hit_rows(opened.store, hits)
        else:
            yield iterate_all_rows(opened.store, query.filters)


@contextmanager
def _open_output(output: Path | None) -> Iterator[IO[bytes]]:
    """stdout, or a file that appears whole or not at all."""
    if output is None:
        if sys.stdout.isatty():
            print_note("writing to the terminal; name a file with --output")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    fresh = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            yield file
        fresh.replace(output)
    finally:
        fresh.unlink(missing_ok=True)
