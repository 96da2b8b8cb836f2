"""`finetune export`: write a run's model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from embedder.cli import options
from embedder.cli.console import print_note, write_json
from finetune.cli._options import Json

app = typer.Typer()

EXAMPLES = """
Examples:

  finetune export runs/qwen --out exported/qwen
  finetune export runs/qwen --out exported/qwen-adapter --adapter
"""


@app.command(epilog=EXAMPLES)
def export(
    run: Annotated[Path, Argument(metavar="RUN", help="A run's folder.")],
    out: Annotated[Path, Option(metavar="FOLDER", help="Where to write it; a new folder.")],
    adapter: Annotated[
        bool, Option("--adapter", help="Write only the adapter, without its base.")
    ] = False,
    dtype: options.Dtype = None,
    as_json: Json = False,
) -> None:
    """Write a run's model for other programs: merged into its base, or only the adapter."""
    from embedder.vlm.loading import silence_transformers
    from finetune.training.export import export_adapter, export_merged

    with silence_transformers():
        if adapter:
            export_adapter(run, out)
        else:
            export_merged(run, out, dtype)
    if as_json:
        write_json({"out": str(out.absolute()), "merged": not adapter})
    else:
        print_note(f"wrote {out}; to use it, run: indexer reindex --model {out}")
