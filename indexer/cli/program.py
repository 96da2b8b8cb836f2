"""Puts the commands together, and turns what they raise into messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from embedder.console import run, show_version
from embedder.errors import EmbedderError
from indexer.cli import (
    collecting,
    finding,
    ingesting,
    moving,
    planning,
    reindexing,
    showing,
    upkeep,
)
from indexer.config import resolve
from indexer.errors import IndexerError

HELP = """
Search your own pictures and texts: in any language, by words, by a picture, or by both.

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
for group in (ingesting, reindexing, finding, showing, collecting, moving, upkeep, planning):
    app.add_typer(group.app)


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """What stands before the command's name. `embedder.console.run` looks for --debug itself."""


def main() -> None:
    """The console script."""
    sys.exit(run(app, "indexer", (IndexerError, EmbedderError), _debug))


def _debug() -> bool:
    try:
        return resolve().debug
    except IndexerError:
        return False
