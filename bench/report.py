"""A measurement's section in a page of docs/: heading, machine, date, command, table."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
Row = Sequence[object]


def render_table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def render_section(title: str, body: str) -> str:
    module = Path(sys.argv[0]).stem
    command = shlex.join(["python", "-m", f"bench.{module}", *sys.argv[1:]])
    day = datetime.now(UTC).date()
    return f"## {title}\n\n`{command}` on {day}, {describe_machine()}.\n\n{body}\n"


def describe_machine() -> str:
    return (
        f"{_cpu_name()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, polylens {version('polylens')}"
    )


def publish(title: str, body: str, *, write: bool, page: Path = PAGE) -> None:
    """Print the section and, if asked, put it in the page in place of the one it had."""
    text = render_section(title, body)
    print(text, flush=True)
    if write:
        page.write_text(replace_section(page.read_text("utf-8"), title, text), "utf-8")


def replace_section(page: str, title: str, text: str) -> str:
    """`page` with the section called `title` replaced, or `text` at its end."""
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.M | re.S)
    if pattern.search(page):
        return pattern.sub(lambda _: text + "\n", page, count=1).rstrip() + "\n"
    return page.rstrip() + "\n\n" + text


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
