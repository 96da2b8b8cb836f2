"""The report of a reindex as JSON and for the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedder.console import note, shown
from indexer.cli.reports import print_report, report_json

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.reindex import ReindexReport

FIRST = 10  # files of a kind that are shown


def reindex_json(report: ReindexReport) -> dict[str, object]:
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
        "ingest": report_json(report.ingest),
    }


def print_reindex(config: Config, report: ReindexReport, *, verbose: bool) -> None:
    """The counts on stdout; what the new index lacks, and what to type, on stderr."""
    from indexer.collection import own
    from indexer.ingest import ERRORS
    from indexer.places import place_of

    found = place_of(config).indexes(config.collection)
    index = own((found.building or found.in_use).folder, config.tenant)
    print_report(report.ingest, index / ERRORS, verbose=verbose)
    losses = report.losses
    _list("gone from the disk since they were indexed", losses.vanished, verbose)
    _list("with other contents than when they were indexed", losses.changed, verbose)
    lost = [f"{s.path} ({s.reason}{f': {s.detail}' if s.detail else ''})" for s in losses.lost]
    _list("in the old index and not in the new one", lost, verbose)
    _list("without the captions that they had from a table", losses.silent, verbose)
    old, new = report.points
    if report.switched:
        print(
            f"collection {config.collection!r} has {report.after.name} now: {new} points, "
            f"{old} before; {report.checked} checked"
        )
        note(f"the index of {report.before.name} is kept: indexer reindex --rollback, or --forget")


def _list(what: str, paths: tuple[str, ...] | list[str], verbose: bool) -> None:
    if not paths:
        return
    few = paths if verbose else paths[:FIRST]
    note(f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {what}:")
    for path in few:
        note(f"  {shown(path)}")
    if len(paths) > len(few):
        note(f"  ... and {len(paths) - len(few)} more; --verbose lists them")
