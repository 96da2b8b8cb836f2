"""Runs the console script as a process of its own, with the small embedder of tests/conftest.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DRIVER = """
import importlib.util, sys, time, types
import embedder.registry as registry

spec = importlib.util.spec_from_file_location("colours", sys.argv.pop(1))
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
pause = float(sys.argv.pop(1))

class Colours(tests.ColourEmbedder):
    def embed(self, inputs, role, instruction=None):
        time.sleep(pause)
        return super().embed(inputs, role, instruction)

family = types.ModuleType("colours_family")
family.CARDS = [Colours().card]
family.load = lambda name, device=None: Colours()
sys.modules["colours_family"] = family
registry.FAMILIES = (registry.Family("colours", "colours_family", lambda name: name == "colours"),)

from indexer.cli import main
main()
"""


class Program:
    """`indexer ...` on a store of the test's own. `pause` is seconds a call of the model takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "POLYLENS_STORE": str(folder / "store"),
            "POLYLENS_MODEL": "colours",
            "COLUMNS": "120",
        }

    def command(self, *arguments: object, pause: float = 0) -> list[str]:
        conftest = ROOT / "tests" / "conftest.py"
        return [sys.executable, "-c", DRIVER, str(conftest), str(pause), *map(os.fspath, arguments)]

    def __call__(
        self, *arguments: object, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: object, code: int = 0, **keywords: str) -> dict:
        """What `--json` prints: one object, and nothing else on stdout."""
        done = self(*arguments, "--json", **keywords)
        assert done.returncode == code, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def start(self, *arguments: object, pause: float = 0, **keywords) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments, pause=pause),
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **keywords,
        )


@pytest.fixture
def indexer(tmp_path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def pictures(tmp_path, photo) -> Path:
    """Three coloured pictures with captions, and a note."""
    folder = tmp_path / "pictures"
    for colour in ("red", "green", "blue"):
        photo(folder / f"{colour}.png", colour)
        (folder / f"{colour}.txt").write_text(f"a {colour} wall")
    (folder / "note.md").write_text("White snow on the hill.\n")
    return folder


@pytest.fixture
def indexed(indexer, pictures) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program, with the pictures ingested."""
    done = indexer("ingest", pictures, "--quiet")
    assert done.returncode == 0, done.stderr
    return indexer
