"""Write the help, options and examples of each command: python -m tools.generate_cli_docs.

What follows the examples of a command is written by hand and stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import app.cli
import embedder.cli.program
import finetune.cli
import indexer.cli
from indexer.errors import SKIP_REASONS

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COMMON = {"--store", "--collection", "--model", "--tenant", "--json"}  # once, for `indexer`
SECTION = re.compile(r"^### ([^\n]*)\n(.*?)(?=^##|\Z)", re.M | re.S)

SKIP_TABLE = re.compile(r"(^## Why a file is skipped\n\n)(?:^\|.*\n)+", re.M)


def list_commands(app: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(path, command) of every command that does something."""
    todo = [(name, get_command(app))]
    while todo:
        path, command = todo.pop()
        children = getattr(command, "commands", None) or {}
        todo += [(f"{path} {child}", inner) for child, inner in children.items()]
        if not children:
            yield path, command


OF_INDEXER = {path.split()[1] for path, _ in list_commands(indexer.cli.app, "indexer")}
COMMANDS = dict(
    [
        *(
            (path, command)
            for path, command in list_commands(app.cli.app, "polylens")
            if path.split()[1] not in OF_INDEXER
        ),
        *list_commands(indexer.cli.app, "indexer"),
        *list_commands(embedder.cli.program.app, "embedder"),
        *list_commands(finetune.cli.app, "finetune"),
    ]
)


def render_page(page: str) -> str:
    """`page` with the generated part of every section replaced."""

    def replace(match: re.Match[str]) -> str:
        path, body = match.groups()
        if path not in COMMANDS:
            return ""
        return f"### {path}\n\n{render_command(path)}{_handwritten(body)}"

    page = SECTION.sub(replace, page)
    page = SKIP_TABLE.sub(lambda match: match[1] + render_skip_reasons(), page)
    missing = [path for path in COMMANDS if f"### {path}\n" not in page]
    for path in missing:
        before, heading, after = page.partition(f"## {path.split()[0]}\n")
        first = re.search(r"^##", after, re.M)
        at = first.start() if first else len(after)
        page = f"{before}{heading}{after[:at]}### {path}\n\n{render_command(path)}\n{after[at:]}"
    return page


def render_skip_reasons() -> str:
    rows = [f"| `{code}` | {text} |" for code, text in SKIP_REASONS.items()]
    return "\n".join(["| reason | |", "|---|---|", *rows]) + "\n"


def render_command(path: str) -> str:
    """Help, arguments, options and examples of one command."""
    command = COMMANDS[path]
    parts = [" ".join(command.help.split())]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if arguments:
        parts.append(" ".join(f"`{p.metavar or p.name.upper()}`: {p.help}" for p in arguments))
    rows = [_render_option(p) for p in command.params if _is_listed(p, path)]
    if rows:
        parts.append("\n".join(["| option | | default |", "|---|---|---|", *rows]))
    examples = (command.epilog or "").strip().removeprefix("Examples:").strip("\n")
    lines = [line[2:] for line in examples.partition("\n\n")[0].splitlines()]
    parts.append("\n".join(["```", *lines, "```"]))
    return "\n\n".join(parts) + "\n"


def _handwritten(body: str) -> str:
    """What follows the examples; a section without any has nothing by hand."""
    pieces = body.split("```\n", 2)
    return pieces[2] if len(pieces) == 3 else "\n"


def _is_listed(param: Any, path: str) -> bool:
    if param.param_type_name != "option" or param.hidden or "--help" in param.opts:
        return False
    return not (path.startswith(("indexer", "polylens")) and set(param.opts) <= COMMON)


def _render_option(param: Any) -> str:
    names = ", ".join(param.opts + param.secondary_opts)
    metavar = "" if param.is_flag else f" {param.metavar or 'N'}"
    variable = param.envvar[0] if isinstance(param.envvar, list) else param.envvar
    text = param.help + (f" Better in `{variable}`." if variable else "")
    return "| " + " | ".join(map(_escape, (f"`{names}{metavar}`", text, _default(param)))) + " |"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if isinstance(param.show_default, str):
        return str(param.show_default)
    if param.default in (None, False, "", 0) or param.is_flag:
        return ""
    return str(getattr(param.default, "value", param.default))


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text("utf-8")), "utf-8")
