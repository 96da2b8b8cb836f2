"""`indexer reindex`: change a collection's model while searches continue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from embedder.cli.console import (
    FAILED,
    FILES_FAILED,
    INTERRUPTED,
    pluralize,
    print_line,
    print_list,
    print_note,
    print_problem,
    write_json,
)
from indexer.cli import _options
from indexer.cli.ingest import MAX_SHOWN, print_report
from indexer.config import Config

if TYPE_CHECKING:
    from indexer.collections import CollectionBackend
    from indexer.reindex import ReindexReport

app = typer.Typer()

EXAMPLES = """
Examples:

  indexer reindex --model Qwen/Qwen3-VL-Embedding-2B --device cuda
  indexer reindex --model ~/polylens/runs/birds --collection family
  indexer reindex --rollback
  indexer reindex --forget

Searches use the old index until the new one is complete and checked; ingest and prune must wait.
Ctrl-C saves and stops, and the same command continues. Give --manifest, --frames and --follow-links
as with ingest, which has the same exit status 3 for files that failed; if the new index would lack
files that the old one has, the old one stays in use: exit status 1.
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config(
    *_options.READING, *_options.EMBEDDING, "names", "store", "collection", "model"
)
@_options.takes_ingest_options
def reindex(
    config: Config,
    ingest_options: dict[str, Any],
    rollback: Annotated[bool, Option("--rollback", help="Switch back to the old index.")] = False,
    forget: Annotated[
        bool, Option("--forget", help="Delete the old index, and an unfinished new one.")
    ] = False,
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Continue without folders and files that are gone.")
    ] = False,
    quiet: _options.Quiet = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Build a collection's index again with another model, then switch to it; keep the old one."""
    from indexer.api import Collection
    from indexer.cli._progress import show_progress, stop_on_signal
    from indexer.collections.model import make_lazy_embedder
    from indexer.ingest.types import IngestOptions
    from indexer.reindex import reindex as build

    if rollback and forget:
        raise typer.BadParameter("--rollback needs the old index, and --forget deletes it")
    if rollback or forget:
        (_rollback if rollback else _forget)(config, as_json=as_json)
        return
    if config.model is None:
        raise typer.BadParameter("name the new model: --model NAME (embedder models lists names)")
    card = Collection(config).card  # a missing collection is an error before the model loads
    embedder = make_lazy_embedder(config, None)
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = build(
            config,
            embedder,
            IngestOptions.from_config(config, **ingest_options),
            allow_missing=allow_missing,
            on_progress=show,
            stop=stop,
        )
    if report is None:
        name = card.name
        if as_json:
            write_json({"switched": False, "from": name, "to": name, "nothing_to_do": True})
        else:
            print_line(f"collection {config.collection!r} has {name} already: nothing to do")
        return
    if as_json:
        write_json(reindex_to_json(report))
    else:
        print_reindex(config, report, verbose=verbose)
    if report.switched:
        warn_about_model_setting(report.after.name)
    _exit_with_status(report)


def reindex_to_json(report: ReindexReport) -> dict[str, object]:
    """The object that `reindex --json` prints."""
    losses = report.diff
    return {
        "switched": report.switched,
        "from": report.before.name,
        "to": report.after.name,
        "points": {"old": report.points[0], "new": report.points[1]},
        "checked": report.checked,
        "vanished": list(losses.vanished),
        "changed": list(losses.changed),
        "lost": [asdict(skipped) for skipped in losses.lost],
        "silent": list(losses.lost_captions),
        "ingest": asdict(report.ingest),
    }


def print_reindex(config: Config, report: ReindexReport, *, verbose: bool) -> None:
    """The counts on stdout; what the new index lacks, and what to type, on stderr."""
    from indexer.collections import open_backend
    from indexer.collections.collection import tenant_dir
    from indexer.ingest.pipeline import ERRORS_FILE

    found = open_backend(config).get_indexes(config.collection)
    index = tenant_dir((found.building or found.in_use).folder, config.tenant)
    print_report(report.ingest, index / ERRORS_FILE, verbose=verbose)
    losses = report.diff
    lost = [f"{s.path} ({s.reason}{f': {s.detail}' if s.detail else ''})" for s in losses.lost]
    for files, what in (
        (losses.vanished, "gone from the disk since they were indexed"),
        (losses.changed, "with other contents than when they were indexed"),
        (lost, "in the old index and not in the new one"),
        (losses.lost_captions, "without the captions that they had from a table"),
    ):
        limit = None if verbose else MAX_SHOWN
        print_list(f"{pluralize(len(files), 'file')} {what}:", files, limit, "--verbose lists them")
    old, new = report.points
    if report.switched:
        print_line(
            f"collection {config.collection!r} has {report.after.name} now: "
            f"{pluralize(new, 'point')}, {old:,} before; {report.checked} checked"
        )
        print_note("the old index is kept: indexer reindex --rollback, or --forget")


def _exit_with_status(report: ReindexReport) -> None:
    """The exit status, and the next command where the old index is still in use."""
    if report.ingest.interrupted:
        print_problem("the old index is still in use; run the command again to continue")
        raise typer.Exit(INTERRUPTED)
    if not report.switched:
        print_problem(
            "the old index is still in use, and the new one is kept. Repair the files (or name "
            "their captions with --manifest, their folders with indexer ingest), then run the "
            "command again; or continue without them: --allow-missing"
        )
        raise typer.Exit(FAILED)
    if report.ingest.failed:
        raise typer.Exit(FILES_FAILED)


def _rollback(config: Config, *, as_json: bool) -> None:
    from indexer.reindex import rollback

    with _open_for_writing(config):
        card = rollback(config)
    if as_json:
        write_json({"collection": config.collection, "model": card.name})
    else:
        print_line(f"collection {config.collection!r} has {card.name} again")
        print_note("it lacks what was ingested since the switch: indexer ingest FOLDER")
    warn_about_model_setting(card.name)


def _forget(config: Config, *, as_json: bool) -> None:
    with _open_for_writing(config) as place:
        gone = [card.name for card in place.delete_inactive(config.collection)]
    if as_json:
        write_json({"collection": config.collection, "deleted": gone})
    else:
        print_line(
            f"deleted: the index of {', '.join(gone)}" if gone else "there was nothing to delete"
        )


@contextmanager
def _open_for_writing(config: Config) -> Iterator[CollectionBackend]:
    """The collection's place, locked for writing; `CollectionError` where there is none."""
    from indexer.collections import open_backend
    from indexer.collections.collection import lock_for_writing

    place = open_backend(config)
    if place.get_build(config.collection) is None:
        place.get_indexes(config.collection)
    with lock_for_writing(place.local_dir(config.collection), needed=0):
        yield place


def warn_about_model_setting(name: str) -> None:
    """Every command would refuse a model that the settings still name."""
    from embedder.families.registry import expand_name
    from indexer.config import load_settings

    for setting in load_settings(warn=lambda _: None):
        if setting.name == "model" and expand_name(str(setting.value or name)) != name:
            print_note(f"the settings ({setting.origin}) still name {setting.shown!r} as the model")
