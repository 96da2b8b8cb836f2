"""Every command and option has help, and help loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from indexer.cli import app

ROOT = Path(__file__).parents[3]
HEAVY = {
    "torch",
    "numpy",
    "PIL",
    "qdrant_client",
    "qdrant_edge",
    "onnxruntime",
    "transformers",
    "streamlit",
}
SHARED = {"--store", "--collection", "--model", "--json", "--help"}
MEANINGLESS = {  # what their arguments say, or what they have no use for
    "collections list": {"--collection", "--model"},
    "collections create": {"--collection"},
    "collections delete": {"--collection", "--model"},
    "migrate": {"--store", "--model"},
    "snapshot": {"--model"},
    "restore": {"--model"},
}


def commands(group=None, prefix=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


COMMANDS = dict(commands())


def names(command) -> set[str]:
    context = typer.Context(command)
    return {name for param in command.get_params(context) for name in param.opts}


def test_the_commands_are_those_of_the_readme():
    assert {" ".join(name) for name in COMMANDS} == {
        "ingest",
        "search",
        "tag",
        "similar",
        "status",
        "prune",
        "reindex",
        "migrate",
        "snapshot",
        "restore",
        "collections list",
        "collections create",
        "collections delete",
        "plan",
        "models",
        "doctor",
        "export",
        "config show",
    }


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_a_command_has_help_examples_and_the_shared_options(name):
    command = COMMANDS[name]
    assert command.help
    assert f"indexer {' '.join(name)}" in command.epilog
    assert names(command) >= SHARED - MEANINGLESS.get(" ".join(name), set())


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_option_has_help(name):
    for param in COMMANDS[name].params:
        assert param.help, f"{param.name} of {name} has no help"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "indexer", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_help_loads_nothing_heavy():
    done = run("--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert not imported(done) & HEAVY


HELP_DRIVER = """
import json, sys
from tests.programs import run_program
for name in json.loads(sys.argv[1]):
    done = run_program("indexer", *name, "--help")
    print(json.dumps([done.returncode, done.stdout, list(sys.modules)]))
"""


@pytest.fixture(scope="module")
def help_pages() -> dict[tuple[str, ...], tuple[int, str, set[str]]]:
    """(exit code, help, modules imported until then) by command, from one process."""
    command = [sys.executable, "-c", HELP_DRIVER, json.dumps(list(COMMANDS))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = map(json.loads, done.stdout.splitlines())
    return {
        name: (code, page, {module.partition(".")[0] for module in modules})
        for name, (code, page, modules) in zip(COMMANDS, rows, strict=True)
    }


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_of_a_command_loads_nothing_heavy(help_pages, name):
    code, page, modules = help_pages[name]
    assert code == 0
    assert "Examples:" in page
    assert f"indexer {' '.join(name)}" in page
    assert not modules & HEAVY


def test_without_a_command_the_help_is_shown():
    done = run()
    assert done.returncode == 2
    assert "Commands" in done.stdout
    assert "error:" not in done.stderr


def test_version():
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("polylens ")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("indexer se", "search"),
        ("indexer status --mod", "--model"),
        ("indexer status --collection fa", "family"),
    ],
)
def test_the_shell_completes_without_heavy_modules(tmp_path, line, offered):
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "collection.json").write_text("{}")
    done = run(
        POLYLENS_STORE=str(tmp_path),
        _INDEXER_COMPLETE="complete_zsh",
        _TYPER_COMPLETE_ARGS=line,
    )
    assert offered in done.stdout
    assert not imported(done) & HEAVY


def test_the_shell_completes_a_known_model():
    done = run(
        _INDEXER_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="indexer search cat --model st"
    )
    assert "starter" in done.stdout
    assert not imported(done) & {"torch", "onnxruntime", "transformers", "qdrant_client"}


def test_help_without_colors(indexer):
    assert "\x1b[" not in indexer("--help", NO_COLOR="1").stdout
