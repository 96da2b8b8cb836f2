"""`status`, `models` and `config show`: what there is, told without a store where possible."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from embedder.cli.console import replace_unprintable, write_json
from embedder.cli.output import format_bytes, print_fields, print_table
from indexer.cli import _options
from indexer.stores.connection import masked

if TYPE_CHECKING:
    from indexer.collection import Summary
    from indexer.config import Config

app = typer.Typer()
config_app = typer.Typer(help="Show the settings in force.", no_args_is_help=True)
app.add_typer(config_app, name="config")

STATUS_EXAMPLES = """
Examples:

  indexer status
  indexer status --collection family --json
"""
MODELS_EXAMPLES = """
Examples:

  indexer models
  indexer models --json
"""
CONFIG_EXAMPLES = """
Examples:

  indexer config show
  POLYLENS_BATCH=64 indexer config show --json
"""


@app.command(epilog=STATUS_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def status(
    config: Config,
    as_json: _options.Json = False,
) -> None:
    """Show a collection: its points, its model, its size on disk, its last ingest."""
    from indexer.cli._catalog_summary import count_kinds, read_roots
    from indexer.collection import summary
    from indexer.places import place_of

    found = summary(config)
    points = found.points if found.points is not None else _count_points(config)
    kinds = count_kinds(found.index)
    if as_json:
        write_json(
            {
                "collection": found.name,
                "store": masked(config.store),
                "path": str(found.path),
                "points": points,
                "kinds": kinds,
                "tenant": config.tenant,
                "roots": read_roots(found.index),
                "model": found.card.name,
                "card": asdict(found.card),
                "bytes_on_disk": found.bytes_on_disk,
                "created": found.created,
                "ingested": found.ingested,
                "old_model": found.old.card.name if found.old else None,
                "building": _describe_build(found),
                "collections": place_of(config).names(),
            }
        )
        return
    _print_status(config, found, points, kinds)


def _print_status(
    config: Config, found: Summary, points: int, kinds: dict[str, int] | None
) -> None:
    from indexer.cli._catalog_summary import read_roots

    many = ", ".join(f"{count} {kind}" for kind, count in (kinds or {}).items())
    print_fields(
        {
            "collection": found.name,
            "store": masked(config.store),
            **({"tenant": config.tenant} if config.tenant else {}),
            "from": replace_unprintable(", ".join(read_roots(found.index))) or "nothing yet",
            "points": f"{points} ({many})" if many else str(points),
            "model": f"{found.card.name}, revision {found.card.revision}, {found.card.dim} numbers",
            "on disk": f"{format_bytes(found.bytes_on_disk)} in {found.path}",
            "created": found.created,
            "last ingest": found.ingested or "never finished",
            **_other_indexes(found, points),
        }
    )


def _describe_build(found: Summary) -> dict[str, object] | None:
    """The index that is half built: its model, and its points so far."""
    from indexer.cli._catalog_summary import count_kinds

    begun = found.building
    if begun is None:
        return None
    counts = count_kinds(begun.folder) or {}
    return {"model": begun.card.name, "points": sum(counts.values()) if counts else None}


def _other_indexes(found: Summary, points: int) -> dict[str, str]:
    """The indexes that are not in use."""
    told = {}
    if found.old:
        told["old index"] = f"{found.old.card.name}; indexer reindex --rollback, or --forget"
    begun = _describe_build(found)
    if begun:
        done = begun["points"]
        share = f", {100 * done // points} %" if isinstance(done, int) and points else ""
        told["reindexing"] = f"to {begun['model']}{share}"
    return told


def _count_points(config: Config) -> int:
    """Ask the store: it is on a server, or was not closed."""
    from indexer.collection import Collection

    with Collection.open(config) as opened:
        return opened.store.count()


@app.command(epilog=MODELS_EXAMPLES)
@_options.takes_flags("store", "collection", "model")
def models(
    flags: dict[str, Any],
    as_json: _options.Json = False,
) -> None:
    """List the models that can be named with --model; with --model, that one."""
    from embedder.cli.program import print_models

    _options.resolve_flags(**flags)
    print_models(flags["model"], as_json=as_json)


@config_app.command(epilog=CONFIG_EXAMPLES)
@_options.takes_flags("store", "collection", "model")
def show(
    flags: dict[str, Any],
    as_json: _options.Json = False,
) -> None:
    """Show each setting, its value, and where it came from; secrets are masked."""
    from indexer.config import SETTINGS, load_settings

    _options.resolve_flags(**flags)
    rows = [
        (s.name, "***" if SETTINGS[s.name].secret and s.value else s.value, s.origin)
        for s in load_settings(flags, warn=lambda _: None)
    ]
    rows = [(name, masked(v) if name == "store" else v, origin) for name, v, origin in rows]
    if as_json:
        write_json({name: {"value": v, "origin": origin} for name, v, origin in rows})
        return
    print_table(
        ("setting", "value", "from"),
        [
            (name, "" if v is None else replace_unprintable(str(v)), origin)
            for name, v, origin in rows
        ],
    )
