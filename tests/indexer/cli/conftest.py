"""Runs the console script as a process of its own, with the small embedder of tests/conftest.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys, time, types
from dataclasses import replace
import embedder.families.registry as registry
from embedder.types import ModelCard

conftest, pause = sys.argv.pop(1), float(sys.argv.pop(1))
languages = ("en", "de", "ja")
CARD = ModelCard("colours", "test", "1", 48, ("text", "image"), False, languages, "Apache-2.0",
                 "tests/conftest.py", "colours-1", 64)
SHADES = replace(CARD, name="shades", fingerprint="shades-1")  # another space of the same length

def load(name, settings):
    import importlib.util
    spec = importlib.util.spec_from_file_location("colours", conftest)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)

    class Colours(tests.ColourEmbedder):
        def embed(self, inputs, role, instruction=None):
            time.sleep(pause)
            rows = super().embed(inputs, role, instruction)
            return rows[:, [*range(1, 48), 0]] if name == "shades" else rows

    made = Colours()
    made.card = describe(name, settings)
    return made

def describe(name, settings):
    return SHADES if name == "shades" else CARD

family = types.ModuleType("colours_family")
family.CARDS, family.load, family.describe = [CARD, SHADES], load, describe
sys.modules["colours_family"] = family
registry.FAMILIES = (registry.Family("colours", "colours_family"),)

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
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "POLYLENS_STORE": str(folder / "store"),
            "POLYLENS_MODEL": "colours",
            "COLUMNS": "120",
        }

    def with_failing_model(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run with a model whose weights cannot be loaded."""
        command = self.command(*arguments)
        fails = "    raise registry.UnknownModelError('no weights here')\n"
        command[2] = command[2].replace("    import importlib.util\n", fails)
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

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
def pictures(tmp_path) -> Path:
    """Three coloured pictures with captions, and a note."""
    return paint(tmp_path / "pictures")


@pytest.fixture
def indexed(indexer, pictures) -> Program:
    """The program, with the pictures ingested, for tests that change what is there."""
    return ingest(indexer, pictures)


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Program:
    """The same for tests that only look; made once."""
    folder = tmp_path_factory.mktemp("library")
    return ingest(Program(folder), paint(folder / "pictures"))


def paint(folder: Path) -> Path:
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (120, 90), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(f"a {colour} wall")
    (folder / "note.md").write_text("White snow on the hill.\n")
    return folder


def ingest(program: Program, pictures: Path) -> Program:
    done = program("ingest", pictures, "--quiet")
    assert done.returncode == 0, done.stderr
    return program
