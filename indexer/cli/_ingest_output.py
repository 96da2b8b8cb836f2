"""The report of an ingest as JSON and for the eye."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.cli.console import print_note, replace_unprintable

if TYPE_CHECKING:
    from indexer.types import IngestReport

COUNTS = ("added", "updated", "unchanged", "moved", "removed")
MAX_SHOWN = 10  # skipped files that are shown


def ingest_to_json(report: IngestReport) -> dict[str, Any]:
    """What `ingest --json` ends with."""
    return {
        **{name: getattr(report, name) for name in COUNTS},
        "skipped": [
            {"path": skip.path, "reason": skip.reason, "detail": skip.detail}
            for skip in report.skipped
        ],
        "files": report.files,
        "interrupted": report.interrupted,
        "seconds": dict(report.seconds),
    }


def print_report(report: IngestReport, errors: Path, *, verbose: bool) -> None:
    """The counts on stdout; the stages' times and the skipped files on stderr."""
    stages = {name: spent for name, spent in report.seconds.items() if name != "total"}
    if stages:
        times = ", ".join(f"{name} {spent:.1f} s" for name, spent in stages.items())
        print_note(f"time in all threads: {times}")
    shown_skips = report.skipped if verbose else report.skipped[:MAX_SHOWN]
    for skip in shown_skips:
        detail = f": {replace_unprintable(skip.detail)}" if skip.detail else ""
        print_note(f"skipped {replace_unprintable(skip.path)} ({skip.reason}{detail})")
    if len(report.skipped) > len(shown_skips):
        print_note(f"... and {len(report.skipped) - len(shown_skips)} more; all of them: {errors}")
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in COUNTS)
    total = f" in {report.seconds['total']:.1f} s" if "total" in report.seconds else ""
    stopped = "interrupted; " if report.interrupted else ""
    print(f"{stopped}{report.files} files{total}: {counts}, {len(report.skipped)} skipped")
