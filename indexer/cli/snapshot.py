"""`indexer snapshot`: write a collection to one file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import INTERRUPTED, print_note, replace_unprintable, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

EXAMPLES = """
Examples:

  indexer snapshot
  indexer snapshot --collection family -o /mnt/backup/family.polylens.tar
  indexer snapshot --store http://localhost:6333 --thumbs

The file appears complete or not at all. It holds captions and the paths of the images, but not the
images.
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config("store", "collection", "tenant")
def snapshot(
    config: Config,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            show_default="this folder",
            help="The file; a folder gets NAME-DATE-TIME.polylens.tar.",
        ),
    ] = None,
    thumbs: Annotated[bool, typer.Option("--thumbs", help="Include the thumbnails.")] = False,
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Write a collection to one file, from which restore creates it in any store."""
    from embedder.hardware import format_bytes
    from indexer.cli._progress import format_duration, show_progress, stop_on_signal
    from indexer.transfer.snapshot import snapshot as write

    path = (output or Path()).absolute()
    if path.is_dir():
        path /= f"{config.collection}-{datetime.now(UTC):%Y%m%d-%H%M%S}.polylens.tar"
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = write(config, path, thumbs=thumbs, on_progress=show, stop=stop)
    if report is None:
        print_note("stopped; the unfinished file was deleted")
        raise typer.Exit(INTERRUPTED)
    if as_json:
        write_json(
            {
                "file": str(path),
                "collection": config.collection,
                "points": report.points,
                "bytes": report.bytes,
                "catalogues": report.catalogues,
                "votes": report.votes,
                "seconds": round(report.seconds, 3),
            }
        )
        return
    print(
        f"{replace_unprintable(str(path))}: {report.points:,} points of {config.collection!r}, "
        f"{format_bytes(report.bytes)}, in {format_duration(report.seconds)}"
    )
