"""The docs tell the truth: commands run, options are listed, the tree is the tree."""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.main import get_command

from embedder.telemetry import SWITCHES
from indexer.config import ENV_ALIASES, SETTINGS, TOML_FILE
from indexer.feedback import IMAGES_FOLDER, VOTES_FILE
from tests.programs import ROOT, SCRIPTS, run_program
from tools.generate_cli_docs import render_page
from tools.generate_settings import render_env
from tools.generate_settings import render_page as render_settings

README = (ROOT / "README.md").read_text("utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [ROOT / name for name in ("PRIVACY.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
README_PICTURES = 12  # that have captions; a run on all samples would take minutes


def commands(page: str, start: str | tuple[str, ...]) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
    lines = (line.split("   #")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.startswith(start)]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home folder with some of the sample pictures and their captions in it."""
    home = tmp_path_factory.mktemp("home")
    with (ROOT / "samples" / "captions.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    files = list(dict.fromkeys(row[0] for row in rows))[:README_PICTURES]
    for name in files:
        (home / "Pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "samples" / name, home / "Pictures" / name)
    with (home / "Pictures" / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] in files)])
    shutil.copy(ROOT / "samples/animals/black-cat.webp", home / "Pictures/cat.jpg")
    return home


@pytest.fixture(scope="module")
def environment(home) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POLYLENS_", "QDRANT_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    data = {"XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}
    return kept | data | {"HOME": str(home), "PATH": path}


def test_the_commands_of_the_readme_run(home, environment):
    """In one process: the shell only splits each line into its words. Training takes few steps."""
    lines = commands(README, ("indexer ", "embedder ", "finetune "))
    assert len(lines) >= 13
    for line in lines:
        split = ["bash", "-c", f"printf '%s\\0' {line}"]
        shell = subprocess.run(split, env=environment, capture_output=True, text=True, check=True)
        words = shell.stdout.split("\0")[:-1]
        words += ["--steps", "5"] if words[:2] == ["finetune", "train"] else []
        done = run_program(*words, cwd=home, env=environment)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize("line", commands(README, "make") + commands(PAGES[1].read_text(), "make"))
def test_make_knows_the_target(line):
    subprocess.run(f"{line} -n", shell=True, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_make_lists_every_target():
    told = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    phony = re.search(r"\.PHONY:((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text()).group(1)
    assert {line.split()[0] for line in told.splitlines()} == set(phony.replace("\\", "").split())


def test_the_demo_serves_the_app(tmp_path, environment):
    """What `make demo` runs, with a server that does not live long."""
    store, venv = tmp_path / "demo", Path(sys.executable).parent.parent
    words = [
        "make",
        "-o",
        f"{venv}/.app",
        "demo",
        f"VENV={venv}",
        f"DEMO={store}",
        "PORT=0",
    ]
    log = (tmp_path / "log").open("w+")
    demo = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        assert _answers(tmp_path / "log", demo) == b"ok"
        assert (store / "default" / "collection.json").exists()
    finally:
        os.killpg(demo.pid, signal.SIGTERM)
        demo.wait(30)
        log.close()


def _answers(log: Path, process: subprocess.Popen) -> bytes:
    """What the health check of the app answers whose URL is in the log."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if url := re.search(r"Polylens is at (http://localhost:\d+)", log.read_text()):
            with urllib.request.urlopen(f"{url[1]}/_stcore/health", timeout=60) as answer:
                return answer.read()
        time.sleep(0.3)
    raise AssertionError(f"the app did not start; {process.poll()=}\n{log.read_text()}")


def test_docs_cli_has_every_command_with_its_help():
    """`python -m tools.generate_cli_docs` writes the page."""
    assert render_page(CLI) == CLI


def test_the_page_of_settings_and_the_example_environment_are_those_of_the_table():
    """`python -m tools.generate_settings` writes both."""
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert render_settings(page) == page
    assert (ROOT / ".env.example").read_text("utf-8") == render_env()


def test_the_example_environment_has_every_setting_with_a_value_it_takes():
    variables = {f"POLYLENS_{name.upper()}": name for name in SETTINGS} | dict(ENV_ALIASES)
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    examples = dict(re.findall(r"^# ([A-Z_]+)=(\S*)", "\n".join(lines), re.M))
    assert {variables[variable] for variable in examples} == set(SETTINGS)
    for variable, text in examples.items():
        row = SETTINGS[variables[variable]]
        value = row.parse(text) if text else row.default
        if row.default not in (None, False, "") and not callable(row.default) and not row.example:
            assert value == row.default


def test_the_tree_of_the_docs_is_the_tree():
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    tree = page.split("## What is where")[1].split("```")[1].strip().splitlines()
    parent, told = "", set()
    for line in tree:
        name = line.split()[0]
        parent = parent if line.startswith(" ") else name
        told.add(name if name == parent else parent + name)
    assert all((ROOT / name).exists() for name in told)
    code = {f"{p.parent.name}/" for p in ROOT.glob("*/__init__.py")}
    docs = {f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
    assert code | docs <= told


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_programs_take_every_command_of_the_docs(page):
    for line in commands(page.read_text("utf-8").replace("\\\n", " "), tuple(SCRIPTS)):
        words = shlex.split(re.split(r" [|&>] ?", line)[0], comments=True)
        module, _, _ = SCRIPTS[words[0]].partition(":")
        command = get_command(importlib.import_module(module).app)
        while hasattr(command, "commands"):  # a group: its own options, then one of its commands
            context = command.make_context(words[0], words[1:])
            words = [*context._protected_args, *context.args]
            command = command.commands[words[0]]
        command.make_context(words[0], words[1:])  # a usage error otherwise


def test_privacy_names_what_is_kept_and_which_telemetry_is_turned_off():
    text = (ROOT / "PRIVACY.md").read_text("utf-8")
    switches = ["=".join(switch) for switch in SWITCHES.values()]
    for name in (VOTES_FILE, f"{IMAGES_FOLDER}/", "servers/", TOML_FILE, *switches):
        assert f"`{name}" in text
