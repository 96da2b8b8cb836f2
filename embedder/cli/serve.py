"""`embedder serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from embedder.api import load
from embedder.cli import options
from embedder.cli.console import print_note
from embedder.families.registry import DEFAULT_MODEL
from embedder.types import Settings

SERVE_EXAMPLES = """
Examples:

  embedder serve
  embedder serve --model intfloat/mmE5-mllama-11b-instruct --device cuda
  POLYLENS_SERVE_API_KEY=secret embedder serve --host 0.0.0.0 --port 80
  indexer ingest ~/Pictures --model http://localhost:8100/v1
"""
SERVE_API_KEY_VARIABLE = "POLYLENS_SERVE_API_KEY"


@options.takes_model_settings()
def serve(
    settings: Settings,
    model: options.Model = DEFAULT_MODEL,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 8100,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", envvar=SERVE_API_KEY_VARIABLE, help="The key that clients must send."
        ),
    ] = None,
    served_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of the model for clients.")
    ] = None,
    max_batch: Annotated[int, typer.Option(metavar="N", min=1, help="Inputs per batch.")] = 32,
    max_queue: Annotated[int, typer.Option(metavar="N", min=1, help="Inputs that may wait.")] = 512,
    max_wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Seconds an input may wait.")
    ] = 60,
    max_bytes: Annotated[int, typer.Option(metavar="N", min=1, help="Bytes per request.")] = 32
    << 20,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pixels per image.")
    ] = 50_000_000,
    max_inputs: Annotated[int, typer.Option(metavar="N", min=1, help="Inputs per request.")] = 256,
    max_characters: Annotated[
        int, typer.Option(metavar="N", min=1, help="Characters per text.")
    ] = 100_000,
) -> None:
    """Serve a model to other programs, with the API of OpenAI's embeddings."""
    from embedder.server.limits import ServerLimits
    from embedder.server.run import run_server
    from embedder.server.service import Service

    limits = ServerLimits(max_bytes, max_pixels, max_inputs, max_characters, max_queue, max_wait)
    run_server(
        lambda: load(model, settings),
        Service(limits, max_batch=max_batch, name=served_name),
        host=host,
        port=port,
        api_key=api_key or None,
        notify=print_note,
    )
