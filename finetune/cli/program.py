"""The program `finetune`: its commands, and the errors that it reports without a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from embedder.cli.console import print_version, run_program
from embedder.errors import EmbedderError
from finetune.cli import compare, evaluate, export, mine, pairs, synthesize, train
from finetune.errors import FinetuneError
from indexer.errors import IndexerError

HELP = """
Adapt an embedder to your own pictures and texts, and measure the improvement.

Results go to stdout, progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""
EXAMPLES = """
Examples:

  finetune pairs --from-collection --out pairs.jsonl --split 0.2
  finetune train pairs.train.jsonl --test pairs.test.jsonl --out runs/first
  finetune evaluate pairs.test.jsonl --model runs/first
"""

app = typer.Typer(help=HELP, epilog=EXAMPLES, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (pairs, mine, train, export, evaluate, compare, synthesize):
    app.add_typer(command.app)


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options before the command; `run_program` reads --debug itself."""


def main() -> None:
    """Run the program."""
    sys.exit(run_program(app, "finetune", (FinetuneError, IndexerError, EmbedderError)))
