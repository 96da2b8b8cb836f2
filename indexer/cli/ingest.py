"""`indexer ingest` and `indexer prune`: bring a collection up to date with its files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import INTERRUPTED, SKIPPED, print_line, print_note, write_json
from indexer.cli import _options
from indexer.config import Config

if TYPE_CHECKING:
    from indexer.types import IngestReport

app = typer.Typer()

COUNTS = ("added", "updated", "unchanged", "moved", "removed")
MAX_SHOWN = 10  # files of one list

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
current batch, with everything saved: exit status 130.
"""
PRUNE_EXAMPLES = """
Examples:

  indexer prune --dry-run
  indexer prune --collection family --json

A folder that is missing or empty, such as a disk that is not mounted, keeps its points. Files at
URLs, in archives and in tables are not checked: indexer ingest SOURCE --prune does that.
"""


@app.command(epilog=INGEST_EXAMPLES)
@_options.takes_config(*_options.READING, *_options.EMBEDDING, *_options.SHARED)
@_options.takes_ingest_options
def ingest(
    config: Config,
    ingest_options: dict[str, Any],
    folders: Annotated[
        list[str], Argument(metavar="SOURCE", help="Folders, archives, tables; also URLs: s3://...")
    ],
    prune: Annotated[
        bool, Option("--prune", help="Remove points whose files are gone from the folders.")
    ] = False,
    dry_run: _options.DryRun = False,
    allow_host: Annotated[
        list[str] | None,
        Option(metavar="HOST", help="Also fetch images that lists point to on this host."),
    ] = None,
    quiet: _options.Quiet = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Index the images and texts of folders; unchanged files take almost no time."""
    from indexer.api import Collection
    from indexer.cli._progress import show_progress, stop_on_signal

    with (
        Collection(config) as collection,
        stop_on_signal() as stop,
        show_progress(quiet=quiet) as show,
    ):
        report = collection.ingest(
            *folders,
            prune=prune,
            dry_run=dry_run,
            on_progress=show,
            stop=stop,
            allowed_hosts=tuple(allow_host or ()),
            **ingest_options,
        )
        errors = collection.errors_file
    if as_json:
        write_json(asdict(report))
    else:
        print_report(report, errors, verbose=verbose)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.skipped:
        raise typer.Exit(SKIPPED)


def print_report(report: IngestReport, errors: Path | None, *, verbose: bool) -> None:
    """The counts on stdout; the stages' times and the skipped files on stderr."""
    stages = {name: spent for name, spent in report.seconds.items() if name != "total"}
    if stages:
        times = ", ".join(f"{name} {spent:.1f} s" for name, spent in stages.items())
        print_note(f"time in all threads: {times}")
    listed = report.skipped if verbose else report.skipped[:MAX_SHOWN]
    for skipped in listed:
        detail = f": {skipped.detail}" if skipped.detail else ""
        print_note(f"skipped {skipped.path} ({skipped.reason}{detail})")
    if len(report.skipped) > len(listed):
        print_note(f"... and {len(report.skipped) - len(listed)} more; all of them: {errors}")
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in COUNTS)
    total = f" in {report.seconds['total']:.1f} s" if "total" in report.seconds else ""
    stopped = "interrupted; " if report.interrupted else ""
    print(f"{stopped}{report.files} files{total}: {counts}, {len(report.skipped)} skipped")


@app.command(epilog=PRUNE_EXAMPLES)
@_options.takes_config(*_options.SHARED)
def prune(
    config: Config,
    dry_run: _options.DryRun = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Remove the points whose files are gone from the disk."""
    from indexer.api import Collection

    with Collection(config) as collection:
        report = collection.prune(dry_run=dry_run)
    for root in report.missing_roots:
        print_note(f"{root} is missing or empty; its points are kept")
    if report.not_checked:
        print_note(
            f"{report.not_checked} paths at URLs, in archives and in tables were not checked; "
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
        print_line(path)
    would = "would be removed" if dry_run else "removed"
    print(f"{report.removed} {would} with {len(report.paths)} paths")
