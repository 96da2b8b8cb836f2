"""`indexer doctor`: check the installation, the collection and the model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from embedder.cli.console import FAILED, replace_unprintable, write_json
from indexer.cli import _options

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

STATE_MARKS = {"ok": "ok", "note": "--", "problem": "!!"}
EXAMPLES = """
Examples:

  indexer doctor
  indexer doctor --collection family --repair
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config("store", "collection", "model")
def doctor(
    config: Config,
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete broken files that the next ingest rebuilds.")
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Check the installation, the collection and the model, and say how to fix each problem."""
    from indexer.doctor import run_checks

    checks = []
    for check in run_checks(config, repair=repair):
        checks.append(check)
        if not as_json:
            detail = replace_unprintable(check.detail)
            print(f"{STATE_MARKS[check.state]}  {check.name:<11} {detail}")
            if check.advice:
                print(f"    {'':<11} type: {replace_unprintable(check.advice)}")
    ok = not any(check.state == "problem" for check in checks)
    if as_json:
        write_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    if not ok:
        raise typer.Exit(FAILED)
