"""The program `indexer`: its commands, and its exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from embedder.cli.console import print_version, run_program
from embedder.errors import EmbedderError
from indexer.cli import (
    collections,
    config,
    doctor,
    export,
    ingest,
    migrate,
    plan,
    prune,
    reindex,
    search,
    snapshot,
    status,
)
from indexer.config import load_config
from indexer.errors import IndexerError

HELP = """
Search your own images and texts: in any language, by text, by an image, or by both.

Results go to stdout, progress and messages to stderr. Settings come from flags, POLYLENS_*
variables, .env and polylens.toml, in this order; see indexer config show.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 some files were skipped, 130 interrupted.
"""
EXAMPLES = """
Examples:

  indexer ingest ~/Pictures
  indexer search "a red bicycle"
  indexer search beach -people 2:sunset
  indexer search photo.jpg "but at night"
"""

app = typer.Typer(help=HELP, epilog=EXAMPLES, no_args_is_help=True, pretty_exceptions_enable=False)
COMMANDS = (
    ingest,
    prune,
    reindex,
    search,
    status,
    config,
    collections,
    migrate,
    snapshot,
    doctor,
    export,
    plan,
)
for command in COMMANDS:
    app.add_typer(command.app)


@app.callback()
def program_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command's name; `run_program` of embedder.cli.console reads --debug."""


def main() -> None:
    """The console script."""
    sys.exit(run_program(app, "indexer", (IndexerError, EmbedderError), _is_debug))


def _is_debug() -> bool:
    try:
        return load_config(warn=lambda _: None).debug
    except IndexerError:
        return False
