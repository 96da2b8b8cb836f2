"""`indexer ingest`: index the images and texts of folders, archives, tables and URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import INTERRUPTED, SKIPPED, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

EXAMPLES = """
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


@app.command(epilog=EXAMPLES)
@_options.takes_config(*_options.READING, *_options.EMBEDDING, *_options.SHARED)
def ingest(
    config: Config,
    folders: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Folders, archives, tables; also URLs: s3://..."),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove points whose files are gone from the folders.")
    ] = False,
    dry_run: _options.DryRun = False,
    manifest: _options.Manifest = None,
    frames: _options.Frames = False,
    follow_links: _options.FollowLinks = False,
    allow_host: _options.AllowHost = None,
    quiet: _options.Quiet = False,
    verbose: _options.Verbose = False,
    as_json: _options.Json = False,
) -> None:
    """Index the images and texts of folders; unchanged files take almost no time."""
    from embedder.images.decode import DecodeLimits
    from indexer.api import Collection
    from indexer.cli._output import ingest_to_json, print_report
    from indexer.cli._progress import show_progress, stop_on_signal
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
    with (
        Collection(config) as collection,
        stop_on_signal() as stop,
        show_progress(quiet=quiet) as show,
    ):
        report = collection.run_ingest(folders, ingest_options, show, stop)
        errors = collection.errors_file
    if as_json:
        write_json(ingest_to_json(report))
    else:
        print_report(report, errors, verbose=verbose)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.skipped:
        raise typer.Exit(SKIPPED)
