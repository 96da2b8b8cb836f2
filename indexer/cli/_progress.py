"""Progress of an ingest or a copy on stderr, and Ctrl-C that stops it with everything saved."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from embedder.cli.console import PeriodicNotes, print_note
from embedder.escaping import replace_unprintable
from indexer.types import IngestProgress

STAGES = {
    "refresh": "updating words",
    "scan": "looking for files",
    "ingest": "indexing",
    "flush": "saving",
    "check": "checking",
    "read": "reading the file",
    "begin": "copying",
    "copy": "copying",
}
STAGES_WITH_SPEED = {"refresh", "ingest", "copy"}
UNITS = {  # else files
    "refresh": "points",
    "begin": "points",
    "copy": "points",
    "check": "points",
    "read": "MB",
}

ProgressCallback = Callable[[IngestProgress], None]


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second has its usual effect."""
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(*_: object) -> None:
        stop.set()
        restore()
        print_note("stopping after this batch; Ctrl-C again stops at once")

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[ProgressCallback]:
    """The callback for `on_progress`: a bar on a terminal, elsewhere a line now and then."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _show_bar() as show:
            yield show
    else:
        rate, notes = Rate(), PeriodicNotes()
        yield lambda now: notes(f"{STAGES[now.stage]}: {format_progress(now, *rate(now))}")


@dataclass(slots=True)
class Rate:
    """Files or points a second since the work began, and the seconds left.

    The first points of a copy may be from an earlier run; they do not count.
    """

    started: float | None = None
    first: int = 0

    def __call__(self, now: IngestProgress) -> tuple[float, float | None]:
        if now.stage not in STAGES_WITH_SPEED or not now.done:
            self.started, self.first = now.seconds, now.done if now.stage == "begin" else 0
            return 0.0, None
        spent = now.seconds - (self.started or 0.0)
        speed = (now.done - self.first) / spent if spent > 0 else 0.0
        left = (now.total - now.done) / speed if speed and now.total is not None else None
        return speed, left


def format_progress(now: IngestProgress, speed: float, left: float | None) -> str:
    """120 of 900 files, 31.4/s, 0:25 left, 3 skipped."""
    unit = UNITS.get(now.stage, "files")
    parts = [
        f"{now.done} of {now.total} {unit}" if now.total is not None else "",
        f"{speed:.1f}/s" if speed else "",
        f"{format_duration(left)} left" if left is not None else "",
        f"{now.skipped} skipped" if now.skipped else "",
    ]
    return ", ".join(part for part in parts if part) or f"{now.seconds:.0f} s"


def format_duration(seconds: float) -> str:
    """90 -> 1:30, 3723 -> 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _show_bar() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[line]}", markup=False),
        TextColumn("{task.fields[path]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(STAGES["scan"], total=None, line="", path="")
        rate = Rate()

        def show(now: IngestProgress) -> None:
            bar.update(
                task,
                description=STAGES[now.stage],
                completed=now.done,
                total=now.total,
                line=format_progress(now, *rate(now)),
                path=replace_unprintable(now.path.rpartition("/")[2])[:40],
            )

        yield show
