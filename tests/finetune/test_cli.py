"""The program `finetune`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from finetune.cli import app
from tests.programs import ROOT, run_program


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run finetune in its own process, and list the modules that it imports."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "finetune", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_option_has_help():
    commands = typer.main.get_command(app).commands
    assert set(commands) == {
        *("pairs", "mine", "train", "export", "evaluate", "compare", "synthesize"),
    }
    for name, command in commands.items():
        assert command.help
        assert f"finetune {name}" in command.epilog
        assert all(param.help for param in command.params)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["pairs", "--help"], ["synthesize", "--help"]],
    ids=" ".join,
)
def test_help_is_light(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert not any(line.endswith((" torch", " numpy")) for line in done.stderr.splitlines())


def test_wrong_usage():
    assert run_program("finetune").returncode == 2
    assert run_program("finetune", "synthesize", "--count", "0").returncode == 2
    assert run_program("finetune", "--version").stdout.startswith("polylens ")
