"""The console script `indexer` with the small embedder of tests/embedders.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image

from embedder.families import registry
from tests import embedders
from tests.programs import COLORS_DRIVER, run_program

ROOT = Path(__file__).parents[3]
FAMILIES = (registry.Family("colors", "tests.embedders"),)


class Program:
    """`indexer ...` on a store of the test's own: in this process, or a new one (`start`)."""

    driver = COLORS_DRIVER  # of new processes

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "POLYLENS_STORE": str(folder / "store"),
            "POLYLENS_MODEL": "colors",
            "COLUMNS": "120",
        }

    def with_failing_model(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run with a model whose weights cannot be loaded."""
        failure = registry.UnknownModelError("no weights here")
        with patch.object(embedders, "load", side_effect=failure):
            return self(*arguments)

    def command(self, *arguments: object) -> list[str]:
        """What starts the program in a process of its own."""
        return [sys.executable, "-c", self.driver, *map(os.fspath, arguments)]

    def __call__(
        self, *arguments: object, stdin: str = "", is_terminal: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        with patch.object(registry, "FAMILIES", FAMILIES):
            return run_program(
                "indexer",
                *arguments,
                stdin=stdin,
                cwd=self.folder,
                env=self.environment | environment,
                is_terminal=is_terminal,
            )

    def json(self, *arguments: object, code: int = 0, **keywords: str) -> dict:
        """What `--json` prints: one object, and nothing else on stdout."""
        done = self(*arguments, "--json", **keywords)
        assert done.returncode == code, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    def start(self, *arguments: object, pause: float = 0, **keywords) -> subprocess.Popen[str]:
        """Start a process; each call of the model takes `pause` seconds."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment | {embedders.PAUSE: str(pause)},
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
    """Three colored images with captions, and a note."""
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
    for color in ("red", "green", "blue"):
        Image.new("RGB", (120, 90), color).save(folder / f"{color}.png")
        (folder / f"{color}.txt").write_text(f"a {color} wall")
    (folder / "note.md").write_text("White snow on the hill.\n")
    return folder


def ingest(program: Program, pictures: Path) -> Program:
    done = program("ingest", pictures, "--quiet")
    assert done.returncode == 0, done.stderr
    return program
