"""The report of a reindex as JSON and for the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedder.cli.console import print_note, replace_unprintable
from indexer.cli._ingest_output import ingest_to_json, print_report

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.reindex import ReindexReport

MAX_SHOWN = 10  # files of a kind that are shown


def reindex_to_json(report: ReindexReport) -> dict[str, object]:
    """What `reindex --json` prints."""
    losses = report.losses
    return {
        "switched": report.switched,
        "from": report.before.name,
        "to": report.after.name,
        "points": {"old": report.points[0], "new": report.points[1]},
        "checked": report.checked,
        "vanished": list(losses.vanished),
        "changed": list(losses.changed),
        "lost": [{"path": s.path, "reason": s.reason, "detail": s.detail} for s in losses.lost],
        "silent": list(losses.silent),
        "ingest": ingest_to_json(report.ingest),
    }


def print_reindex(config: Config, report: ReindexReport, *, verbose: bool) -> None:
    """The counts on stdout; what the new index lacks, and what to type, on stderr."""
    from indexer.collection import own
    from indexer.ingest.pipeline import ERRORS_FILE
    from indexer.places import place_of

    found = place_of(config).indexes(config.collection)
    index = own((found.building or found.in_use).folder, config.tenant)
    print_report(report.ingest, index / ERRORS_FILE, verbose=verbose)
    losses = report.losses
    _print_files("gone from the disk since they were indexed", losses.vanished, verbose)
    _print_files("with other contents than when they were indexed", losses.changed, verbose)
    lost = [f"{s.path} ({s.reason}{f': {s.detail}' if s.detail else ''})" for s in losses.lost]
    _print_files("in the old index and not in the new one", lost, verbose)
    _print_files("without the captions that they had from a table", losses.silent, verbose)
    old, new = report.points
    if report.switched:
        print(
            f"collection {config.collection!r} has {report.after.name} now: {new} points, "
            f"{old} before; {report.checked} checked"
        )
        print_note(
            f"the index of {report.before.name} is kept: indexer reindex --rollback, or --forget"
        )


def _print_files(what: str, paths: tuple[str, ...] | list[str], verbose: bool) -> None:
    if not paths:
        return
    few = paths if verbose else paths[:MAX_SHOWN]
    print_note(f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {what}:")
    for path in few:
        print_note(f"  {replace_unprintable(path)}")
    if len(paths) > len(few):
        print_note(f"  ... and {len(paths) - len(few)} more; --verbose lists them")
