"""The options of `indexer`, made from the settings table, and the settings they come to."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from embedder.cli.console import print_note
from embedder.cli.options import Command, complete_model_name, inject, make_option
from indexer.config import SETTINGS, WORKERS, Config, load_config
from indexer.errors import ConfigError

PANEL = "Options of every command"
SHARED = ("store", "collection", "tenant", "model")
READING = ("max_bytes", "max_pixels", "batch", "workers")
EMBEDDING = ("device", "dim", "pixel_budget", "trust_remote_code")
LAYOUT = ("profile", "shards", "replicas")


def complete_collection(context: typer.Context, incomplete: str) -> list[str]:
    """The collections of the store that the line names, for the shell."""
    from dataclasses import replace

    from indexer.collections import open_backend

    try:
        config = load_config({"store": context.params.get("store")}, warn=lambda _: None)
        names = open_backend(
            replace(config, qdrant_retry_seconds=0.0, qdrant_timeout=2.0)
        ).list_names()
        return [name for name in names if name.startswith(incomplete)]
    except Exception:  # a shell cannot show an error
        return []


def _make_shared(name: str, **keywords: Any) -> Any:
    return make_option(SETTINGS[name], rich_help_panel=PANEL, **keywords)


Store = Annotated[str | None, _make_shared("store")]
Collection = Annotated[str | None, _make_shared("collection", autocompletion=complete_collection)]
Tenant = Annotated[str | None, _make_shared("tenant")]
Model = Annotated[str | None, _make_shared("model", autocompletion=complete_model_name)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show more.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; do nothing.")]
Manifest = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="A CSV or JSONL file with captions for the images."),
]
Frames = Annotated[bool, typer.Option("--frames", help="Embed several frames of an animation.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Follow links to folders.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST", help="Also fetch images that lists point to on this host."),
]


def takes_config(*names: str) -> Callable[[Command], Command]:
    """A decorator: the command has the flags of the settings `names`, and gets `config`."""
    return inject("config", {name: _annotate(name) for name in names}, resolve_flags)


def takes_flags(*names: str) -> Callable[[Command], Command]:
    """The same for a command that resolves the settings itself: it gets `flags`, a dict."""
    return inject("flags", {name: _annotate(name) for name in names}, dict)


@cache
def _print_once(message: str) -> None:
    """Commands with two stores resolve the settings twice."""
    print_note(message)


def resolve_flags(**flags: object) -> Config:
    """The settings; what is wrong in a flag is wrong usage, elsewhere a `ConfigError`."""
    load_config(warn=_print_once)
    try:
        return load_config(flags, warn=lambda _: None)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _annotate(name: str) -> Any:
    """The annotation of a setting's parameter; its value is parsed with those of other sources."""
    shared = {"store": Store, "collection": Collection, "tenant": Tenant, "model": Model}
    if name in shared:
        return shared[name]
    row = WORKERS if name == "workers" else SETTINGS[name]
    if row.default is False:
        return Annotated[bool | None, make_option(row, f"--{name.replace('_', '-')}")]
    return Annotated[str | None, make_option(row)]
