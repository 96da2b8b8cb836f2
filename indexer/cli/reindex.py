"""`reindex`: another model for a collection, without a search that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import FAILED, INTERRUPTED, SKIPPED, print_note, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.ingest.types import IngestOptions
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
@_options.takes_config(*_options.READING, *_options.EMBEDDING, "store", "collection", "model")
def reindex(
    config: Config,
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
    manifest: _options.Manifest = None,
    frames: _options.Frames = False,
    follow_links: _options.FollowLinks = False,
    quiet: _options.Quiet = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Make a collection's index anew with another model, then switch to it; the old one is kept."""
    from embedder.images.decode import DecodeLimits
    from indexer.ingest.types import IngestOptions

    if rollback and forget:
        raise typer.BadParameter("--rollback needs the old index, and --forget deletes it")
    if rollback or forget:
        (_rollback if rollback else _forget)(config, as_json=as_json)
        return
    if config.model is None:
        raise typer.BadParameter("name the new model: --model NAME (embedder models lists names)")
    ingest_options = IngestOptions(
        limits=DecodeLimits(config.max_bytes, config.max_pixels),
        batch_size=config.batch,
        decode_threads=config.decode_threads,
        embed_frames=frames,
        manifest=manifest,
        follow_links=follow_links,
    )
    report = _run_reindex(config, ingest_options, allow_missing=allow_missing, quiet=quiet)
    _output_report(config, report, as_json=as_json, verbose=verbose)
    if report is not None:
        _exit_with_status(report)


def _run_reindex(
    config: Config, ingest_options: IngestOptions, *, allow_missing: bool, quiet: bool
) -> ReindexReport | None:
    from indexer.cli._interrupt import stop_on_signal
    from indexer.cli._open import read_collection_card
    from indexer.cli._progress import show_progress
    from indexer.models import model_for_ingest
    from indexer.reindex import reindex as build

    read_collection_card(config)  # say so if there is none, before a model is looked at
    embedder = model_for_ingest(config, None)
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        return build(
            config,
            embedder,
            ingest_options,
            allow_missing=allow_missing,
            on_progress=show,
            stop=stop,
        )


def _output_report(
    config: Config, report: ReindexReport | None, *, as_json: bool, verbose: bool
) -> None:
    from indexer.cli._reindex_output import print_reindex, reindex_to_json

    if report is None:
        _print_nothing_to_do(config, as_json=as_json)
        return
    if as_json:
        write_json(reindex_to_json(report))
    else:
        print_reindex(config, report, verbose=verbose)
    if report.switched:
        warn_about_model_setting(report.after.name)


def _print_nothing_to_do(config: Config, *, as_json: bool) -> None:
    from indexer.cli._open import read_collection_card

    card = read_collection_card(config)
    if as_json:
        write_json({"switched": False, "from": card.name, "to": card.name, "nothing_to_do": True})
    else:
        print(f"collection {config.collection!r} has {card.name} already: there is nothing to do")


def _exit_with_status(report: ReindexReport) -> None:
    """The exit status, and what to type next where the old index is still in use."""
    if report.ingest.interrupted:
        print_note("the old index is still in use; type the command again to go on")
        raise typer.Exit(INTERRUPTED)
    if not report.switched:
        print_note(
            "the old index is still in use, and the new one is kept. Mend the files (or name their "
            "captions with --manifest, their folders with indexer ingest), then type the command "
            "again; or do without them: --allow-missing"
        )
        raise typer.Exit(FAILED)
    if report.ingest.skipped:
        raise typer.Exit(SKIPPED)


def _rollback(config: Config, *, as_json: bool) -> None:
    with _open_for_writing(config) as place:
        card = place.rollback(config.collection)
    if as_json:
        write_json({"collection": config.collection, "model": card.name})
    else:
        print(f"collection {config.collection!r} has {card.name} again")
        print_note("what was ingested since the switch is not in it: indexer ingest FOLDER")
    warn_about_model_setting(card.name)


def _forget(config: Config, *, as_json: bool) -> None:
    with _open_for_writing(config) as place:
        gone = [card.name for card in place.forget(config.collection)]
    if as_json:
        write_json({"collection": config.collection, "deleted": gone})
    else:
        print(f"deleted: the index of {', '.join(gone)}" if gone else "there was nothing to delete")


@contextmanager
def _open_for_writing(config: Config) -> Iterator[Place]:
    """The collection's place, the collection held for writing; raises `CollectionError` where there
    is none."""
    from indexer.collection import writing
    from indexer.places import place_of

    place = place_of(config)
    if place.building(config.collection) is None:
        place.indexes(config.collection)
    with writing(place.folder(config.collection)):
        yield place


def warn_about_model_setting(name: str) -> None:
    """A model that the settings name for every command would be refused from now on."""
    from indexer.config import load_settings

    for setting in load_settings(warn=lambda _: None):
        if setting.name == "model" and setting.value not in (None, name):
            print_note(f"the settings ({setting.origin}) still name {setting.value!r} as the model")
