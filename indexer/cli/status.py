"""`indexer status`, `models`, `doctor` and `config`: what there is, and whether it is in order."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from embedder.cli.console import (
    FAILED,
    name_commands,
    print_fields,
    print_line,
    print_table,
    write_json,
)
from embedder.hardware import format_bytes
from indexer.cli import _options
from indexer.paths import display_path

if TYPE_CHECKING:
    from indexer.collections.collection import Summary
    from indexer.collections.schema import TextIndexing
    from indexer.config import Config

app = typer.Typer()
config_app = typer.Typer(help="Show the settings in use.", no_args_is_help=True)
app.add_typer(config_app, name="config")

STATE_MARKS = {"ok": "ok", "note": "--", "problem": "!!"}
MAX_CATALOG_BYTES = 64 << 20  # counting a larger catalog would take too long

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
DOCTOR_EXAMPLES = """
Examples:

  indexer doctor
  indexer doctor --collection family --repair
"""
CONFIG_EXAMPLES = """
Examples:

  indexer config show
  POLYLENS_BATCH=64 indexer config show --json
"""


@app.command(epilog=STATUS_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def status(config: Config, as_json: _options.Json = False) -> None:
    """Show a collection: its points, its model, its size on disk, its last ingest."""
    from embedder.redaction import redact_secrets
    from indexer.collections import open_backend
    from indexer.collections.collection import OpenCollection, summarize
    from indexer.collections.model import find_changed_model, format_reindex_command
    from indexer.stores.qdrant.cluster import compute_write_consistency

    config = config.for_reading()
    found = summarize(config)
    points = found.points
    if points is None:  # it is on a server, or was not closed: ask the store
        with OpenCollection.open(config) as opened:
            points = opened.store.count()
    store, roots = redact_secrets(config.store), read_roots(found.index)
    kinds, building = count_kinds(found.index), _describe_build(found)
    changed = find_changed_model(found.card)
    if as_json:
        write_json(
            {
                "collection": found.name,
                "store": store,
                "path": str(found.path),
                "points": points,
                "kinds": kinds,
                "tenant": config.tenant,
                "roots": roots,
                "names": found.texts.names,
                "needs_update": found.texts.is_outdated,
                "model": found.card.name,
                "card": asdict(found.card),
                "needs_reindex": changed is not None,
                "bytes_on_disk": found.bytes_on_disk,
                "created": found.created,
                "ingested": found.ingested,
                "old_model": found.old.card.name if found.old else None,
                "building": building,
                "layout": asdict(found.layout) if open_backend(config).is_shared else None,
                "collections": open_backend(config).list_names(),
            }
        )
        return
    by_kind = ", ".join(
        f"{count} {kind.removesuffix('s') if count == 1 else kind}"
        for kind, count in (kinds or {}).items()
    )
    fields = {
        "collection": found.name,
        "store": store,
        **({"tenant": config.tenant} if config.tenant else {}),
        "from": ", ".join(roots) or "nothing yet",
        "points": f"{points} ({by_kind})" if by_kind else str(points),
        "model": f"{found.card.name}, revision {found.card.revision}, {found.card.dim} dimensions",
        "names": describe_texts(found.texts, can_ingest=changed is None),
        "on disk": f"{format_bytes(found.bytes_on_disk)} in {found.path}",
        "created": found.created,
        "last ingest": found.ingested or "never finished",
    }
    copies, needed = found.layout.replicas or 1, found.layout.write_consistency or 1
    if copies > 1:
        fields["copies"] = f"{copies}, of which a write needs {needed}"
        if needed > compute_write_consistency(copies):
            fields["copies"] += ": a lost node stops every ingest; indexer doctor --repair"
    if changed:
        command = name_commands(format_reindex_command(config, changed.name))
        fields["outdated"] = f"revision {changed.revision} is installed; type: {command}"
    if found.old:
        fields["old index"] = f"{found.old.card.name}; indexer reindex --rollback, or --forget"
    if building:
        done = building["points"]
        share = f", {100 * done // points} %" if isinstance(done, int) and points else ""
        fields["reindexing"] = f"to {building['model']}{share}"
    print_fields(fields)


def describe_texts(texts: TextIndexing, *, can_ingest: bool) -> str:
    """Whether names are searched, and what brings an index of an earlier version up to date, if an
    ingest can: with another version of the model, it first needs a reindex."""
    if texts.is_outdated:
        advice = "; indexer ingest FOLDER adds them" if can_ingest else ""
        return f"not searched in an index of an earlier version{advice}"
    return "searched by their words" if texts.names else "not searched; indexer ingest --names"


def _describe_build(found: Summary) -> dict[str, object] | None:
    """The index that is being built: its model, and its points so far."""
    if found.building is None:
        return None
    counts = count_kinds(found.building.folder) or {}
    return {"model": found.building.card.name, "points": sum(counts.values()) if counts else None}


@app.command(epilog=MODELS_EXAMPLES)
@_options.takes_flags("store", "collection", "model")
def models(flags: dict[str, Any], as_json: _options.Json = False) -> None:
    """List the models that --model can name; with --model, only that one."""
    from embedder.cli.program import print_models

    _options.resolve_flags(**flags)
    print_models(flags["model"], as_json=as_json)


def count_kinds(path: Path) -> dict[str, int] | None:
    """{"pictures": .., "passages": ..} of the index in `path`; None where counting is slow."""
    catalog = path / "catalogue.db"
    if not catalog.exists() or catalog.stat().st_size > MAX_CATALOG_BYTES:
        return None
    rows = _query_catalog(catalog, "SELECT sum(passages = 0), sum(passages) FROM contents")
    return {"pictures": rows[0][0] or 0, "passages": rows[0][1] or 0} if rows else None


def read_roots(path: Path) -> list[str]:
    """The folders and other sources of the index in `path`, as far as this machine knows."""
    rows = _query_catalog(path / "catalogue.db", "SELECT path FROM roots ORDER BY path")
    return [display_path(os.fsdecode(row[0])) for row in rows]


def _query_catalog(catalog: Path, query: str) -> list[tuple[Any, ...]]:
    mode = "mode=ro" if os.access(catalog.parent, os.W_OK) else "immutable=1"  # on a read-only disk
    try:
        with closing(sqlite3.connect(f"{catalog.absolute().as_uri()}?{mode}", uri=True)) as db:
            return db.execute(query).fetchall()
    except (ValueError, sqlite3.Error):
        return []


@app.command(epilog=DOCTOR_EXAMPLES)
@_options.takes_config("store", "collection", "model")
def doctor(
    config: Config,
    repair: Annotated[
        bool,
        Option("--repair", help="Repair what is damaged; what this replaces is kept in damaged/."),
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Check the installation, the collection and the model, and say how to fix each problem."""
    from indexer.doctor import run_checks

    checks = []
    for check in run_checks(config, repair=repair):
        checks.append(check)
        if not as_json:
            print_line(f"{STATE_MARKS[check.state]}  {check.name:<11} {check.detail}")
            if check.advice:
                print_line(f"    {'':<11} type: {name_commands(check.advice)}")
    ok = not any(check.state == "problem" for check in checks)
    if as_json:
        write_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    if not ok:
        raise typer.Exit(FAILED)


@config_app.command(epilog=CONFIG_EXAMPLES)
@_options.takes_flags("store", "collection", "model")
def show(flags: dict[str, Any], as_json: _options.Json = False) -> None:
    """Show each setting, its value, and where it came from; secrets are masked."""
    from indexer.config import load_settings

    _options.resolve_flags(**flags)
    rows = [(s.name, s.shown, s.origin) for s in load_settings(flags, warn=lambda _: None)]
    if as_json:
        write_json({name: {"value": v, "origin": origin} for name, v, origin in rows})
        return
    print_table(
        ("setting", "value", "from"),
        [
            (name, ", ".join(v) if isinstance(v, tuple) else "" if v is None else str(v), origin)
            for name, v, origin in rows
        ],
    )
