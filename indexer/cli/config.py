"""`indexer config show`: the settings in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from embedder.cli.console import replace_unprintable, write_json
from embedder.cli.output import print_table
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Resolved

app = typer.Typer()
config_app = typer.Typer(help="Show the settings in use.", no_args_is_help=True)
app.add_typer(config_app, name="config")

EXAMPLES = """
Examples:

  indexer config show
  POLYLENS_BATCH=64 indexer config show --json
"""


@config_app.command(epilog=EXAMPLES)
@_options.takes_flags("store", "collection", "model")
def show(flags: dict[str, Any], as_json: _options.Json = False) -> None:
    """Show each setting, its value, and where it came from; secrets are masked."""
    from indexer.config import load_settings

    _options.resolve_flags(**flags)
    rows = [(s.name, _mask(s), s.origin) for s in load_settings(flags, warn=lambda _: None)]
    if as_json:
        write_json({name: {"value": v, "origin": origin} for name, v, origin in rows})
        return
    print_table(
        ("setting", "value", "from"),
        [
            (name, "" if v is None else replace_unprintable(str(v)), origin)
            for name, v, origin in rows
        ],
    )


def _mask(setting: Resolved) -> object:
    """The value, without secrets."""
    from indexer.config import SETTINGS
    from indexer.stores.qdrant.connection import redact_password

    if SETTINGS[setting.name].secret and setting.value:
        return "***"
    return redact_password(str(setting.value)) if setting.name == "store" else setting.value
