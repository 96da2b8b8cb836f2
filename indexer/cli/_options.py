"""The options of `indexer`, made from the settings table, and the settings they come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from embedder.cli.console import (
    Command,
    complete_model_name,
    inject,
    make_option,
    print_note,
    set_quiet,
)
from embedder.settings import parse_bool
from indexer.config import SETTINGS, WORKERS, Config, load_config
from indexer.errors import ConfigError

PANEL = "Options of every command"
SHARED = ("store", "collection", "tenant", "model", "allow_model_hosts")
READING = ("max_bytes", "max_pixels", "batch", "workers")
EMBEDDING = ("device", "dim", "pixel_budget", "quantize", "trust_remote_code")
LAYOUT = ("profile", "shards", "replicas")
RERANKING = ("rerank_depth", "reranker_pixel_budget")


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


Json = Annotated[bool, Option("--json", help="Print one JSON object.", rich_help_panel=PANEL)]
Verbose = Annotated[bool, Option("--verbose", "-v", help="Show more.")]
Quiet = Annotated[
    bool, Option("--quiet", "-q", help="Print results and errors only.", callback=set_quiet)
]
DryRun = Annotated[bool, Option("--dry-run", help="Show what would be done; do nothing.")]


def takes_ingest_options(command: Command) -> Command:
    """A decorator for what reads sources: the command gets `ingest_options`, a dict."""
    return inject("ingest_options", _build_ingest_options)(command)


def _build_ingest_options(
    manifest: Annotated[
        Path | None,
        Option(metavar="PATH", help="A CSV or JSONL file with captions for the images."),
    ] = None,
    frames: Annotated[
        bool, Option("--frames", help="Embed several frames of an animation.")
    ] = False,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow links to folders.")
    ] = False,
) -> dict[str, Any]:
    return {"manifest": manifest, "embed_frames": frames, "follow_links": follow_links}


def takes_config(*names: str) -> Callable[[Command], Command]:
    """A decorator: the command has the flags of the settings `names`, and gets `config`."""
    return inject("config", resolve_flags, {name: _annotate(name) for name in names})


def takes_flags(*names: str) -> Callable[[Command], Command]:
    """The same for a command that resolves the settings itself: it gets `flags`, a dict."""
    return inject("flags", dict, {name: _annotate(name) for name in names})


def resolve_flags(*, quiet: bool = False, **flags: object) -> Config:
    """The settings. A wrong flag is wrong usage; a wrong value elsewhere is a `ConfigError`.

    Warnings about old names go to stderr, but not with `quiet`.
    """
    load_config(warn=(lambda _: None) if quiet else print_note)
    try:
        return load_config(flags, warn=lambda _: None)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _annotate(name: str) -> Any:
    """The annotation of a setting's parameter; its value is parsed with those of other sources."""
    row = WORKERS if name == "workers" else SETTINGS[name]
    if row.parse is parse_bool:
        flag = name.replace("_", "-")
        both = f"--{flag}" if row.default is False else f"--{flag}/--no-{flag}"
        return Annotated[bool | None, make_option(row, both)]
    names = ("--allow-model-host",) if name == "allow_model_hosts" else ()
    keywords: dict[str, Any] = {"rich_help_panel": PANEL} if name in SHARED else {}
    if name in COMPLETIONS:
        keywords["autocompletion"] = COMPLETIONS[name]
    return Annotated[str | None, make_option(row, *names, **keywords)]


COMPLETIONS = {"collection": complete_collection, "model": complete_model_name}
