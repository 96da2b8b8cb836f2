"""`migrate`, `snapshot` and `restore`: a collection goes to another store, or into a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.console import INTERRUPTED, note, shown, write_json
from indexer.cli import options, reading
from indexer.cli.moves import show_move

if TYPE_CHECKING:
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
def migrate(
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
    profile: options.Profile = None,
    shards: options.Shards = None,
    replicas: options.Replicas = None,
    quiet: reading.Quiet = False,
    tenant: options.Tenant = None,
    collection: options.Collection = None,
    as_json: options.Json = False,
) -> None:
    """Copy a collection to another store: from a folder to a server, back, or between two."""
    from indexer.cli.interrupt import stopping
    from indexer.cli.progress import progress
    from indexer.moving.migrate import migrate as move

    mode = _mode(merge=merge, in_place=in_place)
    for store in (source, there):
        if "://" in store and not store.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{store}: a store is a folder or an http(s) URL")
    begin = options.settings(store=source, collection=collection, tenant=tenant)
    if begin.qdrant_source_api_key:
        begin = replace(begin, qdrant_api_key=begin.qdrant_source_api_key)
    end = options.settings(
        store=there,
        collection=to or collection,
        tenant=tenant,
        profile=profile,
        shards=shards,
        replicas=replicas,
    )
    with stopping() as stop, progress(quiet=quiet) as show:
        report = move(begin, end, mode, on_progress=show, stop=stop)
    show_move(end, report, as_json=as_json)


@app.command(epilog=SNAPSHOT_EXAMPLES)
def snapshot(
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
    quiet: reading.Quiet = False,
    tenant: options.Tenant = None,
    store: options.Store = None,
    collection: options.Collection = None,
    as_json: options.Json = False,
) -> None:
    """Write a collection to one file, which restore makes a collection of in any store."""
    from embedder.tables import size
    from indexer.cli.interrupt import stopping
    from indexer.cli.progress import clock, progress
    from indexer.moving.snapshot import snapshot as write

    config = options.settings(store=store, collection=collection, tenant=tenant)
    path = _file(output or Path(), config.collection)
    with stopping() as stop, progress(quiet=quiet) as show:
        report = write(config, path, thumbs=thumbs, on_progress=show, stop=stop)
    if report is None:
        note("stopped; nothing is kept of the file that was begun")
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
        f"{shown(str(path))}: {report.points:,} points of {config.collection!r}, "
        f"{size(report.bytes)}, in {clock(report.seconds)}"
    )


@app.command(epilog=RESTORE_EXAMPLES)
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What indexer snapshot has written.")
    ],
    merge: Merge = False,
    in_place: Replace = False,
    profile: options.Profile = None,
    shards: options.Shards = None,
    replicas: options.Replicas = None,
    quiet: reading.Quiet = False,
    tenant: options.Tenant = None,
    store: options.Store = None,
    collection: options.Collection = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection of a snapshot's file, under its own name unless another is given."""
    from indexer.cli.interrupt import stopping
    from indexer.cli.progress import progress
    from indexer.moving.restore import name_in
    from indexer.moving.restore import restore as move

    mode = _mode(merge=merge, in_place=in_place)
    config = options.settings(
        store=store,
        collection=collection,
        tenant=tenant,
        profile=profile,
        shards=shards,
        replicas=replicas,
    )
    config = config if collection else replace(config, collection=name_in(file))
    with stopping() as stop, progress(quiet=quiet) as show:
        report = move(file, config, mode, on_progress=show, stop=stop)
    show_move(config, report, as_json=as_json)


def _file(output: Path, collection: str) -> Path:
    """`output`, or a file of a name that tells in the folder that it is."""
    if not output.is_dir():
        return output.absolute()
    return output.absolute() / f"{collection}-{datetime.now(UTC):%Y%m%d-%H%M%S}.polylens.tar"


def _mode(*, merge: bool, in_place: bool) -> Mode:
    if merge and in_place:
        raise typer.BadParameter("--merge keeps what is there, and --replace puts it aside")
    return "merge" if merge else "replace" if in_place else "new"
