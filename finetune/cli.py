"""The console script `finetune`: makes and adapts the models that the embedder loads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from embedder.console import note, run, show_version, write_json
from embedder.errors import EmbedderError

HELP = """
Make the models that the embedder loads.

Results go to stdout, progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage.
"""
EXAMPLES = """
Examples:

  finetune starter
"""
STARTER_EXAMPLES = """
Examples:

  finetune starter                                  beside the embedder, from scratch
  finetune starter --steps 200 --out /tmp/try       a short try, elsewhere
"""

app = typer.Typer(help=HELP, epilog=EXAMPLES, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """What stands before the command's name. `embedder.console.run` looks for --debug itself."""


@app.command(epilog=STARTER_EXAMPLES)
def starter(
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keeps what is fetched and computed.",
            show_default="~/.cache/polylens/starter",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the head is written.", show_default="beside the embedder"
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Fewer steps of training, for a try.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the starter model's head anew from registry packages, and print how good it is."""
    from finetune.starter.recipe import build

    cache = Path.home() / ".cache" / "polylens" / "starter"
    figures = build(work or cache, out, steps, note)
    if as_json:
        write_json({"figures": figures})
    else:
        print(figures, end="")


def main() -> None:
    """The console script."""
    sys.exit(run(app, "finetune", _mistakes()))


def _mistakes() -> tuple[type[Exception], ...]:
    from finetune.starter.sources import SourceError

    return (EmbedderError, SourceError)
