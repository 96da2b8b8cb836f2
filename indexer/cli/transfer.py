"""`indexer migrate`, `snapshot` and `restore`: copy a collection between stores, or to a file."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    INTERRUPTED,
    inject,
    pluralize,
    print_line,
    print_note,
    print_problem,
    write_json,
)
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.transfer.migrate import Mode, TransferReport

app = typer.Typer()

MIGRATE_EXAMPLES = """
Examples:

  indexer migrate ~/.local/share/polylens http://localhost:6333
  indexer migrate ~/.local/share/polylens https://qdrant.example.com --profile large --shards 6
  indexer migrate http://localhost:6333 /mnt/backup --collection family --to family-2026
  indexer migrate http://localhost:6333 http://other:6333 --replace

Nothing is embedded again, and SRC is only read. The copy is checked before it is used: a search
finds either the old collection or the complete new one. Ctrl-C saves and stops, exit status 130;
the same command continues. Votes and the catalog of files are copied too, so the next ingest there
finds every file unchanged.
"""
SNAPSHOT_EXAMPLES = """
Examples:

  indexer snapshot
  indexer snapshot --collection family -o /mnt/backup/family.polylens.tar
  indexer snapshot --store http://localhost:6333 --thumbs

The file appears complete or not at all. It holds captions and the paths of the images, but not the
images.
"""
RESTORE_EXAMPLES = """
Examples:

  indexer restore family-20261126-101500.polylens.tar
  indexer restore family.polylens.tar --collection family-2 --store http://localhost:6333
  indexer restore family.polylens.tar --replace

The whole file is read and compared with its digests before anything is written. Restore only what
you trust: a search loads the model that the file names.
"""


def _choose_mode(
    merge: Annotated[
        bool, Option("--merge", help="Add the points that the collection there lacks.")
    ] = False,
    in_place: Annotated[
        bool, Option("--replace", help="Replace the collection that is there with the copy.")
    ] = False,
) -> Mode:
    if merge and in_place:
        raise typer.BadParameter("give either --merge or --replace, not both")
    return "merge" if merge else "replace" if in_place else "new"


takes_mode = inject("mode", _choose_mode)


@app.command(epilog=MIGRATE_EXAMPLES)
@_options.takes_flags(*_options.LAYOUT, "collection", "tenant")
@takes_mode
def migrate(
    flags: dict[str, Any],
    mode: Mode,
    source: Annotated[
        str, Argument(metavar="SRC", help="The store to read: a folder or a server's URL.")
    ],
    there: Annotated[
        str, Argument(metavar="DST", help="The store to write to: a folder or a URL.")
    ],
    to: Annotated[
        str | None, Option("--to", metavar="NAME", help="Another name for it there.")
    ] = None,
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Copy a collection to another store: from a folder to a server, back, or between two."""
    from indexer.cli._progress import show_progress, stop_on_signal
    from indexer.collections import has_backend
    from indexer.transfer.migrate import migrate as move

    for store in (source, there):
        if not has_backend(store):
            raise typer.BadParameter(f"{store}: a store is a folder or an http(s) URL")
    tenant, collection = flags.pop("tenant"), flags.pop("collection")
    begin = _options.resolve_flags(store=source, collection=collection, tenant=tenant)
    if begin.qdrant_source_api_key:
        begin = replace(
            begin,
            qdrant_api_key=begin.qdrant_source_api_key,
            qdrant_api_key_url=begin.qdrant_source_api_key_url,
        )
    end = _options.resolve_flags(
        quiet=True, store=there, collection=to or collection, tenant=tenant, **flags
    )
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = move(begin, end, mode, on_progress=show, stop=stop)
    output_transfer(end, report, as_json=as_json)


@app.command(epilog=SNAPSHOT_EXAMPLES)
@_options.takes_config("store", "collection", "tenant")
def snapshot(
    config: Config,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="PATH",
            show_default="this folder",
            help="The file; a folder gets NAME-DATE-TIME.polylens.tar.",
        ),
    ] = None,
    thumbs: Annotated[bool, Option("--thumbs", help="Include the thumbnails.")] = False,
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
        print_problem("stopped; the unfinished file was deleted")
        raise typer.Exit(INTERRUPTED)
    if as_json:
        names = {"file": str(path), "collection": config.collection}
        write_json({**names, **asdict(report), "seconds": round(report.seconds, 3)})
        return
    print_line(
        f"{path}: {pluralize(report.points, 'point')} of {config.collection!r}, "
        f"{format_bytes(report.bytes)}, in {format_duration(report.seconds)}"
    )


@app.command(epilog=RESTORE_EXAMPLES)
@_options.takes_flags(*_options.LAYOUT, "store", "collection", "tenant")
@takes_mode
def restore(
    flags: dict[str, Any],
    mode: Mode,
    file: Annotated[Path, Argument(metavar="FILE", help="A file that indexer snapshot wrote.")],
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Create a collection from a snapshot, with its name unless another is given."""
    from indexer.cli._progress import show_progress, stop_on_signal
    from indexer.transfer.restore import read_collection_name
    from indexer.transfer.restore import restore as move

    config = _options.resolve_flags(**flags)
    if not flags["collection"]:
        config = replace(config, collection=read_collection_name(file))
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = move(file, config, mode, on_progress=show, stop=stop)
    output_transfer(config, report, as_json=as_json)


def output_transfer(config: Config, report: TransferReport, *, as_json: bool) -> None:
    """Print the report, and the next command where there is one."""
    from embedder.redaction import redact_secrets
    from indexer.cli._progress import format_duration
    from indexer.transfer.source import format_location

    if as_json:
        plain = asdict(report)
        plain |= {
            "store": redact_secrets(config.store),
            "collection": config.collection,
            "interrupted": not plain.pop("done"),
            "seconds": round(report.seconds, 3),
            "points_per_second": round(report.rate, 1),
        }
        write_json(plain)
    elif report.done:
        parts = [f"{report.copied:,} copied in {format_duration(report.seconds)}"]
        parts += [f"{report.resumed:,} before"] if report.resumed else []
        parts += [f"{report.kept:,} were there already"] if report.kept else []
        parts += [f"{report.rate:,.0f}/s", f"{report.checked} compared"]
        points = pluralize(report.points, "point")
        print_line(f"{format_location(config)} has {points}: {', '.join(parts)}")
    if not report.done:
        points = pluralize(report.copied + report.resumed, "point")
        print_problem(f"stopped after {points}; the same command continues")
        raise typer.Exit(INTERRUPTED)
    if report.unnamed_sources:
        print_note(
            "these sources are on other hosts, and are read once you ingest them yourself: "
            + ", ".join(map(redact_secrets, report.unnamed_sources))
        )
    if report.replaced:
        at = f"--store {redact_secrets(config.store)} --collection {config.collection}"
        print_note(f"the old index is kept: indexer reindex --rollback {at}, or --forget")
