"""The progress line of an ingest."""

from __future__ import annotations

import time

import pytest

from indexer.cli._progress import Rate, format_duration, format_progress, show_progress
from indexer.types import IngestProgress


def at(
    stage: str, done: int, total: int | None, seconds: float, skipped: int = 0
) -> IngestProgress:
    return IngestProgress(stage, done, total, skipped, seconds)


def test_the_rate_excludes_the_scan():
    rate = Rate()
    assert rate(at("scan", 0, None, 5.0)) == (0.0, None)
    assert rate(at("ingest", 20, 100, 7.0)) == (10.0, 8.0)


@pytest.mark.parametrize(
    ("now", "speed", "left", "message"),
    [
        (
            at("ingest", 120, 900, 4, 3),
            31.44,
            25.0,
            "120 of 900 files, 31.4/s, 0:25 left, 3 skipped",
        ),
        (at("ingest", 1, None, 4), 2.0, None, "2.0/s"),
        (at("scan", 0, None, 12.4), 0.0, None, "12 s"),
        (at("scan", 0, None, 1.0, 2), 0.0, None, "2 skipped"),
    ],
)
def test_the_line(now, speed, left, message):
    assert format_progress(now, speed, left) == message


@pytest.mark.parametrize(
    ("seconds", "message"), [(0, "0:00"), (59.6, "1:00"), (90, "1:30"), (3723, "1:02:03")]
)
def test_durations(seconds, message):
    assert format_duration(seconds) == message


def test_without_a_terminal_a_line_now_and_then(capsys, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with show_progress(quiet=False) as show:
        show(at("ingest", 1, 9, 1.0))
        assert capsys.readouterr().err == ""
        clock[0] += 11
        show(at("ingest", 2, 9, 2.0))
        show(at("ingest", 3, 9, 2.1))
    assert capsys.readouterr().err.splitlines() == ["indexing: 2 of 9 files, 1.0/s, 0:07 left"]
