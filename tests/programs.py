"""The console scripts, run inside the test process: much faster than a process of their own.

Tests of signals, pipes, terminals and import times start a process instead.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
COLORS_DRIVER = """
import sys
import embedder.families.registry as registry
registry.FAMILIES = (registry.Family("colors", "tests.embedders"),)
from indexer.cli import main
main()
"""  # `python -c`: the console script `indexer` with the models of tests/embedders.py


def run_program(
    name: str,
    *arguments: object,
    stdin: str = "",
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    is_terminal: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the console script `name` as a shell would.

    Args:
        name: `polylens`, `indexer`, `embedder` or `finetune`, or a module with a function `main`.
        arguments: Its arguments; paths and numbers may be given as they are.
        stdin: What it reads.
        cwd: The working directory.
        env: Variables on top of the environment of the tests.
        is_terminal: Whether it takes what it writes to for a terminal.

    Returns:
        What `subprocess.run` would return: exit code, stdout and stderr.
    """
    module, _, function = SCRIPTS.get(name, f"{name}:main").partition(":")
    main = getattr(importlib.import_module(module), function)
    argv = [name, *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments)]
    with (
        _process_state(argv, cwd, env or {}),
        _streams(stdin, is_terminal) as (
            stdout,
            stderr,
        ),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as exit:
            code = exit.code or 0
        texts = [s.buffer.getvalue().decode("utf-8", "surrogateescape") for s in (stdout, stderr)]
    return subprocess.CompletedProcess(argv, code if isinstance(code, int) else 1, *texts)


@contextmanager
def _process_state(argv: list[str], cwd: Path, env: Mapping[str, str]) -> Iterator[None]:
    before = sys.argv, Path.cwd(), dict(os.environ)
    sys.argv = argv
    os.chdir(cwd)
    os.environ.update(env)
    try:
        yield
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        os.environ.clear()
        os.environ.update(before[2])


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def _streams(stdin: str, is_terminal: bool) -> Iterator[list[io.TextIOWrapper]]:
    before = sys.stdin, sys.stdout, sys.stderr
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    stream = Terminal if is_terminal else io.TextIOWrapper
    written = [stream(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2)]
    sys.stdout, sys.stderr = written
    try:
        yield written
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


class HidingFinder:
    """Finds what `finder` finds, but no module of the hidden packages."""

    def __init__(self, finder: MetaPathFinder, packages: Collection[str]) -> None:
        self._finder, self._packages = finder, frozenset(packages)

    def find_spec(self, name: str, *arguments: object) -> object:
        if name.partition(".")[0] in self._packages:
            return None
        return self._finder.find_spec(name, *arguments)

    def __getattr__(self, name: str) -> object:
        return getattr(self._finder, name)


@contextmanager
def hidden_packages(*packages: str) -> Iterator[None]:
    """Run as if some packages were not installed; modules that hold one of theirs keep it."""
    finders, modules = sys.meta_path[:], dict(sys.modules)
    sys.meta_path[:] = [HidingFinder(finder, packages) for finder in finders]
    for name in [name for name in modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
        sys.modules.update(modules)


def write_sitecustomize(folder: Path, packages: Sequence[str]) -> Mapping[str, str]:
    """Return an environment whose Python processes, and theirs, do not have some packages."""
    code = f"import sys\nfrom tests.programs import HidingFinder\nhidden = {packages!r}\n"
    code += "sys.meta_path[:] = [HidingFinder(finder, hidden) for finder in sys.meta_path]\n"
    (folder / "sitecustomize.py").write_text(code, "utf-8")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
