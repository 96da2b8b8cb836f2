"""What the console scripts share: options, output, one-line errors and exit codes.

Most options are made from the settings table. Results go to stdout, everything else to stderr. All
of it goes through the functions here: nothing that comes from outside steers the terminal.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; `indexer ingest` and `reindex` add 3
for files that failed.
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer import Option

from embedder.escaping import dump_json, replace_unprintable
from embedder.redaction import redact_secrets
from embedder.settings import MODEL_SETTINGS, Setting
from embedder.types import Settings

FAILED, FILES_FAILED, INTERRUPTED = 1, 3, 130
FULL_DISK_HINT = (
    "free some space on that disk, or on the one for temporary files (TMPDIR), and run the command "
    "again"
)
NOTE_INTERVAL = 10.0  # seconds between two notes of `PeriodicNotes`
DEBUG_FLAG = "--debug"

_notes = SimpleNamespace(are_off=False, name_commands=str)  # see `set_quiet`, `run_program`

Command = Callable[..., None]
Json = Annotated[bool, Option("--json", help="Print one JSON object.")]


def make_app(help: str, examples: str) -> typer.Typer:
    """A program without commands yet, with `--version` and `--debug` before the command's name."""
    app = typer.Typer(
        help=help,
        epilog=examples,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},  # of all its commands
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
    *,
    includes: str = "",
    should_retry: Callable[[Exception], bool] = lambda _: False,
) -> int:
    """Run `app` with the program's arguments and give its exit code; nothing is raised.

    `user_errors` are the errors whose messages are for the user. `is_debug` is asked after an
    error: it, or `--debug`, shows the traceback. `includes` is another program whose commands this
    one has: help and messages name this one. `should_retry` is asked after an error, too: it may
    ask the user, and True runs the program again.
    """
    root = typer.main.get_command(app)
    if includes:
        _name_commands(root, includes, name)
    for stream in (sys.stdout, sys.stderr):  # escape what the terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags of image files
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # tracebacks of what it raises as well
    make_record, show_warning = logging.getLogRecordFactory(), warnings.showwarning
    logging.setLogRecordFactory(PrintableRecord)
    warnings.showwarning = _print_warning
    try:
        while True:
            try:
                code = root(sys.argv[1:], prog_name=name, standalone_mode=False)
                break
            except user_errors as error:
                if not should_retry(error):
                    raise
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `indexer export | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if DEBUG_FLAG in sys.argv or is_debug():
            text = redact_secrets(traceback.format_exc())
            print(replace_unprintable(text, keep="\n"), end="", file=sys.stderr)
        return _report_error(error, _find_command(root, name), user_errors)
    finally:
        logging.setLogRecordFactory(make_record)
        warnings.showwarning = show_warning
        set_quiet(False)
        _notes.name_commands = str
    return code if isinstance(code, int) else 0


def write_json(plain: Mapping[str, object]) -> None:
    """One JSON object on stdout, on one line."""
    readable = "utf" in (sys.stdout.encoding or "").lower()
    print(dump_json(plain, ascii_only=not readable), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], optional: int = 0) -> None:
    """A table with a head on a terminal; elsewhere a line a row, tabs between, no head.

    No value is broken. On a terminal that is too narrow, as many of the last `optional` columns as
    needed are left out; if that is not enough, a row takes a line for each value.
    """
    if not sys.stdout.isatty():
        for row in rows:
            print_row(row)
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    texts = [tuple(map(replace_unprintable, row)) for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *texts, strict=True)]
    count = len(columns)
    while count > len(columns) - optional and sum(widths[:count]) + 2 * (count - 1) > console.width:
        count -= 1
    if sum(widths[:count]) + 2 * (count - 1) > console.width:
        for row in texts:
            print_fields(dict(zip(columns, row, strict=True)))
            print_line()
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns[:count]:
        table.add_column(column, no_wrap=True)
    for row in texts:
        table.add_row(*map(Text, row[:count]))
    console.print(table)
    if count < len(columns):
        print_note(f"a wider terminal also shows: {', '.join(columns[count:])}")


def print_fields(fields: Mapping[str, str]) -> None:
    """A name and its value a line; no table library, so that `status` is quick."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print_line(f"{name:<{width}}  {value}")


def print_row(values: Sequence[object]) -> None:
    """A line of values of the result, with tabs between them."""
    print(*(replace_unprintable(str(value)) for value in values), sep="\t")


def print_line(text: str = "") -> None:
    """A line of the result."""
    print(replace_unprintable(text))


def print_text(text: str) -> None:
    """Lines of the result."""
    print(replace_unprintable(text, keep="\n"))


def confirm(question: str, *, abort: bool = False) -> bool:
    """Ask at the terminal; with `abort`, end the program if the answer is no."""
    return typer.confirm(replace_unprintable(question), abort=abort, err=True)


def print_note(text: str) -> None:
    """A line for the person at the terminal, who can turn notes off with --quiet."""
    if not _notes.are_off:
        print_problem(text)


def print_problem(text: str) -> None:
    """A line about what went wrong."""
    print(replace_unprintable(name_commands(text)), file=sys.stderr, flush=True)


def name_commands(text: str) -> str:
    """`text` with the commands of the program that was typed: `polylens ingest FOLDER`."""
    return str(_notes.name_commands(text))


def set_quiet(quiet: bool) -> bool:
    """Turn notes off, or on: the callback of --quiet."""
    _notes.are_off = quiet
    return quiet


def pluralize(count: int, noun: str) -> str:
    """`1 file`, `1,200 files`; a noun gets an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_list(title: str, items: Sequence[str], limit: int | None, hint: str) -> None:
    """Up to `limit` items, about what went wrong; `hint` says where the others are."""
    if not items:
        return
    print_problem(title)
    for item in items[:limit]:
        print_problem(f"  {item}")
    if limit is not None and len(items) > limit:
        print_problem(f"  ... and {len(items) - limit} more; {hint}")


@dataclass(slots=True)
class PeriodicNotes:
    """Prints the latest of many notes, every ten seconds: progress for a log."""

    last: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.last >= NOTE_INTERVAL:
            self.last = time.monotonic()
            print_note(text)


class PrintableRecord(logging.LogRecord):
    """A message of a library, which may quote a file's name or a server's answer."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        if isinstance(self.exc_info, tuple) and self.exc_info[0]:
            text = logging.Formatter().formatException(self.exc_info)
            self.exc_text = replace_unprintable(text, keep="\n")

    def getMessage(self) -> str:  # noqa: N802  its name in the standard library
        return replace_unprintable(super().getMessage(), keep="\n\t")


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Take the place of `warnings.showwarning`."""
    text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    print(replace_unprintable(text, keep="\n"), file=sys.stderr)


def get_version() -> str:
    """The installed version, or that of the checkout."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms

    try:
        return version("polylens")
    except PackageNotFoundError:
        import tomllib

        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"polylens {get_version()}")
        raise typer.Exit


def _name_commands(root: Any, includes: str, name: str) -> None:
    """Replace `indexer search` by `polylens search` in the help, and in `print_problem`."""
    pattern = re.compile(rf"(?<![\w/.-]){includes} (?=(?:{'|'.join(root.commands)})\b)")
    rename = _notes.name_commands = functools.partial(pattern.sub, f"{name} ")
    commands = list(root.commands.values())
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        command.help, command.epilog = rename(command.help or ""), rename(command.epilog or "")


def _find_command(command: Any, name: str) -> str:
    """`indexer search` for `indexer --debug search -n`: what to ask for help."""
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            command = getattr(command, "commands", {}).get(argument)
            if command is None:
                break
            name += f" {argument}"
    return name


def _report_error(error: Exception, command: str, user_errors: tuple[type[Exception], ...]) -> int:
    if isinstance(error, typer.TyperException):
        if str(error):  # without a command, the help has been shown instead
            context = getattr(error, "ctx", None)  # None where the parser itself fails
            command = context.command_path if context else command
            _print_error(error.format_message(), f"type: {command} --help")
        return error.exit_code
    if isinstance(error, user_errors):
        advice = "" if "free some space" in str(error) else FULL_DISK_HINT
        _print_error(str(error), advice if _is_full_disk(error) else "")
    elif isinstance(error, OSError) and error.strerror:
        _print_error(
            f"{error.filename}: {error.strerror}" if error.filename else error.strerror,
            FULL_DISK_HINT if _is_full_disk(error) else "",
        )
    elif _is_full_disk(error):  # of a library that has errors of its own
        _print_error(str(error), FULL_DISK_HINT)
    else:
        _print_error(
            f"{type(error).__name__}: {error}",
            f"this is a fault of the program; `{command.split()[0]} {DEBUG_FLAG} ...` shows where",
        )
    return FAILED


def _is_full_disk(error: Exception) -> bool:
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))


def _print_error(message: str, hint: str = "") -> None:
    message = name_commands(redact_secrets(message))
    for line in [*f"error: {message}".split("\n"), hint]:
        if line:
            print_problem(line)
    if "--json" in sys.argv[: sys.argv.index("--") if "--" in sys.argv else None]:
        write_json({"error": message})


def make_option(row: Setting, *names: str, parse: bool = False, **keywords: Any) -> Any:
    """The typer option of a setting; `names` where they do not follow from the parameter's.

    With `parse`, the command gets the setting's value instead of the text on the command line.
    """

    def convert(text: str) -> object:
        try:
            return row.parse(text)
        except ValueError as error:
            raise typer.BadParameter(f"{row.mask(text)!r}: {error}") from None

    own: dict[str, Any] = {
        "metavar": row.metavar or None,
        "help": row.help,
        "show_default": row.default is not False and (row.shown_default.replace("`", "") or False),
    }
    if parse and row.parse is not str:
        own["parser"] = convert
    return Option(*names, **own | keywords)


def inject(
    target: str, build: Callable[..., object], options: Mapping[str, Any] | None = None
) -> Callable[[Command], Command]:
    """A decorator for a command: it takes the parameters of `build` as options beside its own.

    Their values do not reach the command; what `build` makes of them does, as the parameter
    `target`. `options` (parameter -> annotation) are taken instead of the parameters of `build`.
    """

    def decorate(command: Command) -> Command:
        if options is None:
            added = _read_parameters(build)
        else:
            added = [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=False if get_args(annotation)[0] is bool else None,
                    annotation=annotation,
                )
                for name, annotation in options.items()
            ]

        @functools.wraps(command)
        def run(**values: object) -> None:
            chosen = {parameter.name: values.pop(parameter.name) for parameter in added}
            command(**values, **{target: build(**chosen)})

        parameters = _read_parameters(command, target) + added
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _read_parameters(function: Callable[..., object], without: str = "") -> list[inspect.Parameter]:
    """The parameters with their annotations as objects, which typer needs; all keyword-only.

    The types of the parameter `without` and of what is returned may be imported for type checking
    alone.
    """
    own = {k: v for k, v in function.__annotations__.items() if k not in (without, "return")}
    hints = get_type_hints(
        SimpleNamespace(__annotations__=own), function.__globals__, include_extras=True
    )
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in own
    ]


def complete_model_name(incomplete: str) -> list[str]:
    """What the shell offers for --model."""
    from embedder.api import list_models
    from embedder.families.registry import SHORT_NAMES

    try:
        names = [*SHORT_NAMES, *(card.name for card in list_models())]
        return [name for name in names if name.startswith(incomplete)]
    except Exception:  # a shell cannot show an error
        return []


def _model_option(name: str, *flags: str, **keywords: Any) -> Any:
    row = MODEL_SETTINGS[name]
    return make_option(row, *flags, parse=True, rich_help_panel="The model", **keywords)


Model = Annotated[
    str, _model_option("model", autocompletion=complete_model_name, show_default=True)
]
Dtype = Annotated[str | None, _model_option("dtype")]
MODEL_OPTIONS: Mapping[str, Any] = {
    "device": Annotated[str | None, _model_option("device")],
    "dtype": Dtype,
    "dim": Annotated[int | None, _model_option("dim")],
    "pixel_budget": Annotated[int | None, _model_option("pixel_budget")],
    "quantize": Annotated[str | None, _model_option("quantize")],
    "trust_remote_code": Annotated[bool, _model_option("trust_remote_code", "--trust-remote-code")],
    "model_api_key": Annotated[
        str | None,
        _model_option("model_api_key", "--model-api-key", envvar="POLYLENS_MODEL_API_KEY"),
    ],
    "model_api_key_url": Annotated[
        str | None,
        make_option(
            MODEL_SETTINGS["model_api_key_url"],
            "--model-api-key-url",
            rich_help_panel="The model",
            envvar=["POLYLENS_MODEL_API_KEY_URL", "POLYLENS_MODEL"],
            show_envvar=False,
        ),
    ],
}


def is_flag(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter is from the command line, not from the environment or by default."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def takes_model_settings(*names: str) -> Callable[[Command], Command]:
    """A decorator: the command has these options (all of a model's without `names`), and gets
    `settings`."""

    def build(
        context: typer.Context,
        model_api_key: str | None = None,
        model_api_key_url: str | None = None,
        **values: Any,
    ) -> Settings:
        if not is_flag(context, "model_api_key"):  # not for whatever server --model names
            model_api_key_url = model_api_key_url or ""
        elif not is_flag(context, "model_api_key_url"):
            model_api_key_url = None
        return Settings(**values, api_key=model_api_key, api_key_url=model_api_key_url)

    chosen = names or tuple(MODEL_OPTIONS)
    options = {name: MODEL_OPTIONS[name] for name in chosen}
    return inject("settings", build, {"context": Annotated[typer.Context, "context"], **options})
