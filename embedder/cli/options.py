"""The options with which commands choose a model and how it is loaded."""

from __future__ import annotations

from typing import Annotated

import typer

from embedder.families.registry import list_models

MODEL_PANEL = "The model"
MODEL_API_KEY_VARIABLE = "POLYLENS_MODEL_API_KEY"


def complete_model_name(incomplete: str) -> list[str]:
    """What the shell offers for --model."""
    try:
        return [card.name for card in list_models() if card.name.startswith(incomplete)]
    except Exception:  # a shell has no place for an error
        return []


Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER|URL",
        help="The model: a name, a folder, or a server's URL.",
        autocompletion=complete_model_name,
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where it runs: cpu, cuda, or several as cuda:0,cuda:1.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Its numbers: bfloat16, float16 or float32.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="NUMBER",
        help="Cut vectors to this length, where the model was trained for it.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PixelBudget = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="NUMBER",
        help="The most pixels a picture may cost: fewer are quicker, and see less.",
        rich_help_panel=MODEL_PANEL,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that comes with a model's weights.",
        rich_help_panel=MODEL_PANEL,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--model-api-key",
        metavar="KEY",
        envvar=MODEL_API_KEY_VARIABLE,
        help="The key for a server's model.",
        rich_help_panel=MODEL_PANEL,
    ),
]
