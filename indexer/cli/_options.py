"""The options that all commands share, and the settings they come to."""

from __future__ import annotations

from typing import Annotated

import typer

from embedder.cli.options import complete_model_name
from indexer.cli._completion import complete_collection
from indexer.config import Config, load_config

PANEL = "Options of every command"

Store = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|URL",
        help="Where collections are: a folder, or a Qdrant server's URL.",
        rich_help_panel=PANEL,
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The collection; 'default' where none is named.",
        autocompletion=complete_collection,
        rich_help_panel=PANEL,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER|URL",
        help="The model; the collection's own where none is named.",
        autocompletion=complete_model_name,
        rich_help_panel=PANEL,
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Whose points; everybody's where none is named.", rich_help_panel=PANEL
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        metavar="small|large|huge",
        help="How a new collection is kept on a server.",
        show_default="small",
    ),
]
Shards = Annotated[
    str | None, typer.Option(metavar="N", help="Shards of a new collection on a server.")
]
Replicas = Annotated[
    str | None, typer.Option(metavar="N", help="Copies of each shard, on as many servers.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")]


def resolve_flags(**flags: object) -> Config:
    """The settings in force; what is wrong in a flag is wrong usage, elsewhere a `ConfigError`."""
    from indexer.errors import ConfigError

    load_config()
    try:
        return load_config(flags)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
