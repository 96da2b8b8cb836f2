"""`reindex`: another model for a collection, without a search that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.console import FAILED, INTERRUPTED, SKIPPED, note, write_json
from indexer.cli import options, reading

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.ingest import IngestOptions
    from indexer.places import Place
    from indexer.reindex import ReindexReport

app = typer.Typer()

REINDEX_EXAMPLES = """
Examples:

  indexer reindex --model Qwen/Qwen3-VL-Embedding-2B --device cuda
  indexer reindex --model ~/polylens/runs/birds --collection family
  indexer reindex --rollback
  indexer reindex --forget

Searches go on in the old index until the new one is whole and checked; ingest and prune must wait.
Ctrl-C saves and stops, and the same command goes on. Give --manifest, --frames and --follow-links
as with ingest. Files that cannot be used are skipped and listed: exit status 3; where the new index
would lack files that the old one has, the old one stays in use: exit status 1.
"""


@app.command(epilog=REINDEX_EXAMPLES)
def reindex(
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Switch back to the old index.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Delete the old index, and one that is half built.")
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Do without folders and files that are missing."),
    ] = False,
    max_bytes: reading.MaxBytes = None,
    max_pixels: reading.MaxPixels = None,
    batch: reading.Batch = None,
    workers: reading.Workers = None,
    manifest: reading.Manifest = None,
    device: reading.Device = None,
    dim: reading.Dim = None,
    pixel_budget: reading.PixelBudget = None,
    trust_remote_code: reading.TrustRemoteCode = None,
    frames: reading.Frames = False,
    follow_links: reading.FollowLinks = False,
    quiet: reading.Quiet = False,
    verbose: options.Verbose = False,
    store: options.Store = None,
    collection: options.Collection = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection's index anew with another model, then switch to it; the old one is kept."""
    from indexer.decode import Limits
    from indexer.ingest import IngestOptions

    config = options.settings(
        store=store,
        collection=collection,
        model=model,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        batch=batch,
        workers=workers,
        device=device,
        dim=dim,
        pixel_budget=pixel_budget,
        trust_remote_code=trust_remote_code,
    )
    if rollback and forget:
        raise typer.BadParameter("--rollback needs the old index, and --forget deletes it")
    if rollback or forget:
        (_rollback if rollback else _forget)(config, as_json=as_json)
        return
    if config.model is None:
        raise typer.BadParameter("name the new model: --model NAME (embedder models lists names)")
    how = IngestOptions(
        Limits(config.max_bytes, config.max_pixels),
        config.batch,
        config.threads,
        frames=frames,
        manifest=manifest,
        follow_links=follow_links,
    )
    report = _run(config, how, allow_missing=allow_missing, quiet=quiet)
    _show(config, report, as_json=as_json, verbose=verbose)
    if report is not None:
        _end(report)


def _run(
    config: Config, how: IngestOptions, *, allow_missing: bool, quiet: bool
) -> ReindexReport | None:
    from indexer.cli.interrupt import stopping
    from indexer.cli.opening import collection_card
    from indexer.cli.progress import progress
    from indexer.models import model_for_ingest
    from indexer.reindex import reindex as build

    collection_card(config)  # say so if there is none, before a model is looked at
    embedder = model_for_ingest(config, None)
    with stopping() as stop, progress(quiet=quiet) as show:
        return build(
            config, embedder, how, allow_missing=allow_missing, on_progress=show, stop=stop
        )


def _show(config: Config, report: ReindexReport | None, *, as_json: bool, verbose: bool) -> None:
    from indexer.cli.losses import print_reindex, reindex_json

    if report is None:
        _print_nothing(config, as_json=as_json)
        return
    if as_json:
        write_json(reindex_json(report))
    else:
        print_reindex(config, report, verbose=verbose)
    if report.switched:
        warn_of_settings(report.after.name)


def _print_nothing(config: Config, *, as_json: bool) -> None:
    from indexer.cli.opening import collection_card

    card = collection_card(config)
    if as_json:
        write_json({"switched": False, "from": card.name, "to": card.name, "nothing_to_do": True})
    else:
        print(f"collection {config.collection!r} has {card.name} already: there is nothing to do")


def _end(report: ReindexReport) -> None:
    """The exit status, and what to type next where the old index is still in use."""
    if report.ingest.interrupted:
        note("the old index is still in use; type the command again to go on")
        raise typer.Exit(INTERRUPTED)
    if not report.switched:
        note(
            "the old index is still in use, and the new one is kept. Mend the files (or name their "
            "captions with --manifest, their folders with indexer ingest), then type the command "
            "again; or do without them: --allow-missing"
        )
        raise typer.Exit(FAILED)
    if report.ingest.skipped:
        raise typer.Exit(SKIPPED)


def _rollback(config: Config, *, as_json: bool) -> None:
    with _held(config) as place:
        card = place.rollback(config.collection)
    if as_json:
        write_json({"collection": config.collection, "model": card.name})
    else:
        print(f"collection {config.collection!r} has {card.name} again")
        note("what was ingested since the switch is not in it: indexer ingest FOLDER")
    warn_of_settings(card.name)


def _forget(config: Config, *, as_json: bool) -> None:
    with _held(config) as place:
        gone = [card.name for card in place.forget(config.collection)]
    if as_json:
        write_json({"collection": config.collection, "deleted": gone})
    else:
        print(f"deleted: the index of {', '.join(gone)}" if gone else "there was nothing to delete")


@contextmanager
def _held(config: Config) -> Iterator[Place]:
    """The collection's place, the collection held for writing; raises `CollectionError` where there
    is none."""
    from indexer.collection import writing
    from indexer.places import place_of

    place = place_of(config)
    if place.building(config.collection) is None:
        place.indexes(config.collection)
    with writing(place.folder(config.collection)):
        yield place


def warn_of_settings(name: str) -> None:
    """A model that the settings name for every command would be refused from now on."""
    from indexer.config import settings

    for setting in settings():
        if setting.name == "model" and setting.value not in (None, name):
            note(f"the settings ({setting.origin}) still name {setting.value!r} as the model")
