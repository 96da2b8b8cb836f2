"""Ingest reports and search results, as JSON and as text for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.cli.console import print_note, replace_unprintable

if TYPE_CHECKING:
    from indexer.types import Hit, IngestReport, Payload, Query, SearchResults, SkippedFile

COUNTS = ("added", "updated", "unchanged", "moved", "removed")
MAX_SHOWN = 10  # files of one list
BAR_WIDTH = 8  # characters


def ingest_to_json(report: IngestReport) -> dict[str, Any]:
    """The object that `ingest --json` prints."""
    return {
        **{name: getattr(report, name) for name in COUNTS},
        "skipped": [skipped_to_json(skipped) for skipped in report.skipped],
        "files": report.files,
        "interrupted": report.interrupted,
        "seconds": dict(report.seconds),
    }


def skipped_to_json(skipped: SkippedFile) -> dict[str, str]:
    return {"path": skipped.path, "reason": skipped.reason, "detail": skipped.detail}


def print_report(report: IngestReport, errors: Path | None, *, verbose: bool) -> None:
    """The counts on stdout; the stages' times and the skipped files on stderr."""
    stages = {name: spent for name, spent in report.seconds.items() if name != "total"}
    if stages:
        times = ", ".join(f"{name} {spent:.1f} s" for name, spent in stages.items())
        print_note(f"time in all threads: {times}")
    listed = report.skipped if verbose else report.skipped[:MAX_SHOWN]
    for skipped in listed:
        detail = f": {replace_unprintable(skipped.detail)}" if skipped.detail else ""
        print_note(f"skipped {replace_unprintable(skipped.path)} ({skipped.reason}{detail})")
    if len(report.skipped) > len(listed):
        print_note(f"... and {len(report.skipped) - len(listed)} more; all of them: {errors}")
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in COUNTS)
    total = f" in {report.seconds['total']:.1f} s" if "total" in report.seconds else ""
    stopped = "interrupted; " if report.interrupted else ""
    print(f"{stopped}{report.files} files{total}: {counts}, {len(report.skipped)} skipped")


def results_to_json(written: Sequence[str], query: Query, results: SearchResults) -> dict[str, Any]:
    """The object that `search --json` prints; `written` are the parts as the user wrote them."""
    return {
        "query": {
            "parts": list(written),
            "where": {key: list(values) for key, values in query.filters.items()},
            "limit": query.limit,
            "offset": query.offset,
        },
        "took_ms": results.took_ms,
        "matches": results.is_significant,
        "more": results.has_more,
        "hits": [hit_to_json(hit) for hit in results.hits],
    }


def hit_to_json(hit: Hit) -> dict[str, Any]:
    paths = hit.payload.get("paths", [])
    return {
        "id": hit.id,
        "score": hit.score,
        "path": paths[0] if paths else None,
        "paths": paths,
        "payload": hit.payload,
        "why": hit.explanation,
        "folded": list(hit.duplicates),
    }


def print_hits(query: Query, results: SearchResults, *, verbose: bool) -> None:
    """A table on a terminal; elsewhere a line per hit: score, path and caption between tabs."""
    if not sys.stdout.isatty():
        for hit in results.hits:
            print(hit.score, _format_path(hit), _format_caption(hit.payload), sep="\t")
        return
    _print_table(query, results, verbose)
    more = f"; next page: --offset {query.offset + query.limit}" if results.has_more else ""
    print_note(f"{len(results.hits)} hits in {results.took_ms:.0f} ms{more}")


def _print_table(query: Query, results: SearchResults, verbose: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", style="dim")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    best = max((hit.score for hit in results.hits), default=1.0)
    for number, hit in enumerate(results.hits, query.offset + 1):
        text = Text(_format_path(hit), style="bold")
        for line in _detail_lines(hit, verbose):
            text.append(f"\n{line}", style="dim not bold")
        table.add_row(str(number), format_bar(hit.score, best), f"{hit.score:.3f}", text)
    Console(highlight=False, emoji=False, markup=False).print(table)


def format_bar(score: float, best: float) -> str:
    """`score` as a bar that is full for the best hit."""
    filled = round(BAR_WIDTH * max(0.0, min(1.0, score / best))) if best > 0 else 0
    return "█" * filled + "░" * (BAR_WIDTH - filled)


def _detail_lines(hit: Hit, verbose: bool) -> list[str]:
    lines = [caption] if (caption := _format_caption(hit.payload)) else []
    if hit.duplicates:
        lines.append(f"and {len(hit.duplicates)} that look the same")
    if verbose:
        lines.append(f"id {hit.id}")
        lines += [replace_unprintable(path) for path in hit.payload.get("paths", [])[1:]]
        lines += [
            f"{_format_weight(part['weight'])}{replace_unprintable(part['label'])}: "
            f"cosine {part['score']:+.3f}, {part['share']:+.0%} of the score"
            for part in hit.explanation.get("parts", [])
        ]
    return lines


def _format_weight(weight: float) -> str:
    """As the user writes it: nothing for 1, `-` for -1, `2:` for 2."""
    return {1.0: "", -1.0: "-"}.get(weight, f"{weight:g}:")


def _format_path(hit: Hit) -> str:
    paths = hit.payload.get("paths") or [hit.id]
    return replace_unprintable(paths[0])


def _format_caption(payload: Payload) -> str:
    captions = payload.get("captions") or []
    text = captions[0]["text"] if captions else payload.get("text", "")
    return replace_unprintable(" ".join(text.split()))[:200]
