"""`migrate`, `snapshot` and `restore`: a collection goes to another store, or into a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedder.cli.console import INTERRUPTED, print_note, replace_unprintable, write_json
from indexer.cli import _options
from indexer.cli._transfer_output import output_transfer

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.moving.move import Mode

app = typer.Typer()

MIGRATE_EXAMPLES = """
Examples:

  indexer migrate ~/.local/share/polylens http://localhost:6333
  indexer migrate ~/.local/share/polylens https://qdrant.example.com --profile large --shards 6
  indexer migrate http://localhost:6333 /mnt/backup --collection family --to family-2026
  indexer migrate http://localhost:6333 http://other:6333 --replace

Nothing is embedded again, and SRC is only read. The copy is checked before it is put in use:
searches find the old collection or the new one, whole. Ctrl-C saves and stops, and the same command
goes on: exit status 130. Votes and what is known of the files go along, so the next ingest there
finds every file unchanged.
"""
SNAPSHOT_EXAMPLES = """
Examples:

  indexer snapshot
  indexer snapshot --collection family -o /mnt/backup/family.polylens.tar
  indexer snapshot --store http://localhost:6333 --thumbs

The file is there whole or not at all. It holds captions and the paths of the pictures, not the
pictures.
"""
RESTORE_EXAMPLES = """
Examples:

  indexer restore family-20261126-101500.polylens.tar
  indexer restore family.polylens.tar --collection family-2 --store http://localhost:6333
  indexer restore family.polylens.tar --replace

The file is read whole and compared with its digests before anything is begun. Restore what you
trust: a search loads the model that the file names.
"""

Merge = Annotated[
    bool, typer.Option("--merge", help="Add what the collection there lacks; leave what it has.")
]
Replace = Annotated[
    bool,
    typer.Option("--replace", help="Put the copy in the place of the collection that is there."),
]


@app.command(epilog=MIGRATE_EXAMPLES)
@_options.takes_flags(*_options.LAYOUT, "collection", "tenant")
def migrate(
    flags: dict[str, Any],
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="The store to read: a folder or a server's URL.")
    ],
    there: Annotated[
        str, typer.Argument(metavar="DST", help="The store to write to: a folder or a URL.")
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="Another name for it there.")
    ] = None,
    merge: Merge = False,
    in_place: Replace = False,
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Copy a collection to another store: from a folder to a server, back, or between two."""
    from indexer.cli._interrupt import stop_on_signal
    from indexer.cli._progress import show_progress
    from indexer.moving.migrate import migrate as move

    mode = _parse_mode(merge=merge, in_place=in_place)
    for store in (source, there):
        if "://" in store and not store.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{store}: a store is a folder or an http(s) URL")
    tenant, collection = flags.pop("tenant"), flags.pop("collection")
    begin = _options.resolve_flags(store=source, collection=collection, tenant=tenant)
    if begin.qdrant_source_api_key:
        begin = replace(begin, qdrant_api_key=begin.qdrant_source_api_key)
    end = _options.resolve_flags(store=there, collection=to or collection, tenant=tenant, **flags)
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = move(begin, end, mode, on_progress=show, stop=stop)
    output_transfer(end, report, as_json=as_json)


@app.command(epilog=SNAPSHOT_EXAMPLES)
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
            help="Where to; a folder gets NAME-DATE-TIME.polylens.tar.",
        ),
    ] = None,
    thumbs: Annotated[bool, typer.Option("--thumbs", help="With the thumbnails.")] = False,
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Write a collection to one file, which restore makes a collection of in any store."""
    from embedder.cli.output import format_bytes
    from indexer.cli._interrupt import stop_on_signal
    from indexer.cli._progress import format_duration, show_progress
    from indexer.moving.snapshot import snapshot as write

    path = _snapshot_path(output or Path(), config.collection)
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = write(config, path, thumbs=thumbs, on_progress=show, stop=stop)
    if report is None:
        print_note("stopped; nothing is kept of the file that was begun")
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


@app.command(epilog=RESTORE_EXAMPLES)
@_options.takes_flags(*_options.LAYOUT, "store", "collection", "tenant")
def restore(
    flags: dict[str, Any],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What indexer snapshot has written.")
    ],
    merge: Merge = False,
    in_place: Replace = False,
    quiet: _options.Quiet = False,
    as_json: _options.Json = False,
) -> None:
    """Make a collection of a snapshot's file, under its own name unless another is given."""
    from indexer.cli._interrupt import stop_on_signal
    from indexer.cli._progress import show_progress
    from indexer.moving.restore import name_in
    from indexer.moving.restore import restore as move

    mode = _parse_mode(merge=merge, in_place=in_place)
    config = _options.resolve_flags(**flags)
    config = config if flags["collection"] else replace(config, collection=name_in(file))
    with stop_on_signal() as stop, show_progress(quiet=quiet) as show:
        report = move(file, config, mode, on_progress=show, stop=stop)
    output_transfer(config, report, as_json=as_json)


def _snapshot_path(output: Path, collection: str) -> Path:
    """`output`, or a file of a name that tells in the folder that it is."""
    if not output.is_dir():
        return output.absolute()
    return output.absolute() / f"{collection}-{datetime.now(UTC):%Y%m%d-%H%M%S}.polylens.tar"


def _parse_mode(*, merge: bool, in_place: bool) -> Mode:
    if merge and in_place:
        raise typer.BadParameter("--merge keeps what is there, and --replace puts it aside")
    return "merge" if merge else "replace" if in_place else "new"
