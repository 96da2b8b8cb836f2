"""`starter`: makes the model that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedder.cli.console import print_note, write_json

app = typer.Typer()

STARTER_EXAMPLES = """
Examples:

  finetune starter                                  beside the embedder, from scratch
  finetune starter --steps 200 --out /tmp/try       a short try, elsewhere
"""


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
    from recipes.starter.pipeline import build_head

    cache = Path.home() / ".cache" / "polylens" / "starter"
    figures = build_head(work or cache, out, steps, print_note)
    if as_json:
        write_json({"figures": figures})
    else:
        print(figures, end="")
