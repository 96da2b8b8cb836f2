"""The program `polylens`: the app in the browser, and the commands of `indexer`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

import indexer.cli
from embedder.cli.console import make_app, print_note, run_program
from embedder.errors import EmbedderError
from embedder.extras import require_extra
from indexer.cli import _options
from indexer.config import Config
from indexer.errors import ConfigError, IndexerError

HELP = """
Search your own images and texts: in the browser, and with the commands of indexer.

Results go to stdout, progress and messages to stderr. Settings come from flags, POLYLENS_*
variables, .env and polylens.toml, in this order; see polylens config show.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 some files failed, 130 interrupted.
"""
EXAMPLES = """
Examples:

  polylens ingest ~/Pictures
  polylens app
  polylens search "a blue bicycle"
"""
APP_EXAMPLES = """
Examples:

  polylens app
  polylens app --store ~/image-index --port 8600
  polylens app --public-host pictures.example.com
  polylens app --host 0.0.0.0
"""
HASH_EXAMPLES = """
Examples:

  polylens hash-password
"""

HOST_NAME_PATTERN = re.compile(r"[\w.-]+")  # without a scheme or a port

app = make_app(HELP, EXAMPLES)


@app.command("app", epilog=APP_EXAMPLES)
@_options.takes_flags(*_options.SHARED, "device")
def run_app(
    flags: dict[str, Any],
    host: Annotated[
        str,
        Option(
            metavar="HOST",
            help="The address to listen on; for others than localhost, a login is needed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, Option(metavar="N", min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 8501,
    public_host: Annotated[
        str | None,
        Option(metavar="NAME", help="The host name in the browser, where a proxy has another."),
    ] = None,
    open_browser: Annotated[
        bool | None,
        Option("--open/--no-open", help="Open the browser.", show_default="on a desktop"),
    ] = None,
) -> None:
    """Search in the browser: serve the app on this machine until Ctrl-C."""
    require_extra("app")
    if public_host and not HOST_NAME_PATTERN.fullmatch(public_host):
        raise typer.BadParameter(
            f"--public-host takes a name such as pictures.example.com, not {public_host!r}"
        )
    config = _options.resolve_flags(**flags)
    check_store(config, is_flag=flags["store"] is not None)
    from app import services
    from app.server import run_server

    services.configure(config)
    services.list_names()  # raises where a server does not answer

    def report_url(url: str, has_login: bool) -> None:
        print_note(f"Polylens is at {url} (Ctrl-C ends it)")
        if config.app_published_on_localhost and not has_login:
            print_note("warning: the app asks for no login; publish its port on localhost alone")
        elif public_host and not has_login:
            print_note("warning: the app asks for no login, so the proxy in front of it must")
        if is_desktop() if open_browser is None else open_browser:
            import streamlit.cli_util

            streamlit.cli_util.open_browser(url)  # keeps the browser's messages off the terminal

    run_server(
        config,
        host=host,
        port=port,
        public_host=public_host,
        on_ready=report_url,
        on_wait=lambda: print_note(
            "Stopping, once the work in progress is saved (Ctrl-C again: at once)"
        ),
    )


@app.command("hash-password", epilog=HASH_EXAMPLES)
def print_password_hash() -> None:
    """Make the hash of the app's password, for POLYLENS_APP_PASSWORD_HASH.

    The password is asked for twice, and not shown; from a pipe, it is the first line.
    """
    from app.passwords import hash_password

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        password_hash = hash_password(password)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    sys.stdout.write(password_hash + "\n")
    print_note("Put this line into POLYLENS_APP_PASSWORD_HASH; it is not the password itself.")


for command in indexer.cli.COMMANDS:
    app.add_typer(command.app)


def check_store(config: Config, *, is_flag: bool) -> None:
    """Refuse a folder that cannot be a store.

    A folder that the settings name may be made later, by an ingest; a flag names one that is there.

    Raises:
        ConfigError: The store is a file.
        typer.BadParameter: The flag names a folder that does not exist.
    """
    if "://" in config.store:
        return
    if is_flag and not Path(config.store).exists():
        raise typer.BadParameter(
            f"there is no folder {config.store}; to make a store there, type: "
            f"polylens ingest FOLDER --store {config.store}"
        )
    if Path(config.store).is_file():
        raise ConfigError(f"store = {config.store}: this is a file; a store is a folder")


def is_desktop() -> bool:
    """Whether somebody sits at a terminal of a machine with a screen."""
    if not sys.stderr.isatty():
        return False
    variables = os.environ  # noqa: TID251  the desktop's, no settings
    if "SSH_CONNECTION" in variables:
        return False
    has_screen = "DISPLAY" in variables or "WAYLAND_DISPLAY" in variables
    return has_screen or sys.platform in ("darwin", "win32")


def main() -> None:
    """The console script."""
    errors = (IndexerError, EmbedderError)
    sys.exit(
        run_program(
            app,
            "polylens",
            errors,
            indexer.cli.is_debug,
            includes="indexer",
            should_retry=indexer.cli.ask_about_model_host,
        )
    )
