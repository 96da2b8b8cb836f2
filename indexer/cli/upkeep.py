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

from embedder.console import FAILED, note, shown, write_json
from indexer.cli import options
from indexer.cli.finding import Where

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.doctor import Check
    from indexer.export import Row
    from indexer.types import Query

app = typer.Typer()

MARKS = {"ok": "ok", "note": "--", "problem": "!!"}
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
def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete what the next ingest makes anew, if broken.")
    ] = False,
    store: options.Store = None,
    collection: options.Collection = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Check the installation, the collection and the model, and say what to type where it hurts."""
    from indexer.doctor import examine

    config = options.settings(store=store, collection=collection, model=model)
    checks = []
    for check in examine(config, repair=repair):
        checks.append(check)
        if not as_json:
            _print_check(check)
    well = not any(check.state == "problem" for check in checks)
    if as_json:
        write_json({"ok": well, "checks": [asdict(check) for check in checks]})
    if not well:
        raise typer.Exit(FAILED)


def _print_check(check: Check) -> None:
    print(f"{MARKS[check.state]}  {check.name:<11} {shown(check.detail)}")
    if check.advice:
        print(f"    {'':<11} type: {shown(check.advice)}")


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="What to write.")
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Where to; stdout if not given."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Only what a search finds; may be given again."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Of a search.")] = 100,
    where: Where = None,
    vectors: Annotated[
        bool, typer.Option("--vectors/--no-vectors", help="With the vectors.")
    ] = True,
    store: options.Store = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Write points, their payloads and vectors, to a file or to stdout."""
    from indexer.export import export as write
    from indexer.parts import parse_parts, parse_where
    from indexer.types import Query

    if form not in FORMATS:
        raise typer.BadParameter(f"--format is one of {', '.join(FORMATS)}, not {form!r}")
    if as_json and output is None:
        raise typer.BadParameter("--json tells of what was written to a file; name it: --output")
    config = options.settings(store=store, collection=collection, model=model, tenant=tenant)
    query = Query(parse_parts(search or []), parse_where(where or []), limit)
    with _rows(config, query) as rows, _writing(output) as out:
        count = write(rows, out, form, vectors=vectors)  # type: ignore[arg-type]
    if as_json:
        write_json({"points": count, "format": form, "output": str(output)})
    elif output is not None:
        note(f"{count} points written to {shown(str(output))}")


@contextmanager
def _rows(config: Config, query: Query) -> Iterator[Iterator[Row]]:
    from indexer.cli.opening import open_with_model
    from indexer.export import all_rows, found_rows
    from indexer.search import Searcher

    needs_model = any(part.id is None for part in query.parts)
    opened, model = open_with_model(config, needs_model=needs_model)
    with opened:
        if query.parts:
            hits = Searcher(opened, model).search(query).hits
            yield found_rows(opened.store, hits)
        else:
            yield all_rows(opened.store, query.where)


@contextmanager
def _writing(output: Path | None) -> Iterator[IO[bytes]]:
    """stdout, or a file that appears whole or not at all."""
    if output is None:
        if sys.stdout.isatty():
            note("writing to the terminal; name a file with --output")
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
