"""`indexer prune`: remove the points of files that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from embedder.cli.console import print_note, replace_unprintable, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

EXAMPLES = """
Examples:

  indexer prune --dry-run
  indexer prune --collection family --json

A folder that is missing or empty, such as a disk that is not mounted, keeps its points. Files at
URLs, in archives and in tables are not checked: indexer ingest SOURCE --prune does that.
"""


@app.command(epilog=EXAMPLES)
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
        print_note(f"{replace_unprintable(root)} is missing or empty; its points are kept")
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
        print(replace_unprintable(path))
    would = "would be removed" if dry_run else "removed"
    print(f"{report.removed} {would} with {len(report.paths)} paths")
