"""`ingest` and `prune`: keep a collection in step with its folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.console import INTERRUPTED, SKIPPED, note, shown, write_json
from indexer.cli import options, reading

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.ingest import IngestOptions
    from indexer.types import IngestReport

app = typer.Typer()

DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; do nothing.")]

INGEST_EXAMPLES = """
Examples:

  indexer ingest ~/Pictures ~/Documents/notes
  indexer ingest /mnt/photos --prune --collection family
  indexer ingest scans --max-pixels 400M --max-bytes 1GB
  indexer ingest ~/Pictures --dry-run --json
  indexer ingest s3://bucket/photos 'train-{000..099}.tar' data.parquet
  indexer ingest https://example.org/list.csv --allow-host images.example.org
  indexer ingest /mnt/photos --store http://qdrant:6333 --workers ray://head:10001

Files that cannot be used are skipped, listed and counted: exit status 3. Ctrl-C stops after the
batch in hand, with everything saved: exit status 130.
"""
PRUNE_EXAMPLES = """
Examples:

  indexer prune --dry-run
  indexer prune --collection family --json

A folder that is missing or empty, as a disk that is not mounted is, keeps its points. What is at a
URL, in an archive or a table is not looked for: indexer ingest SOURCE --prune does that.
"""


@app.command(epilog=INGEST_EXAMPLES)
def ingest(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Folders, archives, tables; also by URL: s3://..."),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove points whose files are gone from the folders.")
    ] = False,
    dry_run: DryRun = False,
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
    allow_host: reading.AllowHost = None,
    quiet: reading.Quiet = False,
    verbose: options.Verbose = False,
    store: options.Store = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Index the pictures and texts of folders; what is unchanged costs next to nothing."""
    from indexer.decode import Limits
    from indexer.ingest import IngestOptions

    config = options.settings(
        store=store,
        collection=collection,
        model=model,
        tenant=tenant,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        batch=batch,
        workers=workers,
        device=device,
        dim=dim,
        pixel_budget=pixel_budget,
        trust_remote_code=trust_remote_code,
    )
    how = IngestOptions(
        Limits(config.max_bytes, config.max_pixels),
        config.batch,
        config.threads,
        prune,
        dry_run,
        frames,
        manifest,
        follow_links,
        tuple(allow_host or ()),
    )
    report, errors = run_ingest(config, folders, how, quiet=quiet)
    show_report(report, errors, as_json=as_json, verbose=verbose)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.skipped:
        raise typer.Exit(SKIPPED)


@app.command(epilog=PRUNE_EXAMPLES)
def prune(
    dry_run: DryRun = False,
    verbose: options.Verbose = False,
    store: options.Store = None,
    collection: options.Collection = None,
    tenant: options.Tenant = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Remove the points whose files are gone from the disk."""
    from indexer.cli.opening import open_with_model
    from indexer.prune import prune as prune_collection

    config = options.settings(store=store, collection=collection, model=model, tenant=tenant)
    opened, embedder = open_with_model(config, needs_model=False)
    with opened:
        report = prune_collection(opened, embedder, dry_run=dry_run)
    for root in report.absent:
        note(f"{shown(root)} is missing or empty; nothing under it was touched")
    if report.elsewhere:
        note(
            f"{report.elsewhere} paths at URLs, in archives and in tables were not looked for; "
            "indexer ingest SOURCE --prune does that"
        )
    if as_json:
        write_json(
            {
                "removed": report.removed,
                "paths": list(report.paths),
                "absent": list(report.absent),
                "elsewhere": report.elsewhere,
                "dry_run": dry_run,
            }
        )
        return
    for path in report.paths if verbose or dry_run else ():
        print(shown(path))
    would = "would be removed" if dry_run else "removed"
    print(f"{report.removed} {would} with {len(report.paths)} paths")


def run_ingest(
    config: Config, folders: Sequence[str | Path], how: IngestOptions, *, quiet: bool
) -> tuple[IngestReport, Path]:
    """Ingest with progress on stderr; the report, and where the skipped files are listed."""
    from indexer.cli.interrupt import stopping
    from indexer.cli.opening import embedder_for_ingest
    from indexer.cli.progress import progress
    from indexer.collection import Collection
    from indexer.ingest import ERRORS
    from indexer.ingest import ingest as ingest_folders
    from indexer.sources import Sources
    from indexer.workers.fleet import hired

    # a folder that is missing should not leave an empty collection
    Sources.open(folders, how.reading).require()
    embedder = embedder_for_ingest(config)
    with (
        _place(config, dry_run=how.dry_run) as place,
        Collection.open_or_create(place, embedder.card) as opened,
        stopping() as stop,
        progress(quiet=quiet) as show,
    ):
        with hired(place, opened.opened, folders, how) as fleet:
            report = ingest_folders(folders, opened, fleet or embedder, how, show, stop, fleet)
        return report, opened.index / ERRORS


@contextmanager
def _place(config: Config, *, dry_run: bool) -> Iterator[Config]:
    """Where to work: a dry run makes no collection, and looks at an empty one instead."""
    from indexer.cli.opening import exists

    if not dry_run or exists(config):
        yield config
        return
    with TemporaryDirectory(prefix="polylens-") as folder:
        yield replace(config, store=folder)


def show_report(report: IngestReport, errors: Path, *, as_json: bool, verbose: bool) -> None:
    """Print what an ingest did."""
    from indexer.cli.reports import print_report, report_json

    if as_json:
        write_json(report_json(report))
    else:
        print_report(report, errors, verbose=verbose)
