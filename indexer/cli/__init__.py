"""The program `indexer`: its commands, and its exit codes."""

from __future__ import annotations

import sys

from embedder.cli.console import (
    confirm,
    make_app,
    run_program,
)
from embedder.errors import EmbedderError
from indexer.cli import collections, export, ingest, plan, reindex, search, status, tag, transfer
from indexer.config import load_config
from indexer.errors import IndexerError, UnnamedHostError

HELP = """
Search your own images and texts: in any language, by text, by an image, or by both.

Results go to stdout, progress and messages to stderr. Settings come from flags, POLYLENS_*
variables, .env and polylens.toml, in this order; see indexer config show.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 some files failed, 130 interrupted.
"""
EXAMPLES = """
Examples:

  indexer ingest ~/Pictures
  indexer search a blue bicycle
  indexer search lake -people sunset^2
  indexer search photo.jpg but at night
"""

COMMANDS = (ingest, reindex, search, tag, status, collections, transfer, export, plan)
"""The modules of the commands."""

app = make_app(HELP, EXAMPLES)
for command in COMMANDS:
    app.add_typer(command.app)


def main() -> None:
    """The console script."""
    errors = (IndexerError, EmbedderError)
    sys.exit(run_program(app, "indexer", errors, is_debug, should_retry=ask_about_model_host))


def ask_about_model_host(error: Exception) -> bool:
    """Ask at a terminal whether a host that only a collection names may be contacted."""
    if not (isinstance(error, UnnamedHostError) and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from indexer.collections.model_hosts import remember_url

    question = f"The collection's model is at {error.url}. Contact it, now and later?"
    if not confirm(question):
        return False
    remember_url(error.url)
    return True


def is_debug() -> bool:
    """Whether the settings ask for tracebacks."""
    try:
        return load_config(warn=lambda _: None).debug
    except IndexerError:
        return False
