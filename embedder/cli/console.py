"""What the console scripts share: exit codes, one-line errors, JSON on stdout.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted; `indexer ingest` adds 3 for files that were skipped.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

FAILED, SKIPPED, INTERRUPTED = 1, 3, 130
DEBUG_FLAG = "--debug"


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
    _escape_unencodable_output()
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


def print_note(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


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


def print_version(wanted: bool) -> None:
    """The callback of every program's `--version`."""
    if wanted:
        print(f"polylens {get_version()}")
        raise typer.Exit


def _report_error(error: Exception, name: str, user_errors: tuple[type[Exception], ...]) -> int:
    if isinstance(error, typer.TyperException):
        if str(error):  # without a command, the help has been shown instead
            _print_error(error.format_message(), _usage_hint(error, name))
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
    print_note(f"error: {message}")
    if hint:
        print_note(hint)
    if "--json" in _before_separator(sys.argv[1:]):
        write_json({"error": message})


def _usage_hint(error: Any, name: str) -> str:
    context = getattr(error, "ctx", None)
    return f"type: {context.command_path if context else name} --help"


def _before_separator(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _escape_unencodable_output() -> None:
    """A terminal that cannot show a letter gets an escape instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
