"""`ingest` and `prune`: keep a collection in step with its folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import INTERRUPTED, SKIPPED, print_note, replace_unprintable, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.ingest.types import IngestOptions
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
@_options.takes_config(*_options.READING, *_options.EMBEDDING, *_options.SHARED)
def ingest(
    config: Config,
    folders: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Folders, archives, tables; also by URL: s3://..."),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove points whose files are gone from the folders.")
    ] = False,
    dry_run: DryRun = False,
    manifest: _options.Manifest = None,
    frames: _options.Frames = False,
    follow_links: _options.FollowLinks = False,
    allow_host: _options.AllowHost = None,
    quiet: _options.Quiet = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Index the pictures and texts of folders; what is unchanged costs next to nothing."""
    from embedder.images.decode import DecodeLimits
    from indexer.ingest.types import IngestOptions

    ingest_options = IngestOptions(
        limits=DecodeLimits(config.max_bytes, config.max_pixels),
        batch_size=config.batch,
        decode_threads=config.decode_threads,
        prune=prune,
        dry_run=dry_run,
        embed_frames=frames,
        manifest=manifest,
        follow_links=follow_links,
        allowed_hosts=tuple(allow_host or ()),
    )
    report, errors = run_ingest(config, folders, ingest_options, quiet=quiet)
    output_report(report, errors, as_json=as_json, verbose=verbose)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.skipped:
        raise typer.Exit(SKIPPED)


@app.command(epilog=PRUNE_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def prune(
    config: Config,
    dry_run: DryRun = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Remove the points whose files are gone from the disk."""
    from indexer.cli._open import open_with_model
    from indexer.ingest.prune import prune as prune_collection

    opened, embedder = open_with_model(config, needs_model=False)
    with opened:
        report = prune_collection(opened, embedder, dry_run=dry_run)
    for root in report.missing_roots:
        print_note(f"{replace_unprintable(root)} is missing or empty; nothing under it was touched")
    if report.not_checked:
        print_note(
            f"{report.not_checked} paths at URLs, in archives and in tables were not looked for; "
            "indexer ingest SOURCE --prune does that"
        )
    if as_json:
        write_json(
            {
                "removed": report.removed,
                "paths": list(report.paths),
                "absent": list(report.missing_roots),
                "elsewhere": report.not_checked,
                "dry_run": dry_run,
            }
        )
        return
    for path in report.paths if verbose or dry_run else ():
        print(replace_unprintable(path))
    would = "would be removed" if dry_run else "removed"
    print(f"{report.removed} {would} with {len(report.paths)} paths")


def run_ingest(
    config: Config, folders: Sequence[str | Path], ingest_options: IngestOptions, *, quiet: bool
) -> tuple[IngestReport, Path]:
    """Ingest with progress on stderr; the report, and where the skipped files are listed."""
    from indexer.cli._interrupt import stop_on_signal
    from indexer.cli._open import make_ingest_embedder
    from indexer.cli._progress import show_progress
    from indexer.collection import Collection
    from indexer.ingest.pipeline import ERRORS_FILE, ingest_with_workers
    from indexer.sources import SourceSet

    # a folder that is missing should not leave an empty collection
    SourceSet.open(folders, ingest_options.source_options).check_readable()
    embedder = make_ingest_embedder(config)
    with (
        _dry_run_config(config, dry_run=ingest_options.dry_run) as place,
        Collection.open_or_create(place, embedder.card) as opened,
        stop_on_signal() as stop,
        show_progress(quiet=quiet) as show,
    ):
        report = ingest_with_workers(place, folders, opened, embedder, ingest_options, show, stop)
        return report, opened.index / ERRORS_FILE


@contextmanager
def _dry_run_config(config: Config, *, dry_run: bool) -> Iterator[Config]:
    """Where to work: a dry run makes no collection, and looks at an empty one instead."""
    from indexer.cli._open import collection_exists

    if not dry_run or collection_exists(config):
        yield config
        return
    with TemporaryDirectory(prefix="polylens-") as folder:
        yield replace(config, store=folder)


def output_report(report: IngestReport, errors: Path, *, as_json: bool, verbose: bool) -> None:
    """Print what an ingest did."""
    from indexer.cli._ingest_output import ingest_to_json, print_report

    if as_json:
        write_json(ingest_to_json(report))
    else:
        print_report(report, errors, verbose=verbose)
