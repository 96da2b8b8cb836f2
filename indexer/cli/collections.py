"""`indexer collections`: list, create and delete them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    confirm,
    pluralize,
    print_line,
    print_note,
    print_table,
    write_json,
)
from embedder.redaction import redact_secrets
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.collections.collection import Summary
    from indexer.config import Config

app = typer.Typer()
collections_app = typer.Typer(help="List, create and delete collections.", no_args_is_help=True)
app.add_typer(collections_app, name="collections")

Name = Annotated[str, Argument(help="The collection.")]

LIST_EXAMPLES = """
Examples:

  indexer collections list
  indexer collections list --store http://localhost:6333 --tenants
"""
CREATE_EXAMPLES = """
Examples:

  indexer collections create family
  indexer collections create archive --model Qwen/Qwen3-VL-Embedding-2B --dim 1024
  indexer collections create archive --profile huge --shards 12 --replicas 2

indexer ingest creates a missing collection; this command lets you choose its layout first.
"""
DELETE_EXAMPLES = """
Examples:

  indexer collections delete family
  indexer collections delete shops --tenant acme --yes

Images and texts are not touched. With --tenant, only what belongs to that tenant alone is deleted.
"""


@collections_app.command("list", epilog=LIST_EXAMPLES)
@_options.takes_flags("store")
def list_(
    flags: dict[str, Any],
    tenants: Annotated[bool, Option("--tenants", help="Also count each tenant's points.")] = False,
    as_json: _options.Json = False,
) -> None:
    """List the collections of a store, with their points and models."""
    from indexer.collections.collection import list_collections

    config = _options.resolve_flags(**flags).for_reading()
    found = list_collections(replace(config, tenant=None))
    counted = {s.name: _count_tenants(config, s.name) if tenants else {} for s in found}
    if as_json:
        collections = [_summary_to_json(s, counted[s.name]) for s in found]
        write_json({"store": redact_secrets(config.store), "collections": collections})
        return
    if not found:
        print_note("there is no collection yet: indexer ingest FOLDER")
        return
    rows = [
        (s.name, "?" if s.points is None else str(s.points), s.card.name, s.ingested or "never")
        for s in found
    ]
    print_table(("collection", "points", "model", "last ingest"), rows)
    for name, points in counted.items():
        for tenant, count in points.items():
            print_line(f"{name}, tenant {tenant}: {count}")


@collections_app.command(epilog=CREATE_EXAMPLES)
@_options.takes_flags(
    "dim",
    "pixel_budget",
    "quantize",
    "trust_remote_code",
    "names",
    *_options.LAYOUT,
    "store",
    "model",
)
def create(flags: dict[str, Any], name: Name, as_json: _options.Json = False) -> None:
    """Create an empty collection, with the layout that a server will use."""
    from indexer.collections import open_backend
    from indexer.collections.collection import create_collection
    from indexer.collections.model import make_lazy_embedder

    config = _options.resolve_flags(collection=name, **flags)
    ignored = [f"--{option}" for option in _options.LAYOUT if flags[option]]
    if ignored and not open_backend(config).is_shared:
        raise typer.BadParameter(
            f"{', '.join(ignored)}: for a collection on a server, not in a folder"
        )
    card = make_lazy_embedder(config, None).card
    create_collection(config, card)
    if as_json:
        write_json({"collection": name, "model": card.name, "dim": card.dim})
    else:
        print_line(f"collection {name!r} created for {card.name} ({card.dim} dimensions)")


@collections_app.command(epilog=DELETE_EXAMPLES)
@_options.takes_flags("store", "tenant")
def delete(
    flags: dict[str, Any],
    name: Name,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: _options.Json = False,
) -> None:
    """Delete a collection: its points, and its files on this machine."""
    from indexer.collections.collection import OpenCollection, delete_collection, summarize

    config = _options.resolve_flags(collection=name, **flags)
    found = summarize(config)
    points = found.points
    if points is None:
        with OpenCollection.open(config) as opened:
            points = opened.store.count()
    what = f"tenant {config.tenant!r} of collection {name!r}" if config.tenant else repr(name)
    _confirm(f"Delete {what}, {pluralize(points, 'point')} made with {found.card.name}?", yes=yes)
    delete_collection(config)
    if as_json:
        write_json({"collection": name, "tenant": config.tenant, "deleted": points})
    else:
        print_line(
            f"deleted: {what}, {pluralize(points, 'point')}; no file that was indexed is touched"
        )


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can confirm here; if you are sure, add --yes")
    confirm(question, abort=True)


def _summary_to_json(found: Summary, tenants: dict[str, int]) -> dict[str, object]:
    return {
        "collection": found.name,
        "points": found.points,
        "model": found.card.name,
        "dim": found.card.dim,
        "created": found.created,
        "ingested": found.ingested,
        **({"tenants": tenants} if tenants else {}),
    }


def _count_tenants(config: Config, name: str) -> dict[str, int]:
    from indexer.collections.collection import OpenCollection
    from indexer.collections.model import forget_model
    from indexer.stores.base import TENANT_KEY

    plain = replace(forget_model(config), collection=name, tenant=None)
    with OpenCollection.open(plain) as opened:
        return dict(opened.store.facet(TENANT_KEY, limit=1000))
