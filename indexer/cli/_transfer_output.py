"""The report of a migrate or a restore as JSON and for the eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from embedder.cli.console import INTERRUPTED, print_note, write_json

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.moving.move import MoveReport


def output_transfer(config: Config, report: MoveReport, *, as_json: bool) -> None:
    """What has come of it, and what to type next."""
    from indexer.stores.connection import masked

    if as_json:
        write_json(_transfer_to_json(config, report))
    elif report.done:
        _print_transfer(config, report)
    if not report.done:
        print_note(
            f"stopped after {report.copied + report.resumed:,} points; the same command goes on"
        )
        raise typer.Exit(INTERRUPTED)
    if report.replaced:
        at = f"--store {masked(config.store)} --collection {config.collection}"
        print_note(f"the old index is kept: indexer reindex --rollback {at}, or --forget")


def _print_transfer(config: Config, report: MoveReport) -> None:
    from indexer.cli._progress import format_duration
    from indexer.moving.source import label

    parts = [f"{report.copied:,} copied in {format_duration(report.seconds)}"]
    parts += [f"{report.resumed:,} before"] if report.resumed else []
    parts += [f"{report.kept:,} were there already"] if report.kept else []
    parts += [f"{report.rate:,.0f}/s", f"{report.checked} compared"]
    print(f"{label(config)} has {report.points:,} points: {', '.join(parts)}")


def _transfer_to_json(config: Config, report: MoveReport) -> dict[str, object]:
    from indexer.stores.connection import masked

    return {
        "store": masked(config.store),
        "collection": config.collection,
        "points": report.points,
        "copied": report.copied,
        "resumed": report.resumed,
        "kept": report.kept,
        "checked": report.checked,
        "catalogues": report.catalogues,
        "votes": report.votes,
        "replaced": report.replaced,
        "interrupted": not report.done,
        "seconds": round(report.seconds, 3),
        "points_per_second": round(report.rate, 1),
    }
