"""`indexer ingest` and `indexer prune`: bring a collection up to date with its files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    FILES_FAILED,
    INTERRUPTED,
    pluralize,
    print_line,
    print_note,
    print_problem,
    write_json,
)
from indexer.cli import _options
from indexer.config import Config

if TYPE_CHECKING:
    from indexer.types import IngestReport

app = typer.Typer()

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

Files that cannot be used are listed and counted: exit status 3 if one failed, 0 if all of them are
of a kind that is not indexed, such as SVG. Ctrl-C stops after the current batch, with everything
saved: exit status 130.
"""
PRUNE_EXAMPLES = """
Examples:

  indexer prune --dry-run
  indexer prune --collection family --json

A folder that is missing or empty, such as a disk that is not mounted, keeps its points. Files at
URLs, in archives and in tables are not checked: indexer ingest SOURCE --prune does that.
"""


@app.command(epilog=INGEST_EXAMPLES)
@_options.takes_config(*_options.READING, *_options.EMBEDDING, "names", *_options.SHARED)
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
    rehash: Annotated[
        bool,
        Option("--rehash", help="Read every file again, also of the same size and time."),
    ] = False,
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
    from indexer.cli._paths import match_manifest, match_path
    from indexer.cli._progress import show_progress, stop_on_signal
    from indexer.paths import url_scheme

    folders = [folder if url_scheme(folder) else match_path(folder) for folder in folders]
    ingest_options["manifest"] = match_manifest(ingest_options["manifest"])
    with (
        Collection(config) as collection,
        stop_on_signal() as stop,
        show_progress(quiet=quiet) as show,
    ):
        report = collection.ingest(
            *folders,
            prune=prune,
            dry_run=dry_run,
            rehash=rehash,
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
    if report.failed or report.lost:
        raise typer.Exit(FILES_FAILED)


def print_report(report: IngestReport, errors: Path | None, *, verbose: bool) -> None:
    """The counts on stdout; the times, and the files that were skipped or failed, on stderr."""
    if report.seconds:
        stages = {name: spent for name, spent in report.seconds.items() if name != "total"}
        times = ", ".join(f"{name} {spent:.1f} s" for name, spent in stages.items())
        print_note(f"{report.seconds['total']:.1f} s; in all threads: {times}")
    skipped = sorted(report.skipped, key=lambda skip: not skip.is_failure)
    for skip in skipped if verbose else skipped[:MAX_SHOWN]:
        detail = f": {skip.detail}" if skip.detail else ""
        text = f"{skip.path} ({skip.reason}{detail})"
        if skip.is_failure:
            print_problem(f"failed {text}")
        else:
            print_note(f"skipped {text}")
    if len(skipped) > MAX_SHOWN and not verbose:
        show = print_problem if report.failed > MAX_SHOWN else print_note
        show(f"... and {len(skipped) - MAX_SHOWN} more; all of them: {errors}")
    if report.recovered:
        print_note(
            f"the store had lost {pluralize(report.recovered, 'file')}, as after a power cut or "
            "with a backup of mixed age: written again"
        )
    for path in report.lost[:MAX_SHOWN]:
        print_problem(f"lost {path}: it is not in the store, and could not be read again")
    if report.lost:
        print_problem(
            f"the store has lost {pluralize(len(report.lost), 'file')} that this run could not "
            "read again; if they are in other folders, run: indexer ingest FOLDER"
        )
    for note in report.notes if verbose else report.notes[:MAX_SHOWN]:
        print_note(f"{note.path}: {note.text}")
    if len(report.notes) > MAX_SHOWN and not verbose:
        print_note(f"... and {len(report.notes) - MAX_SHOWN} more such notes; all of them: -v")
    stopped = "interrupted; " if report.interrupted else ""
    remaining = f", {report.remaining:,} not reached" if report.interrupted else ""
    print_line(
        f"{stopped}{pluralize(report.files, 'file')}: {report.added:,} added, "
        f"{report.updated:,} updated, {report.unchanged:,} unchanged, {report.moved:,} moved, "
        f"{pluralize(report.duplicates, 'duplicate')}, {report.unsupported:,} unsupported, "
        f"{report.failed:,} failed{remaining}; {report.removed:,} removed"
    )
    if report.passed_over:
        counts = ", ".join(pluralize(n, kind) for kind, n in report.passed_over.items())
        print_line(f"passed over, neither images nor texts: {counts}")


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
        paths = pluralize(report.not_checked, "path")
        print_note(
            f"not checked: {paths} at URLs, in archives and in tables; "
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
    print_line(f"{report.removed:,} {would} with {pluralize(len(report.paths), 'path')}")
