"""What the console scripts share: exit codes, one-line errors, JSON on stdout.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted; `indexer ingest` adds 3 for files that were skipped.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

FAILED, SKIPPED, INTERRUPTED = 1, 3, 130
NOTE_INTERVAL = 10.0  # seconds between two notes of `PeriodicNotes`
DEBUG_FLAG = "--debug"


def make_app(help: str, examples: str) -> typer.Typer:
    """A program without commands yet, with `--version` and `--debug` before the command's name."""
    app = typer.Typer(
        help=help, epilog=examples, no_args_is_help=True, pretty_exceptions_enable=False
    )

    @app.callback()
    def program_options(
        version: Annotated[
            bool,
            Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
        ] = False,
        debug: Annotated[  # read by `run_program`
            bool, Option(DEBUG_FLAG, help="Show the traceback of an error.")
        ] = False,
    ) -> None:
        pass

    return app


def run_program(
    app: typer.Typer,
    name: str,
    user_errors: tuple[type[Exception], ...],
    is_debug: Callable[[], bool] = lambda: False,
) -> int:
    """Run `app` with the program's arguments and give its exit code; nothing is raised.

    `user_errors` are the errors whose messages are for the user. `is_debug` is asked after an
    error: it, or `--debug`, shows the traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # escape what the terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of image files
    try:
        code = app(sys.argv[1:], prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `indexer export | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if DEBUG_FLAG in sys.argv or is_debug():
            traceback.print_exc()
        return _report_error(error, name, user_errors)
    return code if isinstance(code, int) else 0


def write_json(plain: object) -> None:
    """One JSON object on stdout, on one line."""
    readable = "utf" in (sys.stdout.encoding or "").lower()
    print(json.dumps(plain, ensure_ascii=not readable), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a head on a terminal; elsewhere a line a row, tabs between, no head."""
    if not sys.stdout.isatty():
        for row in rows:
            print(*map(replace_unprintable, row), sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(replace_unprintable(cell)) for cell in row))
    Console(highlight=False, emoji=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """A name and its value a line; no table library, so that `status` is quick."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print_line(f"{name:<{width}}  {value}")


def print_line(text: str) -> None:
    """A line of the result."""
    print(replace_unprintable(text))


def print_note(text: str) -> None:
    """A line for the person at the terminal."""
    print(replace_unprintable(text), file=sys.stderr, flush=True)


def print_list(title: str, items: Sequence[str], limit: int | None, hint: str) -> None:
    """Up to `limit` items under a title as notes; `hint` says where the others are."""
    if not items:
        return
    print_note(title)
    for item in items[:limit]:
        print_note(f"  {item}")
    if limit is not None and len(items) > limit:
        print_note(f"  ... and {len(items) - limit} more; {hint}")


@dataclass(slots=True)
class PeriodicNotes:
    """Prints the latest of many notes, every ten seconds: progress for a log."""

    last: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.last >= NOTE_INTERVAL:
            self.last = time.monotonic()
            print_note(text)


def replace_unprintable(text: str) -> str:
    """`text` without what could steer a terminal; a file's name may hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def get_version() -> str:
    """The installed version, or that of the checkout."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version("polylens")
    except PackageNotFoundError:
        import tomllib

        project = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"polylens {get_version()}")
        raise typer.Exit


def _report_error(error: Exception, name: str, user_errors: tuple[type[Exception], ...]) -> int:
    if isinstance(error, typer.TyperException):
        if str(error):  # without a command, the help has been shown instead
            context = getattr(error, "ctx", None)
            command = context.command_path if context else name
            _print_error(error.format_message(), f"type: {command} --help")
        return error.exit_code
    if isinstance(error, user_errors):
        _print_error(str(error))
    elif isinstance(error, OSError) and error.strerror:
        _print_error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    else:
        _print_error(
            f"{type(error).__name__}: {error}",
            f"this is a fault of the program; `{name} {DEBUG_FLAG} ...` shows where it happened",
        )
    return FAILED


def _print_error(message: str, hint: str = "") -> None:
    for line in f"error: {message}".splitlines():
        print_note(line)
    if hint:
        print_note(hint)
    if "--json" in sys.argv[: sys.argv.index("--") if "--" in sys.argv else None]:
        write_json({"error": message})
